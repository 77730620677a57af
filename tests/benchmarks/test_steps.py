"""The steps of a delivery: each function that stands for one is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks.steps import STEPS

ROOT = Path(__file__).parents[2] / "chaosharness"


def missing(name: str) -> bool:
    """Say whether there is no such function: `folder/file.py Class.function`, or `Class.*`."""
    file, _, function = name.partition(" ")
    owner, _, one = function.partition(".")
    tree = ast.parse((ROOT / file).read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if owner not in classes:
        return True
    functions = [node.name for node in classes[owner].body if isinstance(node, ast.FunctionDef)]
    return one not in ("*", *functions)


@pytest.mark.parametrize("name", [name for names in STEPS.values() for name in names])
def test_a_step_stands_for_functions_that_are_there(name: str) -> None:
    assert not missing(name)


def test_one_that_is_gone_is_caught() -> None:
    assert missing("brokers/lines.py Lines.gone")
    assert missing("brokers/lines.py Gone.*")


def test_no_function_stands_for_two_steps() -> None:
    names = [name for names in STEPS.values() for name in names]
    assert len(names) == len({*names})
