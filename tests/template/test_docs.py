"""What the pages say is what the code does."""

import re
from pathlib import Path

from retake.rules import preset, sidecar
from tests.template.test_template import TEMPLATE

ROOT = Path(__file__).parents[2]


def test_the_sidecar_page_tells_the_schema() -> None:
    page = (ROOT / "docs/sidecar.md").read_text()
    for name, field in [*sidecar.SCHEMA["properties"].items(), *preset.SCHEMA["properties"].items()]:
        assert f"| `{name}` | {field.get('type', 'one of the nine')} | {field['description']} |" in page


def test_the_readme_names_every_parameter() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in TEMPLATE["Parameters"]:
        assert f"`{name}`" in readme, name


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
