"""What is measured, drawn or dealt out may differ; money beside it may not."""

import pytest

from chaosharness import Crash, Duplicate, ErrorReply, Pause, Rebalance, Schedule, Site
from chaosharness.checkers import idempotent
from chaosharness.checkers.outcomes.beside import shapes_of, without
from chaosharness.checkers.outcomes.judge import judge_of
from chaosharness.checkers.outcomes.outcome import Options
from tests.checkers.outcomes.field import numbers
from tests.checkers.outcomes.sweep import sweep

NAMED = {
    "measured": (numbers.tips, ("row differs", "db.wallet.doc")),
    "a text": (numbers.statements, ("row differs", "db.statement.line")),
    "drawn": (numbers.casino, ("row differs", "db.player.chips")),
    "a place in a log": (numbers.votes, ("row differs", "db.tally.total+")),
    "a last error": (numbers.uploads, ("row differs", "db.job.state")),
    "under one key": (numbers.likes, ("lost update", "cache")),
}


@pytest.mark.parametrize("build", [one[0] for one in NAMED.values()], ids=NAMED)
def test_the_right_one_is_left_alone(build):
    assert [one.summary for one in sweep(build(True))] == []


@pytest.mark.parametrize(("build", "group"), NAMED.values(), ids=NAMED)
def test_its_twin_is_named(build, group):
    assert group in {one.group for one in sweep(build(False))}


def first(system, *faults):
    """Return what is told first of one run."""
    found = idempotent().findings(system.run(None, Schedule(faults)).evidence())
    return found[0].summary if found else ""


def test_how_long_something_took_may_differ():
    slow = Pause(Site("tips.on_tip/db.begin", entity=2), lasting="long")
    assert first(numbers.tips(True), slow) == ""


def test_a_sum_of_what_was_drawn_is_told_as_one():
    again = Rebalance(Site("casino.on_spin/bus.commit", entity=1))
    words = first(numbers.casino(False), again)
    assert words.startswith("db.player has chips grown by ")
    assert words.endswith("; without faults, both by the same")


def test_a_place_in_a_log_may_differ_where_it_is_called_so():
    twice = Duplicate(Site("client.vote/bus.publish votes", entity=1))
    assert first(numbers.votes(False, column="next_up"), twice) == ""
    assert "total=4" in first(numbers.votes(False), twice)


def test_a_value_that_two_set_from_their_own_reading_is_told_of_the_calm_run():
    words = "two read cache, waited, and both wrote p: the second over the first"
    assert first(numbers.likes(False)) == f"already without faults: {words}"
    assert first(numbers.likes(True)) == ""
    crash = Crash(Site("likes.on_like/cache.put", entity=1))
    assert first(numbers.likes(True), crash) == ""


def test_an_error_that_is_said_without_faults_is_business():
    system = numbers.uploads(True)
    run = system.run(None, Schedule([ErrorReply(Site("uploads.step/party.send", entity=0))]))
    assert idempotent().findings(run.evidence()) == []
    reader = judge_of(run.evidence(), Options()).clean.reader
    assert reader.mask(("row", "db", "job"), {"last_error": "x", "id": "j-1"}) == (("id", "j-1"),)
    reader.errors.add((("row", "db", "job"), ("last_error",)))
    assert ("last_error", "x") in reader.mask(("row", "db", "job"), {"last_error": "x"})


# ---- numbers beside what may differ


@pytest.mark.parametrize(
    ("one", "other", "kept"),
    [
        ("01.02.2030 00:07 got 350", "31.01.2030 23:58 got 350", "*.* *:* got 350"),
        ("at 12:00:01, 5 of 7", "at 12:00:02, 5 of 7", "at *:*:*, 5 of 7"),
        ("attempt 1 at 00:01 for 350", "attempt 1 at 00:02 for 350", "attempt * at *:* for 350"),
        ("won 17, holds 3 cards", "won 4.5, holds 3 cards", "won *, holds 3 cards"),
    ],
)
def test_numbers_that_stay_are_kept(one, other, kept):
    shapes = shapes_of([one], [other], None)
    assert shapes is not None
    assert without(one, shapes) == without(other, shapes) == kept


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a7f3 for 350", "b9 for 350"),  # what is drawn is more than its numbers
        ("00:00:01", "00:00:02"),  # nothing stays
        ("17", "18"),
        ("attempt 1 at 00:00:01", "attempt 1 at 00:00:02"),
    ],
)
def test_a_text_of_which_no_number_stays_is_left_out(one, other):
    assert shapes_of([one], [other], None) is None


def test_a_text_of_another_shape_is_not_compared_number_by_number():
    shapes = shapes_of(["at 1, 350 cents"], ["at 2, 350 cents"], None)
    assert without("refused at 1, 350 cents", shapes) == "*"
