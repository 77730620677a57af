"""Sagas: each kind of cause is told, and none of it where the decisive thing is missing."""

import pytest

from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.order import side_by_side
from chaosharness.reporting.story.causes.sagas import (
    answered_too_late,
    came_after_the_end,
    failure_hidden,
    took_it_for_undone,
    undid_nothing,
    undone_too_soon,
)
from chaosharness.reporting.story.causes.shapes import (
    row_of_handlers,
    waits_for_ever,
    waits_for_what_is_aside,
)
from tests.reporting.story.tales import Tale, case, of_the_end, shown


def asked(tale, what, cause, outcome="ok", *, happens=None, who="pay#1"):
    """A call, what became of it, and its answer; return the places of the deed and of that."""
    call = tale.call(what, cause, who=who)
    deed = tale.effect(call) if (outcome == "ok" if happens is None else happens) else -1
    return deed, tale.reply(call, outcome)


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


def slow(*, late=True, again=True, of_it=True):
    """A task charges and reports; its report comes too late, and the task is begun anew."""
    tale = Tale()
    at = tale.add("arrive", "client", "", item={"id": "o1"})
    deed = -1
    for attempt in (1, 2) if again else (1,):
        begun = tale.add("sleep", "pay#1", "pay.on/sleep", at, attempt=attempt, at=attempt * 5000)
        call = tale.call("bank.charge", begun, who="pay#1", attempt=attempt)
        effect = tale.effect(call)
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
    return tale.end(), deed


def test_answers_that_nobody_waited_for_any_more_are_told():
    history, deed = slow()
    found = answered_too_late(case(history, shown("charged twice", [deed])))
    assert "pay.on takes 3 s for its work, and its answer came too late (2 times)" in found.words


@pytest.mark.parametrize("near", [{"late": False}, {"again": False}, {"of_it": False}])
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
    [{"fails": False}, {"over": "saga failed"}, {"comes_right": True}, {"goes_on": True}],
)
def test_a_failure_that_is_told_or_came_right_is_not_hidden(near):
    assert failure_hidden(case(hidden(**near), FORGOTTEN, hidden(fails=False))) is None


def test_an_end_in_failure_hides_none_even_if_it_is_the_usual_one():
    bad, usual = hidden(over="saga failed"), hidden(fails=False, over="saga failed")
    assert failure_hidden(case(bad, FORGOTTEN, usual)) is None


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
