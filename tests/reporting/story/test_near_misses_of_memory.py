"""What code went by: each kind of cause is told, and none of it without the decisive thing."""

import pytest

from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.memory import (
    forgotten,
    halves_apart,
    marked_first,
    old_knowledge,
    own_mark,
)
from tests.reporting.story.tales import Tale, case, of_the_end

UNTOLD = Finding("never told", (), 1, kind="message lost", place="bus.confirmed")


def lost():
    return Finding("never charged", (), 1, kind="effect lost", place="bank.charge")


# ---- two halves at two incarnations


def join(*, to="join#2", writes=False, reads=False, again=False, other="reserved"):
    """Two halves of one order go to a join."""
    tale = Tale()
    first, second = tale.publish("paid"), tale.publish(other)
    one = tale.deliver(first, "join#1", group="join")
    if writes:
        tale.keep("halves", one)
    if reads:
        tale.read("halves", one)
    tale.handled(one)
    two = tale.deliver(second, to, group="join")
    if to == "join#1":
        tale.publish("confirmed", cause=two)
    tale.handled(two)
    if again:
        tale.handled(tale.deliver(first, to, times=2, group="join"))
    return tale.end()


def test_halves_in_two_memories_are_told():
    found = halves_apart(case(join(), UNTOLD, join(to="join#1")))
    assert "o1 from paid went to join#1 and o1 from reserved to join#2" in found.words


@pytest.mark.parametrize(
    "near",
    [
        {"to": "join#1"},
        {"to": "post#1"},  # another service
        {"writes": True},
        {"reads": True},
        {"again": True},  # the second one has both
        {"other": "paid"},  # two of one half
    ],
)
def test_halves_at_one_or_written_down_are_not_apart(near):
    assert halves_apart(case(join(**near), UNTOLD, join(to="join#1"))) is None


def test_halves_that_lie_apart_as_a_rule_are_not_the_cause():
    assert halves_apart(case(join(), UNTOLD, join())) is None


def test_halves_are_not_why_of_a_row_that_differs():
    finding = Finding("differs", (), 1, kind="row differs")
    assert halves_apart(case(join(), finding, join(to="join#1"))) is None


# ---- what a crash took


def refund(
    *, crashes=True, reads=False, acts=False, key="o1", to="pay#1/2", first=True, placed="pay#1"
):
    """An order is placed, its consumer crashes, and the order is cancelled."""
    tale = Tale()
    one = tale.deliver(tale.publish("placed"), placed)
    end = tale.handled(one) if first else one
    if crashes:
        tale.crash(end)
    gone = tale.publish("cancelled", key=key, entity=2)
    two = tale.deliver(gone, to if crashes else "pay#1")
    if reads:
        tale.read("orders", two)
    if acts:
        tale.effect(tale.call("bank.refund", two))
    tale.handled(two)
    return tale.end()


def no_refund():
    return Finding("never refunded", (), 2, kind="effect lost", place="bank.refund")


REFUNDED = {"crashes": False, "acts": True}


def test_what_a_crash_took_from_memory_is_told():
    found = forgotten(case(refund(), no_refund(), refund(**REFUNDED)))
    assert "handled o1 from cancelled, asked nobody and did nothing: pay" in found.words
    assert "had handled o1 from placed before, and crashed since" in found.words


@pytest.mark.parametrize(
    "near",
    [
        {"crashes": False},
        {"reads": True},  # it asked, and was told otherwise
        {"acts": True},
        {"key": "o9"},  # of another order
        {"to": "post#1"},  # another service
        {"first": False},  # what it had in hand comes again
    ],
)
def test_who_asked_or_lost_nothing_has_not_forgotten(near):
    assert forgotten(case(refund(**near), no_refund(), refund(**REFUNDED))) is None


def test_what_another_replica_has_in_memory_is_told():
    found = forgotten(case(refund(placed="pay#3", to="pay#2"), no_refund(), refund(**REFUNDED)))
    assert "pay#3 had handled o1 from placed" in found.words
    history = refund(crashes=False, placed="pay#2")
    found = forgotten(case(history, no_refund(), refund(**REFUNDED)))
    assert "and what it had only in memory, pay#1 never had" in found.words


def test_what_is_looked_up_as_a_rule_was_not_in_memory():
    looked = refund(**REFUNDED, reads=True)
    assert forgotten(case(refund(), no_refund(), looked)) is None


@pytest.mark.parametrize("usual", [{"acts": True}, {**REFUNDED, "placed": "pay#2"}])
def test_what_two_lives_do_as_a_rule_was_not_in_memory(usual):
    assert forgotten(case(refund(), no_refund(), refund(**usual))) is None


# ---- a mark of one's own


def mark(tale, cause, key="ids/o1"):
    return tale.add(
        "commit", tale._who(cause), "pay.on/kv.put ids", cause, store="kv", verb="put", key=key
    )


