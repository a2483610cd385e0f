"""`make live ARGS="--yes --max-usd 1"`: exit code 0 as it should be, 1 not so, 2 not started."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from local.cloud import CREDENTIALS
from retake.rules.gate import PRICE
from tests.live.check import Check, Report, problems


def main(arguments: list[str] | None = None) -> int:
    """Run the check, after an explicit yes and a limit."""
    parser = argparse.ArgumentParser(prog='make live ARGS="…"', description=f"Sends one clip to Segmind, for about {PRICE:.2f} USD.")
    parser.add_argument("--yes", action="store_true", help="really do it")
    parser.add_argument("--max-usd", type=float, help="what it may cost")
    parser.add_argument("--stack", default="retake", help="the deployed stack, in boto3's usual profile and region")
    parser.add_argument("--outputs", type=Path, help="an embedded cloud instead: .local/outputs.json")
    parser.add_argument("--patience", type=float, default=60, help="minutes to wait for the clip")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    say = Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print
    if not given.yes or given.max_usd is None:
        say(f'Nothing was sent. It costs about {PRICE:.2f} USD; if you want that: make live ARGS="--yes --max-usd 1"')
        return 2
    try:
        session, outputs, endpoint = _stack(given.stack, given.outputs)
        check = Check(outputs, session, endpoint, say)
        if refusal := check.refusal(given.max_usd):
            say(f"Nothing was sent: {refusal}.")
            return 2
    except (BotoCoreError, ClientError, OSError, ValueError, LookupError) as error:
        say(f"Nothing was sent: the stack cannot be read ({type(error).__name__}: {error}). Is it deployed, with this profile and region?")
        return 2
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = check.run(Path(folder), given.patience * 60)
    except (BotoCoreError, ClientError, KeyboardInterrupt) as error:
        say(f"The check broke off ({type(error).__name__}: {error}). If it had dropped {check.clip}, the pipeline goes on, and it is paid.")
        return 1
    report["verdict"] = {"problems": problems(report, given.max_usd)}
    text = json.dumps(report, indent=2, default=str)
    if given.json:
        print(text)
    else:
        _show(json.loads(text))
    return 1 if report["verdict"]["problems"] else 0


def _stack(name: str, outputs: Path | None) -> tuple[boto3.Session, dict[str, str], str | None]:
    if outputs:
        known = json.loads(outputs.read_text())
        return boto3.Session(**CREDENTIALS), known, known["Endpoint"]
    session = boto3.Session()
    described = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    return session, {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}, None


def _show(report: Report) -> None:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for section, answers in report.items():
        console.print(section, style="bold")
        for name, answer in answers.items():
            console.print(f"  {name:22} {json.dumps(answer)}")


if __name__ == "__main__":
    sys.exit(main())
