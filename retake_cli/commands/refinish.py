"""`retake refinish` makes films again from what Segmind rendered; nothing is paid."""

import json
from typing import Annotated, Any

import typer
from botocore.config import Config
from rich.text import Text

from retake.domain.job import Job
from retake.domain.status_file import printable

from .. import jobs
from ..session import Session
from ..stack import Stack

# `finish` may take 15 minutes. A second call would only make the film a second time.
_CONFIG = Config(read_timeout=910, retries={"total_max_attempts": 1})


def refinish(
    context: typer.Context,
    names: Annotated[
        list[str], typer.Argument(metavar="JOB|KEY…", help="Jobs, named as for `show`.")
    ],
) -> None:
    """Make films again from what was rendered, without paying.

    The render is kept in the staging bucket for StagingRetentionDays.
    """
    session: Session = context.obj
    found = [jobs.find(session.stack.table, name)[0] for name in names]
    outcomes = {entry.key: _refinish(session.stack, entry) for entry in found}
    values = [{"key": key, **outcome} for key, outcome in outcomes.items()]
    session.screen.show(values, *(_line(value) for value in values))
    raise typer.Exit(int(any("error" in outcome for outcome in outcomes.values())))


def _refinish(stack: Stack, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, Job):
        return {"error": "it has no job yet, so there is no film to make again"}
    response = stack.client("lambda", _CONFIG).invoke(
        FunctionName=stack.outputs["FinishFunctionName"],
        Payload=json.dumps({"refinish": entry.id}).encode(),
    )
    outcome: dict[str, Any] = json.loads(response["Payload"].read())
    if "FunctionError" in response:
        return {"error": f"the function failed: {outcome.get('errorMessage', outcome)}"}
    return outcome


def _line(value: dict[str, Any]) -> Text:
    said = value.get("error") or "; ".join(["made again", *value["warnings"]])
    return Text(f"{printable(value['key'])}  {printable(said)}")
