"""The template and the files beside it, parsed."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events"
DEFINITION = (ROOT / "statemachine/modify_video.asl.json").read_text()


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms: `!Ref X` becomes {"Ref": "X"}."""


def _intrinsic_function(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".") if tag == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}  # type: ignore[arg-type]


_Loader.add_multi_constructor("!", _intrinsic_function)


def load(template: Path) -> dict[str, Any]:
    """Load a CloudFormation template."""
    loaded: dict[str, Any] = yaml.load(template.read_text(), Loader=_Loader)  # noqa: S506
    return loaded


TEMPLATE = load(ROOT / "template.yaml")
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


def of_type(kind: str) -> dict[str, Any]:
    """Return the properties of all resources of a type, by their logical IDs."""
    return {
        name: resource["Properties"]
        for name, resource in RESOURCES.items()
        if resource["Type"] == kind
    }


def listed(one_or_more: Any) -> list[Any]:
    """Return what a policy states alone or in a list as a list."""
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]
