"""Shapes of the flow: each kind of cause is told, and not without the decisive thing."""

import pytest

from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.order import side_by_side
from chaosharness.reporting.story.causes.shapes import (
    row_of_handlers,
    waits_for_ever,
    waits_for_what_is_aside,
)
from tests.reporting.story.tales import Tale, asked, case, of_the_end, shown

# ---- no order between two


def fan(*, clears_first=False, clears=True, same=True, ships=True):
    """One message goes to two; one of them clears, the other ships."""
    tale = Tale()
    paid = tale.publish("paid")
    other = paid if same else tale.publish("paid")
    deed = -1
    for step in ("clear", "ship") if clears_first else ("ship", "clear"):
        if step == "ship" and ships:
            at = tale.deliver(paid, "post#1", group="post")
            deed, _ = asked(tale, "courier.ship", at, who="post#1")
        elif step == "clear" and clears:
            at = tale.deliver(other, "customs#1", group="customs")
            asked(tale, "office.clear", at, who="customs#1")
    return tale.end(), deed


def test_two_that_one_message_goes_to_in_no_order_are_told():
    history, deed = fan()
    found = side_by_side(case(history, shown("not cleared", [deed]), fan(clears_first=True)[0]))
    assert "here courier.ship came before office.clear, which is the first as a rule" in found.words


@pytest.mark.parametrize(
    ("near", "usual"),
    [
        ({"clears_first": True}, {"clears_first": True}),
        ({"clears": False}, {"clears_first": True}),  # it never came at all
        ({"same": False}, {"clears_first": True}),  # each has a message of its own
        ({}, {}),  # the usual order is no other
        ({}, {"clears_first": True, "ships": False}),  # nobody knows a usual order
    ],
)
def test_two_in_their_usual_order_or_of_which_one_never_came_are_not_told(near, usual):
    history, deed = fan(**near)
    assert side_by_side(case(history, shown("not cleared", [deed]), fan(**usual)[0])) is None


# ---- shapes


def waiting(*, then="", other=False):
    """A join is handed one half, and does nothing more; or goes on."""
    tale = Tale()
    half = tale.publish("paid")
    given = tale.deliver(half, "join#1", group="join")
    if then == "publishes":
        tale.publish("confirmed", cause=given)
    tale.handled(given)
    if other:
        tale.handled(tale.deliver(tale.publish("reserved"), "join#1", group="join"))
    return tale.end("cut off" if then == "cut off" else ""), half


def unjoined(half, summary="o1 has only 'paid' once, and no 'given-up' came of it", **halves):
    return Finding(summary, (half,), 1, {"key": "o1", "halves": halves or {"paid": 1}})


def test_a_join_that_has_nothing_due_is_told():
    history, half = waiting()
    found = waits_for_ever(case(history, unjoined(half)))
    assert "join.on was given paid for o1, and nobody sent the other half." in found.words


@pytest.mark.parametrize("then", ["publishes", "cut off"])
def test_a_join_that_went_on_or_was_cut_off_does_not_wait_for_ever(then):
    history, half = waiting(then=then)
    assert waits_for_ever(case(history, unjoined(half))) is None


def test_a_join_that_has_all_its_halves_waits_for_none():
    history, half = waiting(other=True)
    all_there = unjoined(half, "o1 has all its halves, and no 'x' came of it", paid=1, reserved=1)
    assert waits_for_ever(case(history, all_there)) is None
    assert waits_for_ever(case(history, unjoined(half, paid=2))) is None


def test_a_half_that_is_sent_as_a_rule_is_not_only_waited_for():
    history, half = waiting()
    assert waits_for_ever(case(history, unjoined(half), waiting(other=True)[0])) is None


def row(**more):
    tale = Tale()
    first = tale.publish("placed", who="shop#1")
    second = tale.publish("paid", cause=tale.deliver(first))
    return tale.end(), Finding("a row", (first, second)[: more.get("long", 2)], **more.get("f", {}))


def test_a_row_of_handlers_is_told_of_a_chain_alone():
    history, finding = row(f={"kind": "chain"})
    assert "hands on to one other" in row_of_handlers(case(history, finding)).words
    for near in ({"f": {"kind": "delay"}}, {"f": {"kind": "chain"}, "long": 1}):
        assert row_of_handlers(case(*row(**near))) is None


def aside(*, waits=True, before=True, strikes="mail"):
    """An order waits for a mail, which is late; or asks for it and goes on."""
    tale = Tale()
    at = tale.deliver(tale.publish())
    if not before:
        tale.add("fault", strikes, "mail.on/post.send", at, fault="delay")
    call = tale.call("mail.placed", at)
    if before:
        tale.add("fault", strikes, "mail.on/post.send", call, fault="delay")
    last = tale.reply(call)
    deed = tale.publish("done", cause=last if waits else at)
    return tale.end(), Finding("late", (deed,), 1, kind="delay")


def test_who_waits_for_what_is_aside_is_told():
    found = waits_for_what_is_aside(case(*aside()))
    assert "pay.on waits for mail.placed before it goes on" in found.words


@pytest.mark.parametrize("near", [{"waits": False}, {"before": False}, {"strikes": "pay#1"}])
def test_who_goes_on_or_is_late_itself_does_not_wait_for_what_is_aside(near):
    assert waits_for_what_is_aside(case(*aside(**near))) is None


def test_nothing_is_told_of_another_kind_of_finding():
    history, finding = aside()
    assert waits_for_what_is_aside(case(history, shown("late", finding.events))) is None
    assert waits_for_ever(case(history, of_the_end(history))) is None
