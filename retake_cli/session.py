"""What all verbs share: the stack, the screen, and the options that several verbs have."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import typer

from .console import Screen
from .stack import Stack, find

Prefix = Annotated[
    str, typer.Option(help="Include only keys in the input bucket that begin with this prefix.")
]


@dataclass(kw_only=True)
class Session:
    """One call of the command.

    Attributes:
        stack_name: the stack, if one is named.
        profile: the AWS profile, if one is named.
        region: the AWS Region, if one is named.
        screen: where results are printed.
    """

    stack_name: str | None
    profile: str | None
    region: str | None
    screen: Screen

    @cached_property
    def stack(self) -> Stack:
        """Return the stack; it is looked up when it is first needed."""
        stack = find(self.stack_name, self.profile, self.region)
        if not self.screen.as_json:
            self.screen.say(f"using {stack.where}")
        return stack
