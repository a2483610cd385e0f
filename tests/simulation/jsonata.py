"""The JSONata that the wait loop uses: paths from `$states`, and comparisons with a text."""

import re
from collections.abc import Mapping
from typing import Any

_EXPRESSION = re.compile(r"\{%\s*\$states((?:\.\w+)+)(?:\s*=\s*'([^']*)')?\s*%\}")


def evaluate(template: Any, **states: Any) -> Any:
    """Evaluate the expressions in a value of the definition.

    Parameters:
        template: a text, or a structure with texts.
        states: the fields of `$states`, such as `input`.

    Raises:
        NotImplementedError: it is other JSONata.
    """
    if isinstance(template, Mapping):
        return {name: evaluate(value, **states) for name, value in template.items()}
    if not isinstance(template, str) or not template.startswith("{%"):
        return template
    match = _EXPRESSION.fullmatch(template)
    if not match:
        raise NotImplementedError(template)
    value: Any = states
    for name in match[1].split(".")[1:]:
        value = value[name]
    return value if match[2] is None else value == match[2]
