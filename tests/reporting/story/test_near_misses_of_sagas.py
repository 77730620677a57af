"""Sagas: each kind of cause is told, and none of it where the decisive thing is missing."""

import pytest

from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.sagas import (
    answered_too_late,
    came_after_the_end,
    failure_hidden,
    took_it_for_undone,
    undid_nothing,
    undone_too_soon,
)
from tests.reporting.story.tales import Tale, asked, case, shown

# ---- an undoing of nothing


def refused(*, outcome="failed", earlier=False, party="bank", undoes=True):
    """Money is refused, and given back all the same."""
    tale = Tale()
    at = tale.deliver(tale.publish())
    if earlier:
        _, at = asked(tale, "bank.charge", at)
    _, last = asked(tale, "bank.charge", at, outcome, happens=False)
    deed, _ = asked(tale, f"{party}.refund", last) if undoes else (-1, -1)
    return tale.end(), deed


def test_an_undoing_of_what_was_refused_is_told():
    history, deed = refused()
    found = undid_nothing(case(history, shown("refunded for nothing", [deed])))
    assert "was refused bank.charge, so nothing had happened; pay.on asked for bank.refund" in (
        found.words
    )


@pytest.mark.parametrize(
    "near", [{"outcome": "unknown"}, {"earlier": True}, {"party": "mail"}, {"undoes": False}]
)
def test_an_undoing_of_something_or_elsewhere_is_none_of_nothing(near):
    history, deed = refused(**near)
    assert undid_nothing(case(history, shown("refunded", [deed]))) is None


def test_what_is_done_in_the_run_that_passes_too_is_no_undoing_of_nothing():
    history, deed = refused()
    assert undid_nothing(case(history, shown("too often", [deed]), refused()[0])) is None


# ---- an undoing that was too soon


def soon(*, effect_first=False, again=False, undone_before=False, what="refund", outcome="ok"):
    """A refund finds nothing, and the charge comes through after it."""
    tale = Tale()
    at = tale.deliver(tale.publish())
    if undone_before:
        _, at = asked(tale, "bank.refund", at)
    charge = tale.call("bank.charge", at)
    deed = tale.effect(charge) if effect_first else -1
    _, last = asked(tale, f"bank.{what}", at, outcome, happens=False)
    if not effect_first:
        deed = tale.effect(charge)
    if again:
        asked(tale, "bank.refund", last)
    return tale.end(), deed


def in_order():
    tale = Tale()
    _, last = asked(tale, "bank.charge", tale.deliver(tale.publish()))
    asked(tale, "bank.refund", last)
    return tale.end()


def test_an_undoing_before_the_deed_is_told():
    history, deed = soon()
    found = undone_too_soon(case(history, shown("charged", [deed]), in_order()))
    assert "asked for bank.refund when there was nothing to undo yet; bank.charge came" in (
        found.words
    )


@pytest.mark.parametrize(
    "near",
    [
        {"effect_first": True},
        {"again": True},
        {"undone_before": True},
        {"what": "find"},  # a question, and no undoing
        {"outcome": "failed"},
    ],
)
def test_an_undoing_after_the_deed_or_a_question_is_not_too_soon(near):
    history, deed = soon(**near)
    assert undone_too_soon(case(history, shown("charged", [deed]), in_order())) is None


# ---- a deed after the end


def ended(*, before=True, over="saga compensated", because=False, saga="s1"):
    """A charge that was asked for comes through when the saga is over, or is made by its end."""
    tale = Tale()
    at = tale.deliver(tale.publish())
    call = tale.call("bank.charge", at) if before else -1
    note = tale.add("note", "engine", "", at, what=over, **({"saga": saga} if saga else {}))
    if not before:
        call = tale.call("bank.charge", note if because else tale.deliver(tale.publish()))
    return tale, call, note


def test_a_deed_after_the_end_of_its_saga_is_told():
    tale, call, _ = ended()
    deed = tale.effect(call)
    found = came_after_the_end(case(tale.end(), shown("charged", [deed])))
    assert "s1 was over (saga compensated) at 3 ms, while bank.charge was still to come" in (
        found.words
    )
    assert found.words.endswith("that happened 1 ms later.")


@pytest.mark.parametrize(
    "near",
    [
        {"over": "step done"},
        {"saga": ""},
        {"before": False, "because": True},  # the end asked for it
        {"before": False},  # it was asked for after the end
    ],
)
def test_what_the_end_leads_to_or_comes_before_it_is_not_late(near):
    tale, call, _ = ended(**near)
    deed = tale.effect(call)
    assert came_after_the_end(case(tale.end(), shown("charged", [deed]))) is None


def test_what_comes_after_the_end_as_a_rule_is_not_late():
    (tale, call, _), (right, usual, _) = ended(), ended()
    deed = tale.effect(call)
    right.effect(usual)
    assert came_after_the_end(case(tale.end(), shown("charged", [deed]), right.end())) is None


