"""A counterexample file that somebody changed: replayed, or refused in one clear line."""

import json
from random import Random

import pytest

from chaosharness import explore, replay, reporting
from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError, InvalidDefinition, InvalidSchedule
from chaosharness.search.regressions import load
from chaosharness.search.target import load_target
from tests.search.planted import one

WHOLE = (
    explore(one(), stop_at_first=True, target="tests.search.planted:one")
    .counterexamples[0]
    .to_json()
)
STRANGE = [
    *(None, True, False, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", "x", "\x00", "\ud800"),
    *([], [None], [[]], {}, {"": None}, {"a": {"b": [1]}}, "x" * 10_000, "Site()", "for item 1"),
]
CHANGES = 600


def changed(chance):
    """Return the text of a counterexample file with one to three things wrong."""
    value = json.loads(json.dumps(WHOLE))
    for _ in range(chance.randint(1, 3)):
        at = value
        while isinstance(at, dict | list) and at:
            key = chance.choice(sorted(at) if isinstance(at, dict) else range(len(at)))
            if chance.random() < 0.5 or not isinstance(at[key], dict | list):
                break
            at = at[key]
        if (
            not isinstance(at, dict | list)
            or not at
            or key not in (at if isinstance(at, dict) else range(len(at)))
        ):
            continue
        if chance.random() < 0.2:
            del at[key]
        else:
            at[key] = chance.choice(STRANGE)
    text = json.dumps(value)
    if chance.random() < 0.1:
        cut = chance.randrange(len(text))
        text = (
            text[:cut] + chance.choice(["", "[", '"', "}", "\x00", "9" * 5_000]) + text[cut + 1 :]
        )
    return text


def used(text):
    """Do with a file all that the command line does."""
    found = Counterexample.decode(text)
    outcome = replay(found, one())
    assert json.dumps(outcome.to_json())
    formats = (reporting.to_text, reporting.to_markdown, reporting.to_html, reporting.to_json)
    for form in (*formats, reporting.to_pytest):
        assert form(found)


def test_no_changed_file_ends_in_an_exception_that_is_not_ours():
    chance = Random(7)
    refused = 0
    for _ in range(CHANGES):
        text = changed(chance)
        try:
            used(text)
        except ChaosharnessError as error:
            refused += 1
            assert str(error)
    assert CHANGES / 4 < refused < CHANGES


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("property", 7, "'property' must be a text, not 7"),
        ("faults", "all", "'faults' must be a list, not 'all'"),
        ("workload", {"a": 1}, "'workload' must be a list, not {'a': 1}"),
        ("versions", "x", "'versions' must be an object, not 'x'"),
        ("versions", {"python": None}, "'versions' must hold texts"),
        ("kind", 1, "'kind' must be a text, not 1"),
        ("minimal", "yes", "'minimal' must be true or false, not 'yes'"),
        ("faults", [{"fault": ["crash"]}], r"unknown kind \['crash'\]"),
    ],
)
def test_a_field_of_another_type_is_named(name, value, words):
    with pytest.raises(InvalidSchedule, match=words):
        Counterexample.decode(json.dumps({**WHOLE, name: value}))


@pytest.mark.parametrize("depth", [150, 5_000, 200_000])
def test_deep_nesting_is_one_line(depth, tmp_path):
    file = tmp_path / "deep.json"
    head = json.dumps({**WHOLE, "workload": "HERE"})
    file.write_text(head.replace('"HERE"', "[" * depth + "]" * depth))
    with pytest.raises(InvalidSchedule, match=r"deep\.json: .*nested") as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_a_file_of_an_earlier_version_has_no_kind_and_is_read():
    found = Counterexample.decode(json.dumps(WHOLE))
    assert (found.kind, found.place) == ("", "")
    assert "kind" not in WHOLE and "place" not in WHOLE
    assert replay(found, one()).verdict == "failing"


@pytest.mark.parametrize("target", ["os:abort", "builtins:breakpoint", "sys:exit"])
def test_what_a_file_names_is_not_called_where_it_makes_no_system(target):
    with pytest.raises(InvalidDefinition, match="makes no System"):
        load_target(target)
