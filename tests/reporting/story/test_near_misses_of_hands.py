"""Messages in hand: each kind of cause is told, and none of it where the decisive thing is missing.

Each kind is asked by itself: another that fits as well must not hide that it speaks up.
"""

import pytest

from chaosharness.checkers import Finding
from chaosharness.reporting.story.causes.handed import (
    given_back_for_ever,
    ignored,
    kept_too_long,
    never_again,
    never_stored,
    offset_passed,
    stopped_half_way,
)
from chaosharness.reporting.story.causes.repeated import done_each_time
from tests.reporting.story.tales import Tale, case, of_the_end, shown


def lost(place="bank.charge"):
    return Finding("never charged", (), 1, kind="effect lost", place=place)


def charged():
    """The run that passes: the message is handled, and the bank charges."""
    tale = Tale()
    given = tale.deliver(tale.publish())
    call = tale.call("bank.charge", given)
    tale.effect(call)
    tale.ack(tale.handled(tale.reply(call)))
    return tale.end()


# ---- an offset that speaks for what was not done


def batch(*, works=False, first=False, aside=False, other_log=False):
    """Two records of a log are fetched at once, and the offset of the later one is committed."""
    tale = Tale()
    one, two = tale.publish(), tale.publish(key="o2", **({"topic": "else"} if other_log else {}))
    mine, later = tale.deliver(one), tale.deliver(two)
    if works:
        tale.effect(tale.call("bank.charge", mine))
    if first:
        tale.ack(mine)
    if aside:
        tale.add("dead", "bus", "", mine, message=one, queue="pay", reason="bad", to=["aside"])
    tale.ack(later)
    return tale.end(), mine


def test_an_offset_that_was_committed_past_a_message_is_told():
    history, given = batch()
    found = offset_passed(case(history, shown("acknowledged, never done", [given])))
    assert "committed an offset beyond o1 from orders" in found.words


@pytest.mark.parametrize(
    "near", [{"works": True}, {"first": True}, {"aside": True}, {"other_log": True}]
)
def test_what_was_done_or_put_aside_or_is_of_another_log_was_not_passed(near):
    history, given = batch(**near)
    assert offset_passed(case(history, shown("acknowledged", [given]))) is None


def test_what_the_finding_is_not_about_was_not_passed():
    history, _ = batch()
    assert offset_passed(case(history, of_the_end(history))) is None


# ---- a message that stays pending


def pending(
    *,
    acked=False,
    again=False,
    aside=False,
    log=False,
    raises=True,
    works=False,
    to=("aside",),
    cut="",
):
    """A message of a queue is handed out once, and its handler raises."""
    tale = Tale()
    message = tale.publish(**({} if log else {"queues": ["pay"]}))
    given = tale.deliver(message)
    if works:
        tale.effect(tale.call("bank.charge", given))
    last = tale.raised(given) if raises else given
    if acked:
        tale.ack(given)
    if again:
        last = tale.handled(tale.deliver(message, times=2))
    if aside:
        tale.add("dead", "bus", "", last, message=message, queue="pay", reason="bad", to=list(to))
    return tale.end(cut), given


def test_a_message_that_nobody_takes_up_is_told():
    history, given = pending()
    found = never_again(case(history, shown("never handled", [given])))
    assert found.kind == "pending"
    assert "which raised KeyError: 'id'. Nobody acknowledged it" in found.words


@pytest.mark.parametrize("near", [{"acked": True}, {"again": True}, {"aside": True}, {"log": True}])
def test_what_was_acknowledged_or_handed_out_again_or_put_aside_is_not_pending(near):
    history, given = pending(**near)
    assert never_again(case(history, shown("never handled", [given]))) is None


@pytest.mark.parametrize("near", [{"aside": True, "to": ()}, {"cut": "too many messages"}])
def test_what_was_let_go_of_or_was_cut_off_is_not_pending(near):
    history, given = pending(**near)
    assert never_again(case(history, shown("never handled", [given]))) is None


def test_a_message_that_the_finding_is_not_about_is_not_told_as_pending():
    history, _ = pending()
    assert never_again(case(history, of_the_end(history))) is None


def test_work_that_was_done_is_not_said_to_be_undone():
    history, given = pending(raises=False, works=True)
    words = never_again(case(history, shown("pending", [given]))).words
    assert "handed o1 from orders to pay. Nobody acknowledged it" in words


# ---- a message that was lost on its way


def unasked(*, outcome="unasked", sends_again=False, raises=False):
    """What is published after the charge is lost on its way; nobody had asked for a word."""
    tale = Tale()
    given = tale.deliver(tale.publish())
    sent = tale.add(
        "reply", "pay#1", "pay.on/bus.publish paid", given, outcome=outcome, happened=False
    )
    if sends_again:
        tale.publish("paid", cause=sent)
    if raises:
        tale.raised(sent)
    tale.handled(sent)
    return tale.end()


