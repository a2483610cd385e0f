"""The rules are pure, functions are thin, and each room imports only what it may."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import retake

LAYER = Path(retake.__file__).parent
ROOT = LAYER.parents[2]
MODULES = sorted(LAYER.rglob("*.py"))
HANDLERS = sorted((ROOT / "functions").glob("*/app.py"))
MEDIA = sorted((ROOT / "layers/media/retake_media").glob("*.py"))
COMMAND = sorted((ROOT / "retake_cli").rglob("*.py"))
RUNTIME = {"boto3", "botocore"}  # the Lambda runtime brings them
IMPORT_NAMES = {"aws-lambda-powertools": "aws_lambda_powertools"}
STANDARD_LIBRARY = set(sys.stdlib_module_names)
IMPURE = {"http", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
# For each room, the other parts of the package and the libraries that it may import.
ROOMS = {
    "domain": (set[str](), {"fastjsonschema"}),
    "segmind": ({"domain"}, {"httpcore", "httpx"}),
    "aws": ({"domain"}, {"boto3", "botocore"}),
    "services": ({"domain", "aws", "segmind", "observability"}, set[str]()),
}
FOR_FUNCTIONS = {"retake.bootstrap", "retake.domain.wait_loop", "retake.observability"}
MAX_HANDLER_LINES = 60
MAX_COLLABORATORS = 6


def in_room(room: str) -> list[Path]:
    return sorted((LAYER / room).glob("*.py"))


def short_name(path: Path) -> str:
    return "/".join(path.parts[-2:])


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_name(path: Path) -> str:
    parts = path.relative_to(LAYER.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def imports(path: Path) -> Iterator[str]:
    """Yield the absolute names of all imported modules, wherever the import stands."""
    package = module_name(path).split(".") if path.is_relative_to(LAYER) else []
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{origin}.{alias.name}"
                yield submodule if submodule in NAMES else origin


def top(module: str) -> str:
    return module.partition(".")[0]


def libraries(path: Path) -> set[str]:
    """Return the imported libraries that neither Python nor the project brings."""
    return {top(module) for module in imports(path)} - STANDARD_LIBRARY - {"retake", "retake_media"}


def parts_of_package(path: Path) -> set[str]:
    """Return the rooms, and modules beside the rooms, that a module imports from."""
    return {module.split(".")[1] for module in imports(path) if module.startswith("retake.")}


def imported_libraries() -> set[str]:
    return {library for path in [*MODULES, *HANDLERS] for library in libraries(path)}


def required_libraries() -> set[str]:
    lines = (ROOT / "layers/dependencies/requirements.in").read_text().splitlines()
    names = [re.split(r"[=<>~\[ ]", line)[0] for line in lines if line and not line.startswith("#")]
    return {IMPORT_NAMES.get(name, name) for name in names}


def operations() -> list[str]:
    """Return the names of what the sandbox runs."""
    module = tree(ROOT / "layers/media/retake_media/operations.py")
    return [node.name for node in module.body if isinstance(node, ast.FunctionDef)]


def test_the_package_has_the_known_rooms() -> None:
    assert {path.parent for path in MODULES} == {LAYER, *(LAYER / room for room in ROOMS)}


@pytest.mark.parametrize(
    ("room", "path"),
    [pytest.param(room, path, id=short_name(path)) for room in ROOMS for path in in_room(room)],
)
def test_a_room_imports_only_what_it_may(room: str, path: Path) -> None:
    allowed_parts, allowed_libraries = ROOMS[room]
    assert parts_of_package(path) <= {room} | allowed_parts
    assert libraries(path) <= allowed_libraries


@pytest.mark.parametrize("path", MEDIA, ids=short_name)
def test_work_on_media_knows_the_rules_but_no_cloud(path: Path) -> None:
    # `tools` is the edge to the functions, and returns what `prepare` expects.
    assert parts_of_package(path) <= {"domain", "services"}
    assert libraries(path) - {"", *(module.stem for module in MEDIA)} <= {"av"}


@pytest.mark.parametrize("path", in_room("domain"), ids=short_name)
def test_the_domain_reads_no_clock_and_touches_nothing_outside(path: Path) -> None:
    assert {top(module) for module in imports(path)} & IMPURE == set()
    clocks = r"\b(datetime\.(now|utcnow|today)|date\.today|time\.(time|monotonic|perf_counter))\b"
    assert not re.search(clocks, path.read_text())


@pytest.mark.parametrize("path", HANDLERS, ids=short_name)
def test_a_function_is_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_HANDLER_LINES
    functions = [node.name for node in tree(path).body if isinstance(node, ast.FunctionDef)]
    assert functions[-1] == "handler"
    imported = {module for module in imports(path) if top(module) == "retake"}
    assert imported <= FOR_FUNCTIONS
    assert libraries(path) <= {"aws_lambda_powertools"}


def test_there_are_seven_functions() -> None:
    names = [path.parent.name for path in HANDLERS]
    assert names == ["fetch", "finish", "poll", "prepare", "settle", "submit", "sweep"]


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: set(imports(path)) & NAMES.keys() for name, path in NAMES.items()}
    assert graph["retake.services.sweep"] >= {"retake.services.reconcile", "retake.domain.job"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def constructors(path: Path) -> Iterator[tuple[str, ast.arguments]]:
    """Yield the name and the constructor's parameters of each class."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    yield node.name, method.args


def is_plain(annotation: ast.expr | None) -> bool:
    """Tell whether a parameter is a number or a function such as a clock, so no collaborator."""
    text = ast.unparse(annotation) if annotation else ""
    return text in ("int", "float") or text.startswith("Callable[")


@pytest.mark.parametrize("path", in_room("services"), ids=short_name)
def test_a_use_case_has_few_collaborators_given_by_keyword(path: Path) -> None:
    for name, given in constructors(path):
        assert [argument.arg for argument in given.posonlyargs + given.args] == ["self"], name
        collaborators = [one.arg for one in given.kwonlyargs if not is_plain(one.annotation)]
        assert len(collaborators) <= MAX_COLLABORATORS, (name, collaborators)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names_defined_in(path: Path) -> set[str]:
    """Return the private functions and attributes that a module defines."""
    defined = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            defined.add(node.attr)
    return {name for name in defined if is_private(name)}


@pytest.mark.parametrize("path", [*MODULES, *HANDLERS], ids=short_name)
def test_private_attributes_are_used_only_in_the_module_that_defines_them(path: Path) -> None:
    used = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    assert {name for name in used if is_private(name)} <= private_names_defined_in(path)


@pytest.mark.parametrize("path", [*MODULES, *HANDLERS], ids=short_name)
def test_no_private_name_is_imported(path: Path) -> None:
    imported = {
        alias.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name in imported if is_private(name)} == set()


def used_names(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def test_no_function_is_dead() -> None:
    used = {name for path in [*MODULES, *HANDLERS, *COMMAND, *MEDIA] for name in used_names(path)}
    used |= set(operations())
    defined = {
        node.name
        for path in [*MODULES, *MEDIA]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__")
    }
    assert defined - used == set()


def test_every_required_library_is_imported() -> None:
    assert required_libraries() <= imported_libraries()


def test_every_imported_library_is_required() -> None:
    assert imported_libraries() <= required_libraries() | RUNTIME
