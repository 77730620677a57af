"""What becomes of messages is written into histories in one place, for all brokers."""

import ast
from pathlib import Path

import pytest

BROKERS = Path(__file__).parents[2] / "chaosharness" / "brokers"
WORDS = {"publish", "deliver", "ack", "nack", "dead"}
PLACE = BROKERS / "events.py"


def written(source):
    """Yield the kinds of events that calls of `record` and `raw.append` write, and their lines."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr == "record" and node.args:
            kind = node.args[0]
        elif node.func.attr == "append" and node.args and isinstance(node.args[0], ast.Tuple):
            kind = next((one for one in node.args[0].elts[1:2]), None)
        else:
            continue
        if isinstance(kind, ast.Constant) and kind.value in WORDS:
            yield kind.value, node.lineno


@pytest.mark.parametrize(
    "path",
    [one for one in sorted(BROKERS.rglob("*.py")) if one != PLACE],
    ids=lambda one: str(one.relative_to(BROKERS)),
)
def test_a_product_says_what_becomes_of_messages_in_the_words_of_all(path):
    assert list(written(path.read_text())) == []


def test_who_writes_by_hand_is_found():
    assert {kind for kind, _ in written(PLACE.read_text())} == WORDS
    assert list(written('scope.record("ack", site, 1, {})')) == [("ack", 1)]
    assert list(written('raw.append((now, "deliver", label))')) == [("deliver", 1)]
    assert list(written('scope.record("note", site, 1, {})')) == []
