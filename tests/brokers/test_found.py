"""What the page says was found, and which mistakes are named: all of it is so."""

import ast
import re
from pathlib import Path

import pytest

from chaosharness import explore
from chaosharness.search.target import load_target

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/legality.md").read_text("utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_the_page_names_is_there():
    named = NAMED.findall(PAGE)
    assert len(named) > 25
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, name


ROW = re.compile(r"\| `([\w.]+:\w+)` \| `([\w.]+:\w+)` \| (\d) \|")
MISTAKES = ROW.findall(PAGE.partition("## Mistakes that exact brokers show")[2])


def test_the_page_has_every_mistake():
    assert len(MISTAKES) == 24


@pytest.mark.parametrize(("twin", "right", "faults"), MISTAKES)
def test_a_mistake_is_named_with_nothing_claimed_at_so_many_faults(twin, right, faults):
    system = load_target(f"models.{twin}")
    system.properties.clear()
    found = explore(system, faults_max=int(faults) or 1, runs_max=10_000, stop_at_first=True)
    assert [len(one.schedule) for one in found.counterexamples] == [int(faults)]
    run = load_target(f"models.{right}").run()
    run.check()
    assert run.ending.verdict == "quiet"
