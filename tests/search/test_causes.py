"""Several causes in one campaign: each told once, counted, ranked, and told apart in files."""

import json

import attrs
import pytest

from chaosharness import Crash, Evidence, Finding, Property, check, explore, replay
from chaosharness.checkers.breach import breaches
from chaosharness.checkers.property import violation_class
from chaosharness.counterexample import Counterexample
from chaosharness.errors import PropertyViolated
from chaosharness.faults import ErrorReply
from chaosharness.reporting import summary, write
from chaosharness.search.claims import PATIENCE, Claim
from tests.search.boxes import boxes, puts

KINDS = (ErrorReply, Crash)
NAMES = ("a", "b", "c")


def twice(*names, assumption="", question=(), name="once each", kind="effect twice"):
    """Claim that nothing is put into a box twice; a finding for each box that has."""

    def judge(evidence):
        return [
            Finding(f"{box} has two", kind=kind, place=f"{box}.put", question=box in question)
            for box in names
            if len(puts(evidence.history, box)) > 1
        ]

    return Property(name, judge, assumption=assumption)


def places(campaign):
    return [one.place for one in campaign.counterexamples]


def test_two_causes_of_one_property_are_both_shown_each_shrunk_by_itself():
    # c put twice: a and b before it too. Only what comes by itself has a counterexample.
    campaign = explore(boxes(*NAMES), properties=[twice("a", "b")], kinds=KINDS, faults_max=1)
    assert sorted(places(campaign)) == ["a.put", "b.put"] or places(campaign) == ["a.put"]
    for found in campaign.counterexamples:
        assert {one.place for one in found.findings} == {found.place}
        assert len(found.schedule) == 1 and found.minimal


def test_what_comes_only_with_something_heavier_is_told_with_it():
    claims = [
        twice("a", assumption="yes", name="light", kind="message lost"),
        twice("a", assumption="yes", name="heavy"),
    ]
    campaign = explore(boxes("a", "b"), properties=claims, kinds=KINDS, faults_max=1)
    assert [one.property for one in campaign.counterexamples] == ["heavy"]
    assert campaign.groups[0].together == ("light: a has two",)
    assert [one.result for one in campaign.standings] == ["violated", "violated"]
    assert "with it: light: a has two" in summary(campaign)


def test_what_the_user_claims_is_answered_by_itself():
    claims = [twice("a", name="light", kind="message lost"), twice("a", name="heavy")]
    campaign = explore(boxes("a", "b"), properties=claims, kinds=KINDS, faults_max=1)
    assert [one.property for one in campaign.counterexamples] == ["heavy", "light"]


def test_the_operations_that_decide_are_counted():
    campaign = explore(
        boxes(*NAMES, "d"),
        properties=[twice("a", kind="half done")],
        kinds=KINDS,
        faults_max=1,
    )
    (group,) = campaign.groups
    found = campaign.counterexamples[0]
    assert group.runs > 1
    mine = {fault.site.operation for fault in found.schedule}
    assert set(group.operations) | mine == {f"worker.work/{box}.put" for box in (*NAMES, "d")}
    assert f"also at {len(group.operations)} other operations: " in summary(campaign)
    assert json.loads(json.dumps(campaign.to_json()))["groups"][0]["runs"] == group.runs


def test_what_needs_no_fault_is_told_first():
    always = Property("calm", lambda evidence: [Finding("so it is", kind="stuck", place="x")])
    claims = [twice("a"), always]
    campaign = explore(boxes("a", "b"), properties=claims, kinds=KINDS, faults_max=1)
    assert [one.property for one in campaign.counterexamples] == ["calm", "once each"]
    assert campaign.groups[0].calm
    assert "already without faults" in summary(campaign)


def test_a_question_is_told_last_and_breaks_nothing():
    claims = [twice("a", question=("a",))]
    campaign = explore(boxes("a", "b"), properties=claims, kinds=KINDS, faults_max=1)
    assert campaign.result == "holds"
    assert not campaign.counterexamples
    (question,) = campaign.questions
    assert (question.place, question.summary) == ("a.put", "a has two")
    assert summary(campaign).rstrip().splitlines()[-1].strip().startswith("first: Schedule(")
    assert campaign.to_json()["questions"][0]["summary"] == "a has two"
    with pytest.warns(UserWarning, match="is this right"):
        check(boxes("a", "b"), properties=claims, faults_max=1)


