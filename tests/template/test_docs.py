"""What the pages say is what the code does."""

import re
from pathlib import Path
from typing import Any

import typer

from cli.app import app
from retake.rules import preset, sidecar
from retake.rules.gate import PRICE, Limits
from retake.rules.states import Held, State
from tests.template.test_template import TEMPLATE

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
BLOCKS = [block for page in PAGES.values() for block in re.findall(r"^```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]
EVERYWHERE = {"--stack", "--profile", "--region", "--json"}


def test_the_sidecar_page_tells_the_schema() -> None:
    page = (ROOT / "docs/sidecar.md").read_text()
    for name, field in [*sidecar.SCHEMA["properties"].items(), *preset.SCHEMA["properties"].items()]:
        assert f"| `{name}` | {field.get('type', 'one of the nine')} | {field['description']} |" in page


def test_the_readme_names_every_parameter() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in TEMPLATE["Parameters"]:
        assert f"`{name}`" in readme, name


def test_every_link_to_a_file_leads_somewhere() -> None:
    for name, page in PAGES.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"(?:\]\(|^\[.+\]: )(?!https?:)([^)#\n]+)", page, re.MULTILINE):
            assert (folder / target).exists(), f"{name}: {target}"


def test_every_snippet_stands_on_a_page_as_it_is_run() -> None:
    for snippet in (ROOT / "docs/snippets").iterdir():
        assert snippet.read_text() in BLOCKS, snippet.name


def test_the_pages_name_commands_and_options_that_exist() -> None:
    group: Any = typer.main.get_command(app)
    commands = {name: {option for each in command.params for option in each.opts} for name, command in group.commands.items()}
    inline = [words for page in PAGES.values() for words in re.findall(r"`(?:\S*/)?retake (\w[^`\n]*)`", page)]
    lines = [words for block in BLOCKS for words in re.findall(r"^(?:\S*/)?retake ([^#\n]+)", block, re.MULTILINE)]
    assert {words.split()[0] for words in inline + lines} == commands.keys()
    for words in inline + lines:
        assert set(re.findall(r"--[\w-]+", words)) <= commands[words.split()[0]] | EVERYWHERE, words


def test_troubleshooting_has_a_row_for_every_state_reason_alarm_and_finding() -> None:
    alarms = [name for name, each in TEMPLATE["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"]
    findings = re.findall(r'Finding\("(\w+)"', (ROOT / "cli/doctor.py").read_text())
    assert alarms
    assert findings
    for name in (*State, *Held, *alarms, *findings):
        assert re.search(rf"^\| (?:`\w+`, )*`{name}`", PAGES["troubleshooting.md"], re.MULTILINE), name


def test_the_batch_page_reckons_as_the_gate_does() -> None:
    plan, budget = (TEMPLATE["Parameters"][name]["Default"] for name in ("RequestsPerMinute", "DailyBudgetUsd"))
    assert f"`DailyBudgetUsd` {budget} is **{int(budget / PRICE)} jobs a day**" in PAGES["batch.md"]
    assert f"{plan} a minute; " in PAGES["batch.md"]
    assert f"{Limits(plan).in_flight} at Segmind at once" in PAGES["batch.md"]
