"""`make live ARGS="--yes --max-usd 1"`.

Exit code 0: everything is as expected; 1: something is not; 2: nothing was sent.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from local.cloud import CREDENTIALS
from retake.domain.prices import FLAT_USD
from tests.live.check import Check
from tests.live.report import Report, problems


def main(arguments: list[str] | None = None) -> int:
    """Run the check, after an explicit confirmation and with a limit."""
    options = _parser().parse_args(arguments)
    say = Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print
    if not options.yes or options.max_usd is None:
        command = 'make live ARGS="--yes --max-usd 1"'
        say(f"Nothing was sent. A check costs about {FLAT_USD:.2f} USD; to run it: {command}")
        return 2
    try:
        session, outputs, endpoint = _stack(options.stack, options.outputs)
        check = Check(outputs=outputs, session=session, endpoint=endpoint, say=say)
        if refusal := check.refusal(options.max_usd):
            say(f"Nothing was sent: {refusal}.")
            return 2
    except (BotoCoreError, ClientError, OSError, ValueError, LookupError) as error:
        cause = f"{type(error).__name__}: {error}"
        hint = "Is it deployed, with this profile and Region?"
        say(f"Nothing was sent: the stack cannot be read ({cause}). {hint}")
        return 2
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = check.run(Path(folder), options.patience * 60)
    except (BotoCoreError, ClientError, KeyboardInterrupt) as error:
        cause = f"{type(error).__name__}: {error}"
        then = f"If it had dropped {check.clip_key}, the pipeline continues, and the clip is paid."
        say(f"The check was interrupted ({cause}). {then}")
        return 1
    report["verdict"] = {"problems": problems(report, options.max_usd)}
    text = json.dumps(report, indent=2, default=str)
    if options.json:
        print(text)
    else:
        _show(json.loads(text))
    return 1 if report["verdict"]["problems"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='make live ARGS="…"',
        description=f"Sends one clip to Segmind, for about {FLAT_USD:.2f} USD.",
    )
    parser.add_argument("--yes", action="store_true", help="confirm that it may cost money")
    parser.add_argument("--max-usd", type=float, help="the most that it may cost")
    parser.add_argument(
        "--stack",
        default="retake",
        help="the deployed stack, in the profile and Region that boto3 uses",
    )
    parser.add_argument(
        "--outputs",
        type=Path,
        help="use an embedded cloud instead, such as .local/outputs.json",
    )
    parser.add_argument(
        "--patience", type=float, default=60, help="how many minutes to wait for the clip"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _stack(name: str, outputs: Path | None) -> tuple[boto3.Session, dict[str, str], str | None]:
    """Return how AWS is reached, the stack's outputs, and the endpoint of an embedded cloud."""
    if outputs:
        known = json.loads(outputs.read_text())
        return boto3.Session(**CREDENTIALS), known, known["Endpoint"]
    session = boto3.Session()
    described = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    found = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    return session, found, None


def _show(report: Report) -> None:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for section, findings in report.items():
        console.print(section, style="bold")
        for name, finding in findings.items():
            console.print(f"  {name:22} {json.dumps(finding)}")


if __name__ == "__main__":
    sys.exit(main())
