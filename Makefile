# Every target installs what it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAM := $(VENV)/sam/bin
LAYER := layers/dependencies/python
PIP := -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
RUNTIME_PYTHON = $$($(SAM)/uv python find --no-python-downloads 3.13 2>/dev/null || echo .)

.DEFAULT_GOAL := help
.PHONY: help demo test unit format lint bench simulate policies mutants up down build deploy live destroy lock clean

help: ## print this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.local ## drop two clips on the embedded cloud and watch them come back
	@PYTHONPATH=layers/retake $(BIN)/python -m local.demo

test: $(VENV)/.tests $(VENV)/.sam ## run all tests that need no account; ARGS goes to pytest
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

unit: $(VENV)/.tests ## run the fast unit tests, in under a minute
	@$(BIN)/python -m pytest -n 2 -q -m "not slow" tests/unit $(ARGS)

format: $(VENV)/.tests ## format the code, and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: $(VENV)/.tests $(VENV)/.sam ## check style, spelling, types and the template
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/cfn-lint template.yaml .github/deploy-role.yaml docs/recipes/*.yaml
	$(SAM)/sam validate --lint
	BC_SKIP_MAPPING=TRUE $(SAM)/checkov -f template.yaml

bench: $(VENV)/.bench ## measure against what people use today; write bench/RESULTS.md (15 min)
	@$(BIN)/python -m bench $(ARGS)

simulate: $(VENV)/.tests ## run SEEDS histories of the pipeline, or replay SEED; TEETH=1 plants bugs
	@POWERTOOLS_LOG_LEVEL=CRITICAL PYTHONWARNINGS=ignore PYTHONPATH=layers/retake:$(LAYER) \
		$(BIN)/python -m tests.simulation

policies: $(VENV)/.tests ## remove each permission once; write docs/policies.md (10 min)
	@$(BIN)/python -m pytest tests/policies/removals.py $(ARGS)

mutants: $(VENV)/.mutants ## see which faults in the services the unit tests notice (15 min)
	@$(BIN)/python -m tests.mutants $(ARGS)

up: $(BIN)/retake ## start the embedded cloud; see docs/first-drop.md for its variables
	@$(BIN)/python -m local.cloud up

down: ## stop the embedded cloud
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m local.cloud down; fi

build: $(VENV)/.sam ## build what is deployed, and print its size
	@PATH="$$(dirname "$(RUNTIME_PYTHON)"):$$PATH" PIP_PYTHON="$(CURDIR)/$(BIN)/python" \
		$(SAM)/sam build
	@for part in .aws-sam/build/*Layer functions/*; do \
		size=$$(tar -cz -C $$part . | wc -c); \
		printf '%-28s %6d KB packed\n' "$$(basename $$part)" $$((size / 1024)); done

# It looks at the stack, calls `make build`, and then SAM, which `make build` installs.
deploy: $(VENV)/.local ## create or update the stack in your AWS account; ARGS goes to `sam deploy`
	@PYTHONPATH=layers/retake $(BIN)/python -m retake_cli.commands.deploy \
		--sam $(CURDIR)/$(SAM)/sam $(ARGS)

live: $(VENV)/.local ## send one clip through the deployed stack and the real Segmind (0.60 USD)
	@PYTHONPATH=layers/retake $(BIN)/python -m tests.live $(ARGS)

destroy: $(VENV)/.local ## remove the stack; it keeps your videos, unless ARGS=--with-data
	@PYTHONPATH=layers/retake $(BIN)/python -m retake_cli.commands.destroy $(ARGS)

# Each file holds only what the files before it do not, so they can be installed one after another.
lock: $(VENV)/.tests ## pin the requirements again, with hashes
	@cd layers/dependencies && ../../$(BIN)/$(COMPILE) requirements.in --output-file requirements.txt
	@cd layers/media && ../../$(BIN)/$(COMPILE) requirements.in --output-file requirements.txt
	@cd requirements && ../$(BIN)/$(COMPILE) local.in ../pyproject.toml --output-file local.txt
	@cd requirements && ../$(BIN)/$(COMPILE) tests.in --output-file tests.txt \
		$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' local.txt)
	@cd requirements && ../$(BIN)/$(COMPILE) bench.in --output-file bench.txt \
		$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' local.txt tests.txt)
	@cd requirements && ../$(BIN)/$(COMPILE) mutants.in --output-file mutants.txt \
		$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' local.txt tests.txt)
	@cd requirements && ../$(BIN)/$(COMPILE) sam.in --output-file sam.txt

clean: down ## remove everything that was created
	rm -rf $(VENV) .local $(LAYER) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Python 3.11 or later is required; set PYTHON= to another one")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.local: $(VENV)/.python requirements/local.txt $(LAYER)
	@echo "installing the embedded cloud (once)"
	@$(BIN)/python $(PIP) -r requirements/local.txt
	@touch $@

$(BIN)/retake: $(VENV)/.local
	@printf '#!/bin/sh\nPYTHONPATH="%s:%s:%s" exec "%s" -P -m retake_cli "$$@"\n' '$(CURDIR)' \
		'$(CURDIR)/layers/retake' '$(CURDIR)/layers/media' '$(CURDIR)/$(BIN)/python' >$@
	@chmod +x $@

$(VENV)/.tests: $(VENV)/.local requirements/tests.txt
	@echo "installing the test tools (once)"
	@$(BIN)/python $(PIP) -r requirements/tests.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.tests requirements/bench.txt
	@echo "installing the benchmark tools (once)"
	@$(BIN)/python $(PIP) -r requirements/bench.txt
	@touch $@

$(VENV)/.mutants: $(VENV)/.tests requirements/mutants.txt
	@echo "installing cosmic-ray (once)"
	@$(BIN)/python $(PIP) -r requirements/mutants.txt
	@touch $@

$(VENV)/.sam: $(VENV)/.local requirements/sam.txt
	@echo "installing the deployment tools (once)"
	@$(PYTHON) -m venv $(VENV)/sam
	@$(SAM)/python $(PIP) -r requirements/sam.txt
	@touch $@

$(LAYER): $(VENV)/.python layers/dependencies/requirements.txt layers/dependencies/Makefile
	@echo "installing what the functions import (once)"
	@$(MAKE) --silent --no-print-directory -C layers/dependencies \
		PYTHON=$(CURDIR)/$(BIN)/python ARTIFACTS_DIR=$(CURDIR)/layers/dependencies \
		build-DependenciesLayer
	@touch $@