# ---- answers that come too late


def slow(*, late=True, again=True, of_it=True, comes_after=False):
    """A task charges and reports; its report comes too late, and the task is begun anew."""
    tale = Tale()
    at = tale.add("arrive", "client", "", item={"id": "o1"})
    deed = -1
    for attempt in (1, 2) if again else (1,):
        begun = tale.add("sleep", "pay#1", "pay.on/sleep", at, attempt=attempt, at=attempt * 5000)
        call = tale.call("bank.charge", begun, who="pay#1", attempt=attempt)
        effect = call if comes_after else tale.effect(call)
        deed = effect if of_it else deed
        tale.add(
            "reply",
            "pay#1",
            "pay.on/report",
            effect,
            attempt=attempt,
            at=attempt * 5000 + 3000,
            outcome="ok",
            **({"late": True} if late else {}),
        )
    if comes_after:
        deed = tale.effect(call)
    return tale.end(), deed


def test_answers_that_nobody_waited_for_any_more_are_told():
    history, deed = slow()
    found = answered_too_late(case(history, shown("charged twice", [deed])))
    assert "pay.on takes 3 s for its work, and its answer came too late (2 times)" in found.words


@pytest.mark.parametrize(
    "near",
    [
        {"late": False},
        {"again": False},
        {"of_it": False},
        {"again": False, "comes_after": True},  # the deed itself is late, and not asked for anew
    ],
)
def test_answers_in_time_or_work_that_is_not_begun_anew_are_not_late(near):
    history, deed = slow(**near)
    events = [deed] if deed >= 0 else [len(history) - 1]
    assert answered_too_late(case(history, shown("charged", events))) is None


# ---- what happened unseen


def unseen(*, outcome="unknown", happens=True, asks=False, refunds=True):
    """A parcel goes out unseen, and the money is given back."""
    tale = Tale()
    at = tale.deliver(tale.publish())
    _, last = asked(tale, "courier.ship", at, outcome, happens=happens)
    if asks:
        _, last = asked(tale, "courier.find", last, happens=False)
    deed, _ = asked(tale, "bank.refund", last) if refunds else (-1, last)
    return tale.end(), deed


def test_what_was_done_as_if_nothing_had_happened_is_told():
    history, deed = unseen()
    found = took_it_for_undone(case(history, shown("refunded", [deed])))
    assert "never got an answer to courier.ship, so nobody knew" in found.words


@pytest.mark.parametrize(
    "near", [{"outcome": "ok"}, {"happens": False}, {"asks": True}, {"refunds": False}]
)
def test_what_was_answered_or_asked_after_was_not_taken_for_undone(near):
    history, deed = unseen(**near)
    assert took_it_for_undone(case(history, shown("refunded", [deed]))) is None


def test_what_is_done_in_the_run_that_passes_too_came_of_no_silence():
    history, deed = unseen()
    there = unseen(outcome="ok")[0]
    assert took_it_for_undone(case(history, shown("refunded", [deed]), there)) is None


# ---- a failure that nobody is told


def hidden(*, fails=True, over="saga completed", comes_right=False, goes_on=False):
    """The parcel cannot go, and the saga ends."""
    tale = Tale()
    at = tale.deliver(tale.publish(), "ship#1", group="ship")
    last = tale.raised(at) if fails else tale.handled(at)
    if comes_right:
        last = tale.handled(at, attempt=2)
    last = tale.add("note", "engine", "", last, what=over, saga="s1")
    if goes_on:
        tale.call("bank.refund", last)
    return tale.end()


FORGOTTEN = Finding("nothing came of it", (), 1, kind="forgotten")


def test_a_failure_that_the_end_says_nothing_of_is_told():
    found = failure_hidden(case(hidden(), FORGOTTEN, hidden(fails=False)))
    assert "ship.on raised (once) and was never done, and yet s1 ended with 'saga completed'" in (
        found.words
    )


@pytest.mark.parametrize(
    "near",
    [
        {"fails": False},
        {"over": "saga failed"},
        {"comes_right": True},
        {"goes_on": True},
    ],
)
def test_a_failure_that_is_told_or_came_right_is_not_hidden(near):
    assert failure_hidden(case(hidden(**near), FORGOTTEN, hidden(fails=False))) is None


def test_what_stands_by_half_is_not_told_as_what_was_hidden():
    half = Finding("a refund stands", (), 1, kind="half done")
    assert failure_hidden(case(hidden(), half, hidden(fails=False))) is None


def test_an_end_in_failure_hides_none_even_if_it_is_the_usual_one():
    bad, usual = hidden(over="saga failed"), hidden(fails=False, over="saga failed")
    assert failure_hidden(case(bad, FORGOTTEN, usual)) is None
