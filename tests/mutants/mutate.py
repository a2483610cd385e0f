"""Mutants of a module, made by cosmic-ray."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from random import Random
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from parso.python.tree import Keyword

# They break annotations, or compare what is unique by identity: no test is needed to notice.
_POINTLESS = re.compile(r"BitOr_|_Is(Not)?_(Eq|NotEq|Lt|Gt)|_(Eq|NotEq|LtE?|GtE?)_Is")
_SIMPLE = ("expr_stmt", "atom_expr", "return_stmt", "raise_stmt")


class DropStatement:
    """An operator that cosmic-ray lacks: it replaces a statement of a function by `pass`."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where a node can be mutated."""
        is_simple = node.type == "simple_stmt" and node.children[0].type in _SIMPLE
        if is_simple and node.search_ancestor("funcdef"):
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return a node that does nothing."""
        first = node.get_first_leaf()
        node.children[0] = Keyword("pass", first.start_pos, first.prefix)
        return node


class DropKeywordArgument:
    """Another one: it leaves out an argument that has a name."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where a node can be mutated."""
        if node.type == "argument" and node.children[1] == "=":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return arguments that are none."""
        return Keyword("**{}", node.start_pos, node.get_first_leaf().prefix)


@dataclass(frozen=True)
class Mutant:
    """A module with one fault.

    Attributes:
        module: the module's path in the package.
        lines: the lines of the statement with the fault, in the original's numbers.
        code: the module's text with the fault.
        diff: how it differs.
    """

    module: str
    lines: range
    code: str
    diff: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The name of the module, what was removed, and what was added, however it is indented."""
        lines = self.diff.splitlines()[2:]
        removed, added = (
            " ".join(" ".join(line[1:] for line in lines if line.startswith(sign)).split())
            for sign in "-+"
        )
        return Path(self.module).stem, removed, added


def mutants(package: Path, modules: list[str], random: Random) -> Iterator[Mutant]:
    """Yield mutants in random order, one for each place that can have a fault."""
    operators = [
        get_operator(name)
        for name in operator_names()
        if not _POINTLESS.search(name) and not get_operator(name).arguments()
    ]
    places: dict[tuple[str, Any, Any], list[tuple[Any, int, range]]] = {}
    for module in modules:
        nodes = [*ast_nodes(get_ast((package / module).read_text()))]
        for operator in [DropStatement, DropKeywordArgument, *operators]:
            found = [
                (node, *where) for node in nodes for where in operator().mutation_positions(node)
            ]
            for occurrence, (node, start, end) in enumerate(found):
                if not _is_no_behavior(node):
                    places.setdefault((module, start, end), []).append(
                        (operator(), occurrence, _lines(node))
                    )
    for module, start, end in random.sample(list(places), len(places)):
        operator, occurrence, lines = random.choice(places[module, start, end])
        code = (package / module).read_text()
        mutated = mutate_code(code, operator, occurrence)
        if _is_another_program(code, mutated):
            diff = unified_diff(
                code.splitlines(), mutated.splitlines(), module, module, lineterm="", n=1
            )
            yield Mutant(module, lines, mutated, "\n".join(diff))


def _statement(node: Any) -> Any:
    """Return the statement that a node is part of; for the head of a block, the function."""
    if node.type == "simple_stmt":
        return node
    return node.search_ancestor("simple_stmt", "funcdef") or node


def _lines(node: Any) -> range:
    statement = _statement(node)
    return range(statement.start_pos[0], statement.get_last_leaf().start_pos[0] + 1)


def _is_no_behavior(node: Any) -> bool:
    """Tell whether a node is part of a log statement, or of an assertion for the type checker."""
    return bool(_statement(node).get_code().strip().startswith(("logger.", "assert ")))


def _is_another_program(code: str, mutated: str) -> bool:
    try:
        return ast.dump(ast.parse(code)) != ast.dump(ast.parse(mutated))
    except SyntaxError:
        return False
