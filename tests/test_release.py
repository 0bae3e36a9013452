"""What names the version, the extras and the licences says the same in every file."""

from __future__ import annotations

import re

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import distgan
from distgan.config.recipes import recipe_names
from tests.support.processes import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest needs tomli
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs" / "installing.md").read_text()
FOR_DEVELOPERS = {"test", "dev", "docs"}


def test_the_citation_the_image_and_the_changelog_are_of_this_version():
    version = distgan.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"image: registry.example/distgan:{version}\n" in (ROOT / "launch" / "pytorchjob.yaml").read_text()
    released = re.findall(r"^## \[(\d\S*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == version
    assert released == sorted(released, key=Version, reverse=True)


def test_every_extra_is_in_the_table_of_the_page_with_its_packages():
    rows = dict(re.findall(r"^\| `([a-z0-9]+)` \| (.+) \| .+ \|$", PAGE, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    assert rows.keys() == extras.keys() - FOR_DEVELOPERS
    for extra, packages in rows.items():
        assert re.findall(r"`([\w-]+)`", packages) == [Requirement(each).name for each in extras[extra]]


@pytest.mark.parametrize("place", ["distgan", "docs", "launch", "examples", "README.md"])
def test_an_extra_that_a_sentence_names_exists(place):
    files = [ROOT / place] if "." in place else [each for each in (ROOT / place).rglob("*") if each.is_file()]
    texts = [each.read_text() for each in files if each.suffix in (".py", ".md", ".yaml", ".toml")]
    written = [names for text in texts for names in re.findall(r"(?:distgan|\.)\[([a-z0-9,]+)\]", text)]
    named = {extra for names in written for extra in names.split(",")}
    assert named - PROJECT["optional-dependencies"].keys() == set()


def test_the_issue_forms_ask_for_the_doctor_s_report():
    for name in ("bug", "feature"):
        form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
        asked = [field["attributes"]["label"] for field in form["body"]]
        assert "distgan doctor --json" in asked
        assert len({field["id"] for field in form["body"]}) == len(asked)


def test_the_completion_of_recipes_lists_every_file_of_configs():
    assert recipe_names() == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
