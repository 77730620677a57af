"""Shapes of the flow: each kind of cause is told, and not without the decisive thing."""

import pytest

from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.order import side_by_side
from chaosharness.reporting.story.causes.shapes import (
    circle,
    row_of_handlers,
    undone_in_order,
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


def test_a_half_that_is_never_sent_or_only_for_another_key_is_only_waited_for():
    history, half = waiting()
    alike = waiting()[0]
    tale = Tale()
    tale.handled(tale.deliver(tale.publish("paid"), "join#1", group="join"))
    tale.handled(tale.deliver(tale.publish("reserved", "o7"), "join#1", group="join"))
    for usual in (alike, tale.end()):
        assert waits_for_ever(case(history, unjoined(half), usual)).kind == "waits"


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


def test_two_events_of_which_one_is_no_message_are_no_row():
    tale = Tale()
    first = tale.publish("placed", who="shop#1")
    history = [first, tale.deliver(first)]
    assert row_of_handlers(case(tale.end(), Finding("a row", tuple(history), kind="chain"))) is None


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


def test_what_is_late_after_the_answer_was_waited_for_by_nobody():
    tale = Tale()
    at = tale.deliver(tale.publish())
    call = tale.call("mail.placed", at)
    last = tale.reply(call)
    tale.add("fault", "mail", "mail.on/post.send", last, fault="delay")
    deed = tale.publish("done", cause=last)
    assert waits_for_what_is_aside(case(tale.end(), Finding("x", (deed,), 1, kind="delay"))) is None


def test_who_waits_for_another_answer_does_not_wait_for_what_is_late():
    tale = Tale()
    at = tale.deliver(tale.publish())
    late = tale.call("mail.placed", at)
    tale.add("fault", "mail", "mail.on/post.send", late, fault="delay")
    _, last = asked(tale, "bank.charge", at)
    deed = tale.publish("done", cause=last)
    assert waits_for_what_is_aside(case(tale.end(), Finding("x", (deed,), 1, kind="delay"))) is None


@pytest.mark.parametrize(
    ("topic", "key", "handled"),
    [("mails", "o1", True), ("paid", "o7", True), ("paid", "o1", False)],
)
def test_who_was_given_something_else_or_did_not_handle_it_waits_for_no_half(topic, key, handled):
    tale = Tale()
    half = tale.publish(topic, key)
    given = tale.deliver(half, "join#1", group="join")
    if handled:
        tale.handled(given)
    assert waits_for_ever(case(tale.end(), unjoined(half))) is None


def test_nothing_is_told_of_another_kind_of_finding():
    history, finding = aside()
    assert waits_for_what_is_aside(case(history, shown("late", finding.events))) is None
    assert waits_for_ever(case(history, of_the_end(history))) is None


# ---- circles


def going_round(*, reason="an event cycle: a → b → a, 100 messages in a row", times=2, other=""):
    """`a` brings forth `b`, which brings forth `a`; each time something is charged."""
    tale = Tale()
    at, deeds = -1, []
    for _ in range(times):
        at = tale.deliver(tale.publish("a", cause=at))
        deeds.append(asked(tale, "bank.charge", at)[0])
        at = tale.deliver(tale.publish(other or "b", cause=at))
    return tale.end(reason), deeds


def test_a_circle_is_told_of_the_run_that_was_cut_off_and_of_what_came_of_the_second_round():
    history, deeds = going_round()
    ends = [event.index for event in history.of("end")]
    for events in (ends, deeds[1:]):
        found = circle(case(history, shown("too often", events)))
        assert found.kind == "cycle"
        assert "brings forth the next one: a → b → a. No handler" in found.words


def test_a_circle_of_messages_that_lead_to_nothing_is_told_too():
    tale = Tale()
    at = tale.deliver(tale.publish("a"))
    tale.deliver(tale.publish("b", cause=at))
    history = tale.end("an event cycle: a → b → a, 100 messages in a row")
    ends = [event.index for event in history.of("end")]
    assert circle(case(history, shown("cut off", ends))).kind == "cycle"


@pytest.mark.parametrize(
    "reason",
    ["", "not quiet after 60 s", "100,000 events: an event cycle: a → b → a, 100 messages"],
)
def test_a_run_that_ended_for_another_reason_went_in_no_circle(reason):
    history, _ = going_round(reason=reason)
    ends = [event.index for event in history.of("end")]
    assert circle(case(history, shown("cut off", ends))) is None


def test_what_came_of_the_first_round_is_not_the_fault_of_a_circle():
    history, deeds = going_round()
    assert circle(case(history, shown("charged", deeds[:1]))) is None


def test_what_went_round_elsewhere_is_not_the_circle_that_was_cut_off():
    reason = "an event cycle: x → y → x, 100 messages in a row"
    history, deeds = going_round(reason=reason)
    assert circle(case(history, shown("charged", deeds[1:]))) is None


def test_a_history_without_an_end_went_in_no_circle():
    tale = Tale()
    deed, _ = asked(tale, "bank.charge", tale.deliver(tale.publish()))
    tale.add("handled", "pay#1", "pay.on/handle", deed)
    whole = tale.end("an event cycle: orders → a, 2 in a row")
    history = type(whole)(list(whole.raw)[:deed])
    assert circle(case(history, shown("charged", [0]))) is None


def test_only_messages_go_round():
    """An answer from a topic is no second message to it."""
    tale = Tale()
    given = tale.deliver(tale.publish("a"))
    tale.add("ack", "pay#1", "pay.on/bus.ack", given, topic="a")
    at = tale.add("resolve", "pay#1", "pay.on/read", given, topic="a")
    deed, _ = asked(tale, "bank.charge", at)
    history = tale.end("an event cycle: a → b → a, 100 messages in a row")
    assert circle(case(history, shown("charged", [deed]))) is None


# ---- undone in the order of doing

DONE = ("hotel.book", "air.book", "hotel.cancel", "air.cancel")


def undoing(*, calls=DONE, entities=(1, 1, 1, 1), swapped=False, extra="", words="not in reverse"):
    tale = Tale()
    at = tale.deliver(tale.publish())
    deeds = []
    for what, entity in zip(calls, entities, strict=True):
        call = tale.call(what, at, entity=entity)
        deeds.append(tale.effect(call))
        at = tale.reply(call)
    more = [tale.publish("x", cause=at)] if extra == "publish" else []
    if extra == "effect":
        more = [asked(tale, "air.cancel", at)[0]]
    events = deeds[::-1] if swapped else deeds
    return tale.end(), Finding(f"{words} order", (*more, *events), 1)


@pytest.mark.parametrize("extra", ["", "publish"])
def test_what_was_undone_in_the_order_of_doing_is_told(extra):
    found = undone_in_order(case(*undoing(extra=extra)))
    assert found.words == (
        "pay.on undid in the order of doing: hotel.cancel came first, while air.book, which was "
        "done after hotel.book, still stood."
    )


@pytest.mark.parametrize(
    "near",
    [
        pytest.param({"words": "twice, in any"}, id="the finding is about something else"),
        pytest.param({"extra": "effect"}, id="there are five deeds"),
        pytest.param(
            {"calls": ("hotel.book", "air.book", "air.cancel", "hotel.cancel")}, id="in reverse"
        ),
        pytest.param(
            {"calls": ("hotel.book", "air.book", "hotel.cancel", "car.cancel")}, id="others undone"
        ),
        pytest.param({"calls": ("air.a", "air.b", "air.c", "air.d")}, id="one third party"),
        pytest.param(
            {"calls": ("hotel.book", "air.book", "hotel.book", "air.cancel")}, id="done twice"
        ),
        pytest.param({"entities": (1, 1, 2, 2)}, id="two items"),
        pytest.param({"swapped": True}, id="in no order"),
    ],
)
def test_what_was_undone_in_reverse_or_not_at_all_is_not_told(near):
    assert undone_in_order(case(*undoing(**near))) is None