def confirmed():
    tale = Tale()
    given = tale.deliver(tale.publish())
    paid = tale.publish("paid", cause=given)
    tale.handled(given)
    tale.effect(tale.call("mail.send", tale.deliver(paid, "post#1", group="post")))
    return tale.end()


def test_what_was_lost_as_nobody_asked_for_a_word_is_told():
    found = never_stored(case(unasked(), lost("mail.send"), confirmed()))
    assert "pay.on sent paid and asked for no confirmation" in found.words


@pytest.mark.parametrize("near", [{"outcome": "unknown"}, {"sends_again": True}, {"raises": True}])
def test_what_was_asked_for_or_is_sent_again_was_not_lost_unnoticed(near):
    assert never_stored(case(unasked(**near), lost("mail.send"), confirmed())) is None


# ---- a message that is given back, each time


def given_back(*, times=12, requeue=True, acked=False, quiet=False):
    tale = Tale()
    message = tale.publish(queues=["pay"])
    for attempt in range(1, times + 1):
        given = tale.deliver(message, times=attempt)
        tale.add("nack", "pay#1", "pay.on/bus.nack", given, message=message, requeue=requeue)
        tale.handled(given)
    if acked:
        tale.ack(given)
    return tale.end("" if quiet else "handed out one message too often")


def test_a_message_that_is_given_back_each_time_is_told():
    history = given_back()
    found = given_back_for_ever(case(history, of_the_end(history)))
    assert "pay.on gave o1 from orders back 12 times, and each time it came again" in found.words


@pytest.mark.parametrize(
    "near", [{"times": 9}, {"requeue": False}, {"acked": True}, {"quiet": True}]
)
def test_a_message_that_goes_through_or_is_not_put_back_is_not_given_back_for_ever(near):
    history = given_back(**near)
    assert given_back_for_ever(case(history, of_the_end(history))) is None


def test_a_message_that_is_given_back_is_not_why_of_something_else():
    history = given_back()
    assert given_back_for_ever(case(history, shown("published", [0]))) is None


# ---- a message that came too early


def early(*, there="after", whose=2, works=False, looks=True):
    """A message is handled without any trace; the row it looks for is written before or after."""
    tale = Tale()
    form = tale.add("arrive", "web#1", "", entity=1, item={"id": "o1"})
    message = tale.publish("tasks", cause=form)
    if there == "before":
        tale.keep("forms", form)
    given = tale.deliver(message)
    if looks:
        tale.read("forms", given)
    if works:
        tale.keep("seen", given)
    tale.handled(given)
    if there == "after":
        tale.keep("forms", form if whose == 1 else tale.add("arrive", "web#1", entity=whose))
    return tale.end()


def in_time():
    tale = Tale()
    form = tale.add("arrive", "web#1", "", entity=1, item={"id": "o1"})
    given = tale.deliver(tale.publish("tasks", cause=form))
    call = tale.call("bank.charge", given)
    tale.effect(call)
    tale.handled(tale.reply(call))
    return tale.end()


def test_a_message_whose_row_was_written_only_after_it_was_handled_is_told():
    found = ignored(case(early(whose=1), lost(), in_time()))
    assert found.kind == "too early"
    assert "looked into db.forms, and did nothing: only after that web.on committed" in found.words


@pytest.mark.parametrize(
    "near",
    [
        {"there": "before"},  # it looked, saw the row, and did nothing: why, nobody knows
        {"there": "never"},
        {"whose": 2},  # the row of another item
        {"whose": 1, "works": True},
        {"whose": 1, "looks": False},
    ],
)
def test_a_message_that_found_its_row_or_never_looked_did_not_come_too_early(near):
    assert ignored(case(early(**near), lost(), in_time())) is None


# ---- a request that stopped half way


def ask(tale, cause, attempt=1):
    return tale.add(
        "call",
        "client",
        "client.buy/shop.order",
        cause,
        attempt=attempt,
        endpoint="order",
        service="shop",
        value="o1",
    )


def halfway(*, keeps=True, dies=True, charges=False, looks=True):
    """An order is written and the shop dies; asked again, it sees the order, and is content."""
    tale = Tale()
    come = tale.add("arrive", "client", "", item={"id": "o1"})
    first = ask(tale, come)
    if keeps:
        tale.keep("orders", first, who="shop#1")
    if dies:
        tale.crash(first, who="shop#1")
    again = ask(tale, come, attempt=2)
    if looks:
        tale.read("orders", again, who="shop#2")
    if charges:
        tale.call("bank.charge", again, who="shop#2")
    tale.handled(again, who="shop#2")
    return tale.end()


def whole():
    tale = Tale()
    first = ask(tale, tale.add("arrive", "client", "", item={"id": "o1"}))
    tale.keep("orders", first, who="shop#1")
    tale.effect(tale.call("bank.charge", first, who="shop#1"))
    tale.handled(first, who="shop#1")
    return tale.end()