def marked(*, dies=True, refuses=True, another=False, charges=False, key="ids/o1"):
    """A mark is put, then the handler crashes; when it comes again, its mark is in the way."""
    tale = Tale()
    message = tale.publish(queues=["pay"])
    one = tale.deliver(message)
    if another:  # of another message, under the same key
        mark(tale, tale.deliver(tale.publish(queues=["pay"]), "pay#3"))
    put = mark(tale, one, key)
    if dies:
        tale.crash(put)
    two = tale.deliver(message, "pay#2", times=2)
    data = {"refused": "exists"} if refuses else {}
    tale.add("read", "pay#2", "pay.on/kv.put ids", two, store="kv", verb="put", **data)
    if charges:
        tale.effect(tale.call("bank.charge", two))
    tale.handled(two)
    return tale.end()


def paid():
    tale = Tale()
    one = tale.deliver(tale.publish(queues=["pay"]))
    mark(tale, one)
    tale.effect(tale.call("bank.charge", one))
    tale.handled(one)
    return tale.end()


def test_a_mark_of_ones_own_is_told():
    found = own_mark(case(marked(), lost(), paid()))
    assert "that write was refused, because its own first one was there" in found.words


@pytest.mark.parametrize(
    "near", [{"dies": False}, {"refuses": False}, {"another": True}, {"charges": True}]
)
def test_a_mark_of_another_or_one_that_was_not_refused_is_not_told_as_ones_own(near):
    assert own_mark(case(marked(**near), lost(), paid())) is None


# ---- a mark before the deed


def swept(*, first=True, outcome="failed", happened=False, again=False, verb="update", by="loop"):
    """A loop marks a row as sent, and then is refused the sending."""
    tale = Tale()
    at = tale.add("start", "post#1", "", entity=1)
    if by == "handler":
        at = tale.deliver(tale.publish(), "post#1", group="post")
    if first:
        at = tale.keep("mails", at, verb=verb, who="post#1")
    call = tale.call("mail.send", at, who="post#1")
    answer = tale.reply(call, outcome)
    tale.raw[answer][7]["happened"] = happened
    if not first:
        tale.keep("mails", answer, verb=verb, who="post#1")
    if again:
        tale.call("mail.send", answer, who="post#1", attempt=2)
    return tale.end()


def sent():
    tale = Tale()
    at = tale.keep("mails", tale.add("start", "post#1", "", entity=1), verb="update", who="post#1")
    call = tale.call("mail.send", at, who="post#1")
    tale.effect(call)
    # what comes of a reply is what is missing where there is none
    answer = tale.reply(call)
    tale.effect(tale.call("mail.count", answer, who="post#1"))
    return tale.end()


def unsent():
    return Finding("never sent", (), 1, kind="half done", place="mail.send")


@pytest.mark.parametrize(("outcome", "how"), [("failed", "was refused"), ("unknown", "got no")])
def test_a_mark_before_the_deed_is_told(outcome, how):
    found = marked_first(case(swept(outcome=outcome), unsent(), sent()))
    assert f"post.on committed db.mails before it asked for mail.send, and then {how}" in (
        found.words
    )
    assert found.words.endswith("nobody asked for it again.")


@pytest.mark.parametrize(
    "near",
    [
        {"first": False},
        {"outcome": "ok"},
        {"outcome": "unknown", "happened": True},
        {"again": True},
        {"verb": "insert"},  # a row of its own marks nothing as done
        {"by": "handler"},  # whose message may come again
    ],
)
def test_a_mark_after_the_deed_or_a_deed_that_is_asked_for_again_is_not_told(near):
    assert marked_first(case(swept(**near), unsent(), sent())) is None


# ---- a look that was long ago


def believed(*, first_look=True, late_look=False, changed="book", by="pay#2", before=False):
    tale = Tale()
    if before:
        tale.keep("prices", tale.deliver(tale.publish(key="o2"), by), params=(changed, 11))
    one = tale.deliver(tale.publish())
    if first_look:
        tale.read("prices", one)
    tale.keep("orders", one, params=("o1", "book", 9))
    if not before:
        tale.keep("prices", tale.deliver(tale.publish(key="o2"), by), params=(changed, 11))
    if late_look:
        tale.read("prices", tale.deliver(tale.publish(key="o4")))
    three = tale.deliver(tale.publish(key="o3"))
    tale.keep("orders", three, params=("o3", "book", 9), attempt=2)
    return tale.end(orders=[{"id": "o3", "cents": 9}])


def at_the_new_price():
    tale = Tale()
    tale.keep("orders", tale.deliver(tale.publish()), params=("o3", "book", 11))
    return tale.end(orders=[{"id": "o3", "cents": 11}])


def test_a_look_that_was_long_ago_is_told_without_guessing_what_was_remembered():
    history = believed()
    found = old_knowledge(case(history, of_the_end(history), at_the_new_price()))
    assert "pay#1 looked into db.prices at 2 ms and not again" in found.words
    assert found.words.endswith("wrote db.orders at 11 ms all the same.")


@pytest.mark.parametrize(
    "near",
    [
        {"first_look": False},
        {"late_look": True},
        {"changed": "pen"},  # another row
        {"by": "pay#1"},  # its own change
        {"before": True},
    ],
)
def test_a_look_after_the_change_or_at_another_row_is_not_out_of_date(near):
    history = believed(**near)
    assert old_knowledge(case(history, of_the_end(history), at_the_new_price())) is None


def test_what_came_out_as_usual_is_not_told_as_out_of_date():
    history = believed()
    assert old_knowledge(case(history, of_the_end(history), believed(changed="pen"))) is None
