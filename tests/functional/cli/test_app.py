"""The command as a whole: common options, and an interruption while it starts."""

import sys
from typing import Any

import pytest

from retake_cli.__main__ import main
from retake_cli.app import common_options_first


def test_common_options_are_accepted_anywhere() -> None:
    given = ["ls", "--json", "--stack", "mine", "--state", "HELD", "--region=eu-west-1"]
    common = ["--json", "--stack", "mine", "--region=eu-west-1"]
    assert common_options_first(given) == [*common, "ls", "--state", "HELD"]
    assert common_options_first(["drop", "--", "--json"]) == ["drop", "--", "--json"]


def test_ctrl_c_while_the_command_starts_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: Any) -> None:
            if name == "retake_cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "retake_cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