def test_a_request_that_was_taken_for_done_is_told():
    found = stopped_half_way(case(halfway(), lost(), whole()))
    assert "shop.on committed db.orders before all of its work was done; then it crashed" in (
        found.words
    )


@pytest.mark.parametrize(
    "near", [{"keeps": False}, {"dies": False}, {"charges": True}, {"looks": False}]
)
def test_a_request_that_left_nothing_or_goes_on_did_not_stop_half_way(near):
    assert stopped_half_way(case(halfway(**near), lost(), whole())) is None


# ---- the same, once more


def added(*messages, looks_at=(), rows=1):
    """Each delivery adds to one row."""
    tale = Tale()
    published = {value: tale.publish(value=value) for value in dict.fromkeys(messages)}
    given = [tale.deliver(published[value], times=n) for n, value in enumerate(messages, 1)]
    looks = [tale.read("totals", one) for one in given] if looks_at == "all first" else given
    for attempt, one in enumerate(looks, 1):
        write = tale.write("totals", one, "update", attempt=attempt, params=("o1", 5))
        tale.raw[write][7]["rows"] = rows if attempt > 1 else 1
        tale.handled(tale.commit(write))
    return tale.end(totals=[{"id": "o1", "sum": 5 * len(messages)}])


def differs(history):
    return Finding("differs", (len(history) - 1,), 0, kind="row differs", place="db.totals.sum+")


def test_an_update_that_is_done_again_when_its_message_comes_again_is_told():
    history = added("five", "five")
    found = done_each_time(case(history, differs(history), added("five")))
    assert "pay.on does update db.totals again when it is asked again: 2 times" in found.words


@pytest.mark.parametrize(
    ("messages", "more"),
    [
        (("five", "six"), {}),  # another message, and not the same once more
        (("five",), {}),
        (("five", "five"), {"looks_at": "all first"}),  # the second one is overwritten
        (("five", "five"), {"rows": 0}),  # it came again, and changed nothing
    ],
)
def test_another_message_or_an_update_that_changes_nothing_is_not_done_again(messages, more):
    history = added(*messages, **more)
    passing = Tale()
    given = passing.deliver(passing.publish(value="five"))
    passing.handled(passing.keep("totals", given, verb="update", params=("o1", 5)))
    there = passing.end(totals=[{"id": "o1", "sum": 4}])
    assert done_each_time(case(history, differs(history), there)) is None


def test_nothing_is_told_of_an_update_where_another_table_came_out_differently():
    history = added("five", "five")
    there = added("five")
    elsewhere = Finding("differs", (len(history) - 1,), 0, kind="row differs", place="db2.other.n")
    assert done_each_time(case(history, elsewhere, there)) is None


def test_an_update_that_was_rolled_back_is_not_done_again():
    tale = Tale()
    message = tale.publish(value="five")
    first = tale.write("totals", tale.deliver(message), "update", params=("o1", 5))
    tale.raised(tale.rollback(first))
    again = tale.write("totals", tale.deliver(message, times=2), "update", attempt=2)
    tale.handled(tale.commit(again))
    history = tale.end(totals=[{"id": "o1", "sum": 9}])
    assert done_each_time(case(history, differs(history), added("five"))) is None


# ---- what is kept in hand until it is taken back


def countdown(*, again=True, back=True, early=False, deeds=2, by_delivery=False):
    """A worker keeps a message for an hour; its broker takes it back before that."""
    tale = Tale()
    message = tale.publish(queues=["pay"])
    one = tale.deliver(message)

    def charge(cause):
        tale.effect(tale.call("bank.charge", cause, who="pay#1"))

    if early:
        charge(message)
    if back:
        data = {"message": message, "from": "pay#1", "why": "visibility timeout"}
        tale.add("nack", "bus", "", one, **data)
    two = tale.deliver(message, times=2) if again else one
    for _ in range(deeds - early):
        charge(two if by_delivery else message)
    tale.handled(two)
    return tale.end()


def once():
    return countdown(again=False, back=False, deeds=1)


def test_what_was_kept_until_it_was_taken_back_is_told():
    found = kept_too_long(case(countdown(), of_the_end(countdown()), once()))
    assert "kept o1 from orders in hand for" in found.words
    assert "bus handed it out again (visibility timeout)" in found.words


@pytest.mark.parametrize(
    "near",
    [
        {"back": False},
        {"again": False},
        {"early": True},  # it had begun when it was taken back
        {"deeds": 1},
        {"by_delivery": True},  # one attempt after the other
    ],
)
def test_what_was_not_kept_is_not_told_as_kept(near):
    history = countdown(**near)
    assert kept_too_long(case(history, of_the_end(history), once())) is None
