"""The docs match the code."""

import re
from dataclasses import replace
from typing import Any

import typer

from retake.domain import preset, sidecar
from retake.domain.admission import Quotas
from retake.domain.job import HoldReason, State
from retake.domain.prices import FLAT_USD, MEGAPIXEL_USD, Basis, Prices
from retake_cli.app import app
from tests.support.stand_ins import FOOTAGE
from tests.support.template import ROOT, TEMPLATE, of_type

FILES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PAGES = {str(file.relative_to(ROOT)): file.read_text() for file in FILES}
BLOCK = re.compile(r"^```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [block for page in PAGES.values() for block in BLOCK.findall(page)]
LINK = re.compile(r"(?:\]\(|^\[.+\]: )(?!https?:)([^)#\n]+)", re.MULTILINE)
COMMON_OPTIONS = {"--stack", "--profile", "--region", "--json"}


def test_the_sidecar_page_describes_every_field_as_the_schemas_do() -> None:
    page = PAGES["docs/sidecar.md"]
    fields = [*sidecar.SCHEMA["properties"].items(), *preset.SCHEMA["properties"].items()]
    for name, field in fields:
        kind = field.get("type") or " or ".join(map(str, field["enum"][-4:]))
        kind = "one of the nine" if name == "mode" else kind
        assert f"| `{name}` | {kind} | {field['description']} |" in page


def test_the_readme_names_every_parameter() -> None:
    for name in TEMPLATE["Parameters"]:
        assert f"`{name}`" in PAGES["README.md"], name


def test_every_link_to_a_file_leads_somewhere() -> None:
    for name, page in PAGES.items():
        folder = (ROOT / name).parent
        for target in LINK.findall(page):
            assert (folder / target).exists(), f"{name}: {target}"


def test_every_snippet_is_on_a_page_exactly_as_it_runs() -> None:
    for snippet in (ROOT / "docs/snippets").iterdir():
        assert snippet.read_text() in BLOCKS, snippet.name


def test_the_pages_name_commands_and_options_that_exist() -> None:
    group: Any = typer.main.get_command(app)
    options = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()
    }
    inline = [
        words
        for page in PAGES.values()
        for words in re.findall(r"`(?:\S*/)?retake (\w[^`\n]*)`", page)
    ]
    lines = [
        words
        for block in BLOCKS
        for words in re.findall(r"^(?:\S*/)?retake ([^#\n]+)", block, re.MULTILINE)
    ]
    assert {words.split()[0] for words in inline + lines} == options.keys()
    for words in inline + lines:
        command = words.split()[0]
        assert set(re.findall(r"--[\w-]+", words)) <= options[command] | COMMON_OPTIONS, words


def test_troubleshooting_has_a_row_for_every_state_reason_alarm_and_finding() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm")
    command = "".join(file.read_text() for file in (ROOT / "retake_cli").rglob("*.py"))
    findings = re.findall(r'Finding\(\s*"(\w+)"', command)
    assert alarms
    assert findings
    page = PAGES["docs/troubleshooting.md"]
    for name in (*State, *HoldReason, *alarms, *findings):
        assert re.search(rf"^\| (?:`\w+`, )*`{name}`", page, re.MULTILINE), name


def test_the_batch_page_calculates_as_admission_control_does() -> None:
    page, parameters = PAGES["docs/batch.md"], TEMPLATE["Parameters"]
    rate = parameters["RequestsPerMinute"]["Default"]
    budget = parameters["DailyBudgetUsd"]["Default"]
    assert f"`DailyBudgetUsd` {budget} is **{int(budget / FLAT_USD)} jobs a day**" in page
    assert f"{rate} a minute; " in page
    assert f"{Quotas(rate).max_in_flight} at Segmind at once" in page


def test_the_prices_page_calculates_as_estimates_do() -> None:
    prices = Prices({Basis.MEGAPIXEL: MEGAPIXEL_USD})
    for seconds in (5, 10, 30):
        clip = replace(FOOTAGE, seconds=seconds, width=1920, height=1080)
        usd = prices.by_size(clip)
        figures = " | ".join(f"{usd[size]:.2f} USD" for size in ("1080", "720", "540"))
        assert f"| {seconds} s | {figures} |" in PAGES["docs/prices.md"]
