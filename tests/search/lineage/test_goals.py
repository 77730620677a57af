"""What claims look at: they are asked whether they would hold without it."""

from __future__ import annotations

from chaosharness import always, eventually, sometimes
from chaosharness.search.lineage.goals import goals, without
from models.protocols.broadcast import simple_broadcast
from models.protocols.commit import two_phase
from models.protocols.replication import replication


def of(system, *claims):
    return [
        ({key[1] for key in goal.keys}, {key[1] for key in goal.premises}, goal.claim)
        for goal in goals(claims or system.properties, system.run().evidence())
    ]


def test_a_claim_for_all_needs_each_of_them_because_of_the_others():
    claim = simple_broadcast().properties[0].name
    assert of(simple_broadcast()) == [
        ({"c"}, {"b"}, claim),
        ({"b"}, {"c"}, claim),
        ({"a"}, set(), claim),
    ]


def test_a_claim_about_who_has_voted_asks_nothing_of_those_who_have_not():
    needed = [one for one in of(two_phase()) if one[2] == "all that voted and live decide"]
    assert needed == [
        ({"d"}, {"d"}, needed[0][2]),
        ({"b"}, {"b"}, needed[0][2]),
        ({"a"}, {"a"}, needed[0][2]),
    ]


def test_what_several_hold_is_one_goal():
    assert [one for one in of(replication()) if one[2]] == [
        ({"a", "b", "c"}, {"client"}, "what was acknowledged is kept"),
        ({"a", "b", "c"}, {"client"}, "what was acknowledged is kept"),
    ]


def test_what_no_claim_needs_comes_last():
    found = of(two_phase())
    assert [claim for _, _, claim in found][3:] == [""] * 4
    assert found[3][0] == {"coordinator"}


def test_a_claim_that_raises_without_an_event_says_nothing():
    def first(history):
        return next(history.of("note")).data["word"] == "hello"

    system = simple_broadcast()
    assert [one[2] for one in of(system, eventually("someone has it", first))] == [""] * 3


def test_some_claims_have_no_goals():
    system = simple_broadcast()
    reached = sometimes("somebody has it", lambda history: any(history.of("note")))
    broken = always("nothing is said", lambda event: False, kinds="note")
    assert [one[2] for one in of(system, reached, broken)] == [""] * 3


def test_a_history_without_some_events_keeps_their_numbers():
    history = two_phase().run().history
    notes = [event.index for event in history.of("note")]
    left = without(history, notes[:2])
    assert [event.index for event in left.of("note")] == notes[2:]
    assert [event.cause for event in left] == [event.cause for event in history]
    assert len(list(history.of("note"))) == len(notes)
