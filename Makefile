# Everything sets up what it needs, and nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAYER := layers/dependencies/python
PIP := -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps
SAM := $(VENV)/sam/bin

.DEFAULT_GOAL := help
.PHONY: help demo test bench policies lint up down build deploy live destroy lock clean

help: ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.local ## drop two clips on the embedded cloud and watch them come back
	@PYTHONPATH=layers/retake/python $(BIN)/python -m local.demo

test: $(VENV)/.tests $(VENV)/.sam ## all tests that need no account
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(VENV)/.bench ## measure everything beside what people use today, write bench/RESULTS.md (about a quarter of an hour)
	@$(BIN)/python -m bench $(ARGS)

policies: $(VENV)/.tests ## remove every permission one by one, see what fails, write docs/policies.md (about ten minutes)
	@$(BIN)/python -m pytest tests/policies/removals.py $(ARGS)

lint: $(VENV)/.tests $(VENV)/.sam ## style, types, template
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint template.yaml .github/deploy-role.yaml docs/recipes/*.yaml
	$(SAM)/sam validate --lint
	BC_SKIP_MAPPING=TRUE $(SAM)/checkov -f template.yaml

up: $(BIN)/retake ## start the embedded cloud and leave it running, with the command .venv/bin/retake beside it; takes SEGMIND_BASE_URL, SEGMIND_HISTORY_URL, WAIT_SCALE, AUTH, PORT
	@$(BIN)/python -m local.cloud up

down: ## stop it
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m local.cloud down; fi

build: $(VENV)/.sam ## build what is deployed, and print its size
	@PATH="$$(dirname "$$($(SAM)/uv python find --no-python-downloads 3.13 2>/dev/null || echo .)"):$$PATH" $(SAM)/sam build
	@for part in .aws-sam/build/*Layer functions/*; do printf '%-28s %6d KB packed\n' "$$(basename $$part)" $$(($$(tar -cz -C $$part . | wc -c) / 1024)); done

deploy: build ## build and deploy to your AWS account; asks for what it needs the first time, ARGS goes to `sam deploy`
	$(SAM)/sam deploy $(or $(ARGS),$(shell $(BIN)/aws cloudformation describe-stacks --stack-name retake >/dev/null 2>&1 || echo --guided))

live: $(VENV)/.local ## one clip through the deployed stack and the real Segmind, to learn how it answers; costs about 0.60 USD, see docs/deploy.md
	@PYTHONPATH=layers/retake/python $(BIN)/python -m tests.live $(ARGS)

destroy: $(VENV)/.local ## remove the stack from your AWS account; the videos only if you say so: ARGS=--with-data
	@PYTHONPATH=layers/retake/python $(BIN)/python -m cli.destroy $(ARGS)

lock: $(VENV)/.tests ## compile the requirements anew, with hashes
	@for folder in layers/dependencies cli local tests bench cli/sam; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
			--custom-compile-command "make lock" $$folder/requirements.in --output-file $$folder/requirements.txt; done

clean: down ## remove everything that was made
	rm -rf $(VENV) .local $(LAYER) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.local: $(VENV)/.python local/requirements.txt $(LAYER)
	@echo "installing what the embedded cloud needs (once)"
	@$(BIN)/python $(PIP) -r local/requirements.txt
	@touch $@

$(BIN)/retake: $(VENV)/.local
	@printf '#!/bin/sh\nPYTHONPATH="%s:%s" exec "%s" -P -m cli "$$@"\n' '$(CURDIR)' '$(CURDIR)/layers/retake/python' '$(CURDIR)/$(BIN)/python' >$@
	@chmod +x $@

$(VENV)/.tests: $(VENV)/.local tests/requirements.txt
	@echo "installing what the tests need (once)"
	@$(BIN)/python $(PIP) -r tests/requirements.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.tests bench/requirements.txt
	@echo "installing what the bench needs (once)"
	@$(BIN)/python $(PIP) -r bench/requirements.txt
	@touch $@

$(VENV)/.sam: $(VENV)/.local cli/sam/requirements.txt
	@echo "installing what deploys and checks the template (once)"
	@$(PYTHON) -m venv $(VENV)/sam
	@$(SAM)/python $(PIP) -r cli/sam/requirements.txt
	@touch $@

$(LAYER): $(VENV)/.python layers/dependencies/requirements.txt layers/dependencies/Makefile
	@echo "installing what the functions need (once)"
	@$(MAKE) --silent --no-print-directory -C layers/dependencies PYTHON=$(CURDIR)/$(BIN)/python ARTIFACTS_DIR=$(CURDIR)/layers/dependencies build-DependenciesLayer
	@touch $@
