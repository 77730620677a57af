"""What an index and a repository show of the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import chaosharness

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
REPOSITORY = PROJECT["project"]["urls"]["Source"]


def test_the_readme_of_an_index_has_absolute_links_alone():
    text = (ROOT / "README.md").read_text("utf-8")
    for one in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text)
    assert len(links) > 20
    assert all(link.startswith(("https://", "#")) for _, link in links)
    [picture] = [link for mark, link in links if mark]
    assert picture.startswith("https://raw.githubusercontent.com/")
    inside = [link for _, link in links if link.startswith(f"{REPOSITORY}/blob/main/")]
    for link in inside:
        assert (ROOT / link.removeprefix(f"{REPOSITORY}/blob/main/").partition("#")[0]).exists()


def test_the_version_has_a_chapter_in_the_changelog():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(
        rf"^## \[{re.escape(chaosharness.__version__)}\] - \d{{4}}-\d\d-\d\d$", text, re.M
    )
    assert PROJECT["project"]["version"] == chaosharness.__version__


@pytest.mark.parametrize(
    "path",
    [
        "SECURITY.md",
        "docs/explanation/stability.md",
        "chaosharness/py.typed",
        ".github/workflows/ci.yml",
        ".github/ISSUE_TEMPLATE/false-alarm.yml",
    ],
)
def test_what_people_look_for_is_there(path):
    assert (ROOT / path).stat().st_size > 0 or path.endswith("py.typed")


def test_the_workflow_runs_what_must_hold_before_a_change_lands():
    assert "bash .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text("utf-8")


def test_the_sources_are_distributed_without_the_evidence():
    assert "/reports" in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["exclude"]
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["chaosharness"]
