"""The reference is what the docstrings say, today."""

import ast
import runpy
from pathlib import Path

import pytest

import chaosharness

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_up_to_date():
    wanted = runpy.run_path(str(DOCS / "reference.py"))["pages"]()
    written = {path.name: path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md")}
    stale = [
        name for name in wanted.keys() | written.keys() if wanted.get(name) != written.get(name)
    ]
    assert not stale, f"{stale} are stale: run `python docs/reference.py` and commit the difference"


@pytest.mark.parametrize("name", chaosharness.__all__)
def test_examples_in_docstrings_are_python(name):
    lines = (getattr(chaosharness, name).__doc__ or "").splitlines()
    code = [line.strip()[4:] for line in lines if line.strip().startswith((">>> ", "... "))]
    ast.parse("\n".join(code))
