"""A counterexample file that somebody changed: replayed, or refused in one clear line."""

import json

import pytest

from benchmarks.mutated_files import outcomes, use_counterexample, use_schedule
from chaosharness import explore, replay
from chaosharness.counterexample import Counterexample
from chaosharness.errors import InvalidDefinition, InvalidSchedule
from chaosharness.search.regressions import load
from chaosharness.search.target import load_target
from tests.search.planted import one

WHOLE = (
    explore(one(), stop_at_first=True, target="tests.search.planted:one")
    .counterexamples[0]
    .to_json()
)
CHANGES = 500
SCHEDULE = {"chaosharness": 1, "system": "shop", "faults": WHOLE["faults"]}


@pytest.mark.parametrize(
    ("whole", "use"), [(WHOLE, use_counterexample), (SCHEDULE, use_schedule)], ids=["whole", "bare"]
)
def test_no_changed_file_ends_in_an_exception_that_is_not_ours(whole, use):
    system = one()
    found = list(outcomes(whole, lambda text: use(system, text), CHANGES))
    strange = [(what, text[:200]) for what, text in found if what not in ("used", "refused")]
    assert strange == []
    refused = [what for what, _ in found].count("refused")
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
