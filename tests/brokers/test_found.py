"""What comparisons found, as the page has it: every test that it names is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_the_page_names_is_there():
    page = (ROOT / "docs/explanation/legality.md").read_text("utf-8")
    named = NAMED.findall(page)
    assert len(named) > 25
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, name
