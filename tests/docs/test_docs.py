"""Every code block of the documentation is run, and prints what it shows."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.adapters.databases.servers import needs_postgresql
from tests.docs.extras import hide_others, installs, named_by
from tests.docs.pages import Block, Walk, blocks, commands, matches, walk

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "docs").rglob("*.md")
        if "reference" not in path.relative_to(ROOT).parts
    ),
)

INSTALLS = "installs something; .ci/run does, and test_new_user.py"
CI = ".ci/run does, or is it"
OLDEST = "installs old versions of libraries; takes a minute"
LONG = "takes minutes; tests/benchmarks runs the scenario in each tool that is installed"
PEER = "takes minutes; tests/machines/test_nats_conformance.py compares a part of it"
CLUSTERS = "takes minutes; tests/machines/test_kafka_conformance.py compares a part of it"
CLUSTER = "needs a cluster that stays; tests/search/workers/test_dask.py runs one"
NOT_RUN = {
    "README.md": {
        "python3.11 -m venv .venv": INSTALLS,
        ". .venv/bin/activate": INSTALLS,
        "pip install .": INSTALLS,
        'pytest -q -n 2 -m "not slow"': CI,
    },
    "CONTRIBUTING.md": {
        "python docs/reference.py": "test_reference.py compares what it would write",
        "python3.11 -m venv .venv": INSTALLS,
        ". .venv/bin/activate": INSTALLS,
        "pip install -e '.[test]'": INSTALLS,
        "pytest -q": CI,
        "ruff check . && ruff format .": CI,
        "mypy": CI,
        "bash .ci/run": CI,
        "bash .ci/oldest": OLDEST,
        "python -m benchmarks": LONG,
        "pip install -e '.[docs]'": INSTALLS,
        "mkdocs build": "test_site.py does, where it is installed",
        "pip install -e '.[bench]'": LONG,
        "python -m benchmarks peers": LONG,
        "python -m benchmarks stacks": LONG,
        "python -m benchmarks.same": "takes minutes; the line above it runs one system's",
    },
    "docs/how-to/cores.md": {
        "pip install '.[dask]'": INSTALLS,
        "dask scheduler": CLUSTER,
        "dask worker tcp://127.0.0.1:8786 --nworkers 4": CLUSTER,
        "chaosharness run kiosk:kiosk --dask tcp://127.0.0.1:8786": CLUSTER,
    },
    "docs/how-to/kafka.md": {"python -m benchmarks kafka": CLUSTERS},
    "docs/how-to/nats.md": {"python -m benchmarks nats": PEER},
}
"""Commands that a page shows and this test does not run, with who does."""

NEEDS_POSTGRESQL = {"docs/how-to/postgresql.md"}
"""Pages whose code connects to a server: where there is none, they are skipped and say so."""

NOT_CODE = {
    "docs/how-to/ci.md": {"yaml": 1, "toml": 1},
    "docs/how-to/troubleshooting.md": {"text": 1},
    "docs/explanation/green.md": {"text": 1},
}
"""Blocks in languages that nobody runs here, by page, and how many there are."""


LONG_PAGES = ("docs/explanation/questions.md", "docs/how-to/capacity.md")
"""What takes ten seconds or more."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(one, marks=pytest.mark.slow) if one in LONG_PAGES else one for one in PAGES],
)
def test_a_page_does_what_it_says(page, tmp_path):
    if page in NEEDS_POSTGRESQL:
        needs_postgresql()
    exempt = dict(NOT_CODE.get(page, {}))
    folder = tmp_path / "page"
    folder.mkdir()
    has: frozenset[Requirement] = frozenset()
    walker = Walk(folder, path=f"{tmp_path}{os.pathsep}{ROOT}")
    try:
        for block in blocks(ROOT / page, page):
            if named := named_by(block.text):  # a reader has these by now, and no others
                has |= named
                hide_others(has, tmp_path)
            if exempt.get(block.language):
                exempt[block.language] -= 1
            else:
                walker.follow(block, skip=(*NOT_RUN.get(page, ()), *installs(block.text)))
    finally:
        walker.close()
    assert not any(exempt.values()), f"{page} has fewer blocks than are exempt"


@pytest.mark.parametrize("page", NOT_RUN)
def test_what_is_not_run_is_shown(page):
    consoles = [one for one in blocks(ROOT / page, page) if one.language == "console"]
    shown = {command.line for one in consoles for command in commands(one)}
    assert set(NOT_RUN[page]) <= shown


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text("utf-8")
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in link:
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"


def test_the_example_of_steps_is_shown_to_the_last_line():
    """What is shrunk to two steps and one fault is shown whole, with no `...` to hide a third."""
    text = (ROOT / "docs/how-to/stateful.md").read_text("utf-8")
    shown = text[text.index("E       state = Shop()") : text.index("E       state.teardown()")]
    assert [line.partition("(")[0] for line in shown.splitlines()] == [
        "E       state = Shop",
        "E       placed_0 = state.place",
        "E       state.cancel",
    ]
    assert shown.count("Site(") == 1 and "..." not in shown


def block(language: str, text: str) -> Block:
    return Block("page.md", 1, language, text)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "assert 1 == 2\n"),
        ("console", "$ python -c 'print(1)'\n2\n"),
        ("console", "$ python -c 'print(1)'\n$ echo $?\n1\n"),
        ("console", "$ python -c 'raise SystemExit(3)'\n"),
        ("console", "$ rm -rf everything\n"),
        ("yaml", "a: b\n"),
    ],
)
def test_a_page_that_lies_is_caught(language, text, tmp_path):
    walker = Walk(tmp_path)
    try:
        with pytest.raises(AssertionError, match=r"page\.md, line 1"):
            walker.follow(block(language, text))
    finally:
        walker.close()


def test_a_page_is_one_program(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n# file: one.py\nx = 1\n```\n"
        "```python\nimport one\n\ny = one.x\n```\n"
        "```python\n# file: one.py\nx = 2\n```\n"
        "```python\nimport one\n\nassert (one.x, y) == (2, 1)\n```\n"
        "```console\n$ python -c 'import one; print(one.x)'\n2\n```\n"
    )
    assert len(list(walk(page, "page.md", Walk(tmp_path)))) == 5


def test_an_ellipsis_stands_for_anything():
    assert matches("a\n...\nd\n", "a\nb\nc\nd\n")
    assert matches("ran in ... s\n", "ran in 0.3 s  \n")
    assert not matches("a\n...\nd\n", "a\nb\nc\n")
    assert not matches("a\n", "a\nb\n")


@pytest.mark.parametrize("package", ["airflow", "conductor", "stepfunctions", "temporal"])
def test_each_rule_that_the_code_names_is_explained(package: str) -> None:
    page = (ROOT / "docs/explanation/orchestrators.md").read_text("utf-8")
    explained = set(re.findall(r"^- \*\*([ACST]\d+)\*\*", page, re.MULTILINE))
    sources = (ROOT / "chaosharness/orchestrators" / package).glob("*.py")
    named = {
        rule for path in sources for rule in re.findall(r"\b[ACST]\d{1,2}\b", path.read_text())
    }
    assert named
    assert named <= explained