def test_a_run_raises_for_the_heaviest_whatever_the_order_of_the_claims():
    run = boxes("a").run()
    light = Property("light", lambda _: [Finding("l", kind="stuck")], assumption="yes")
    heavy = Property("heavy", lambda _: [Finding("h", kind="effect twice")], assumption="yes")
    claimed = Property("claimed", lambda _: [Finding("c", kind="stuck")])
    for claims, name in [((light, heavy), "heavy"), ((light, heavy, claimed), "claimed")]:
        with pytest.raises(PropertyViolated) as caught:
            run.check(*claims)
        assert caught.value.property.name == name


def test_each_cause_has_an_exception_class_of_its_own_below_that_of_the_property():
    one, other = (violation_class("money", "effect twice", place) for place in ("a", "b"))
    assert one is not other
    assert issubclass(one, violation_class("money"))
    assert one is violation_class("money", "effect twice", "a")
    assert violation_class("money") is violation_class("money", "", "")


def test_breaches_split_a_property_by_kind_and_place():
    found = [Finding("1", kind="k", place="p"), Finding("2", kind="k", place="q"), Finding("3")]
    claim = Property("one", lambda _: found)
    assert [one.group for one in breaches([claim], Evidence(boxes("a").run().history))] == [
        ("one", "", ""),
        ("one", "k", "p"),
        ("one", "k", "q"),
    ]


def test_a_property_that_knows_several_sorts_is_judged_on_for_a_while():
    claim = Claim(Property("one", lambda _: []))
    claim.take(True, [Finding("1", kind="k")])
    assert claim.broken and not claim.settled
    for _ in range(PATIENCE):
        claim.take(True, [Finding("1", kind="k")])
    assert claim.settled and claim.broken_in == 1
    plain = Claim(Property("one", lambda _: []))
    plain.take(True, [Finding("1")])
    assert plain.settled


# ---- files


def example(kind="", place=""):
    found = explore(boxes("a", "b"), properties=[twice("a")], kinds=KINDS, faults_max=1)
    shown = attrs.evolve(found.counterexamples[0].findings[0], kind=kind, place=place)
    return attrs.evolve(found.counterexamples[0], findings=(shown,))


def test_two_causes_never_have_one_file():
    places = ("", "t.n", "t.n+", "t.n-", "t-n", "t n", "T.n", "t.n+-", "ü.n", "t_n")
    slugs = [example("row differs", place).slug() for place in places]
    assert len(set(slugs)) == len(slugs)
    assert example().slug() == "boxes-once-each"
    assert example("row differs", "db.orders.amount+").slug() == (
        "boxes-once-each-row-differs-db-orders-amount-more"
    )


def test_a_file_names_the_cause_and_a_replay_judges_that(tmp_path):
    system = boxes("a", "b")
    claim = twice("a")
    campaign = explore(system, properties=[claim], kinds=KINDS, faults_max=1)
    write(campaign.counterexamples[0], tmp_path, formats=["json"])
    (file,) = (one for one in tmp_path.iterdir() if "history" not in one.name)
    found = Counterexample.decode(file.read_text())
    assert (found.kind, found.place) == ("effect twice", "a.put")
    assert replay(found, system, property=claim, properties=[claim]).verdict == "failing"
    other = attrs.evolve(found, findings=(attrs.evolve(found.findings[0], place="z.put"),))
    outcome = replay(other, system, property=claim, properties=[claim])
    assert outcome.verdict == "different property"
    assert "does not break at z.put any more, but not once each: a has two" in outcome.reason


def test_a_counterexample_keeps_to_the_kinds_that_were_asked_for():
    for kind in KINDS:
        campaign = explore(boxes("a", "b"), properties=[twice("a")], kinds=[kind], faults_max=2)
        for found in campaign.counterexamples:
            assert {type(fault) for fault in found.schedule} == {kind}
