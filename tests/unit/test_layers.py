"""Rules are pure, functions are thin, and what is imported is required."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import retake

LAYER = Path(retake.__file__).parent
ROOT = LAYER.parents[3]
RULES, MODULES = sorted((LAYER / "rules").glob("*.py")), sorted(LAYER.rglob("*.py"))
HANDLERS = sorted((ROOT / "functions").glob("*/app.py"))
RUNTIME = {"boto3", "botocore"}  # the Lambda runtime brings them
IMPORTED_AS = {"aws-lambda-powertools": "aws_lambda_powertools"}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Give (module, level) of every import, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level


def third_party() -> set[str]:
    """Name what the layer and the functions import that neither Python nor the project brings."""
    found = {name.partition(".")[0] for path in [*MODULES, *HANDLERS] for name, level in imports(path) if not level}
    return found - set(sys.stdlib_module_names) - {"retake"}


def required() -> set[str]:
    lines = (ROOT / "layers/dependencies/requirements.in").read_text().splitlines()
    names = [re.split(r"[=<>~\[ ]", line)[0] for line in lines if line and not line.startswith("#")]
    return {IMPORTED_AS.get(name, name) for name in names}


def name(path: Path) -> str:
    return "/".join(path.parts[-2:])


@pytest.mark.parametrize("path", RULES, ids=name)
def test_rules_know_no_client_no_clock_and_no_adapter(path: Path) -> None:
    for module, level in imports(path):
        assert level <= 1, "a rule imports rules alone"
        if not level:
            assert module.partition(".")[0] in set(sys.stdlib_module_names) | {"fastjsonschema"}
            assert module.partition(".")[0] not in {"time", "random", "secrets", "os", "socket", "http", "threading", "subprocess"}


@pytest.mark.parametrize("path", sorted((LAYER / "adapters").glob("*.py")), ids=name)
def test_adapters_know_rules_and_adapters_alone(path: Path) -> None:
    assert all(level < 2 or module.startswith("rules") for module, level in imports(path))


@pytest.mark.parametrize("path", RULES, ids=name)
def test_no_rule_reads_a_clock(path: Path) -> None:
    assert not re.search(r"\b(datetime\.now|utcnow|time\.time)\b", path.read_text())


@pytest.mark.parametrize("path", HANDLERS, ids=name)
def test_a_function_is_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    assert [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)][-1] == "handler"


def test_there_are_five_functions() -> None:
    assert [path.parent.name for path in HANDLERS] == ["deliver", "poll", "settle", "submit", "sweep"]


def test_nothing_is_required_that_is_not_imported() -> None:
    assert required() <= third_party()


def test_what_is_imported_is_required() -> None:
    assert third_party() <= required() | RUNTIME


def test_no_public_function_is_dead() -> None:
    words = Counter(re.findall(r"\w+", "\n".join(path.read_text() for path in [*MODULES, *HANDLERS])))
    defined = {node.name for path in MODULES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
    assert {one for one in defined - {"connect_tcp", "__getattr__"} if words[one] < 2} == set()
