"""What became of a message in hand, of a saga, and of what code knew: told, and the near misses."""

import pytest

from chaosharness.checkers import Finding
from tests.reporting.story.tales import Tale, cause, kind, of_the_end, shown


def one_item(summary="done twice", *events, name="", place=""):
    return Finding(summary, tuple(events), 1, kind=name, place=place)


# ---- a message that nobody has


def dropped(reason="max deliveries", *, to=(), handled=False):
    tale = Tale()
    message = tale.publish()
    given = tale.deliver(message)
    if handled:
        tale.handled(given)
    else:
        tale.raised(given)
    tale.add("dead", "bus", "", message, message=message, queue="pay", reason=reason, to=list(to))
    return tale.end(), message


def test_a_message_that_its_broker_let_go_of_is_told():
    history, message = dropped()
    found = cause(history, shown("lost", [message]))
    assert found.kind == "dropped"
    assert "bus let go of o1 from orders (max deliveries) after it had been handed out once" in (
        found.words
    )


@pytest.mark.parametrize("near", [{"to": ["aside"]}, {"handled": True}])
def test_what_went_somewhere_or_was_handled_was_not_let_go_of(near):
    history, message = dropped(**near)
    assert kind(history, shown("lost", [message])) != "dropped"


def taken(*, back=True, acked=False, times=3):
    tale = Tale()
    message = tale.publish()
    for attempt in range(1, times + 1):
        given = tale.deliver(message, times=attempt)
        if back:
            tale.add(
                "nack", "bus", "", message, message=message, why="lease over", **{"from": "pay#1"}
            )
        done = tale.handled(given)
    if acked:
        tale.ack(done)
    return tale.end("handed out one message too often")


def test_work_that_takes_longer_than_its_lease_is_told():
    history = taken()
    found = cause(history, of_the_end(history))
    assert found.kind == "lease"
    assert "bus takes it back (lease over)" in found.words


@pytest.mark.parametrize("near", [{"back": False}, {"acked": True}, {"times": 2}])
def test_work_that_was_acknowledged_or_in_time_has_no_lease_that_ran_out(near):
    history = taken(**near)
    assert kind(history, of_the_end(history)) != "lease"


def half_read(*, asked_again=False, acked=True):
    """A main loop is refused something, and commits."""
    tale = Tale()
    given = tale.deliver(tale.publish())
    call = tale.call("bank.charge", given)
    answer = tale.reply(call, "failed" if acked is not None else "ok")
    if asked_again:
        tale.reply(tale.call("bank.charge", answer, attempt=2), "ok")
    if acked:
        tale.ack(answer)
    return tale.end()


def in_full():
    tale = Tale()
    given = tale.deliver(tale.publish())
    call = tale.call("bank.charge", given)
    tale.effect(call)
    tale.ack(tale.reply(call))
    return tale.end()


def test_a_loop_that_commits_past_a_refusal_is_told():
    found = cause(half_read(), one_item("never charged", place="bank.charge"), in_full())
    assert found.kind == "refused"
    assert "was refused bank.charge for o1 from orders, and acknowledged it all the same" in (
        found.words
    )


@pytest.mark.parametrize("near", [{"asked_again": True}, {"acked": False}])
def test_a_loop_that_asks_again_or_stays_where_it_is_commits_past_nothing(near):
    found = cause(half_read(**near), one_item("never charged", place="bank.charge"), in_full())
    assert found is None or found.kind != "refused"


# ---- a saga


def saga(*, undone=True, wanted=True, over="workflow failed"):
    """Money is taken, the parcel cannot go, and the saga is over."""
    tale = Tale()
    given = tale.deliver(tale.publish())
    call = tale.call("bank.charge", given)
    tale.effect(call)
    ship = tale.call("courier.ship", tale.reply(call))
    bad = tale.reply(ship, "failed")
    last = tale.add("note", "engine", "", bad, what=over, saga="s1") if wanted else bad
    if undone:
        back = tale.call("bank.refund", last)
        tale.effect(back)
        tale.reply(back)
    return tale.end()


def test_what_nobody_undoes_is_told():
    found = cause(saga(undone=False), of_the_end(saga(undone=False)), saga())
    assert found.kind == "undo"
    assert "s1 was over (workflow failed): nobody asked for bank.refund." in found.words


def test_what_stands_where_no_run_passes_is_told():
    history = saga(undone=False)
    assert "nothing was asked for after that" in cause(history, of_the_end(history)).words


@pytest.mark.parametrize("near", [{}, {"undone": False, "wanted": False}])
def test_a_saga_that_is_undone_or_goes_on_is_not_told_as_one_that_nobody_undoes(near):
    history = saga(**near)
    assert kind(history, of_the_end(history)) != "undo"


def leases(first, second, *, saga_of_second="s1"):
    """Two incarnations go on with a saga, each under a lease."""
    tale = Tale()
    one = tale.deliver(tale.publish())
    two = tale.deliver(tale.publish(key="o2"), "pay#2")
    tale.keep("saga", two)
    tale.add(
        "note", "pay#2", "", two, entity=1, what="step done", saga=saga_of_second, lease=second
    )
    tale.keep("saga", one)
    tale.add("note", "pay#1", "", one, what="step done", saga="s1", lease=first)
    return tale.end(saga=[{"id": "o1"}])


def test_who_goes_on_under_an_old_lease_is_told():
    history = leases(1, 2)
    found = cause(history, of_the_end(history))
    assert found.kind == "lease"
    assert "pay#1 went on with s1 under lease 1" in found.words


@pytest.mark.parametrize("near", [(2, 1), (2, 2)])
def test_who_has_the_newest_lease_goes_on_by_right(near):
    history = leases(*near)
    assert kind(history, of_the_end(history)) != "lease"


def test_a_lease_of_another_saga_is_none_of_this_one():
    history = leases(1, 2, saga_of_second="s2")
    assert kind(history, of_the_end(history)) != "lease"


# ---- once more


def charged(*, ended=True, keys=("k1", "k2")):
    """One piece of work charges twice; with an end of an attempt in between, or with none."""
    tale = Tale()
    at = tale.add("arrive", "client", "", item={"id": "o1"})
    one = tale.call("bank.charge", at, who="pay#1")
    first = tale.effect(one, key=keys[0])
    last = tale.raised(first, who="pay#1") if ended else tale.reply(one)
    two = tale.call("bank.charge", last, who="pay#1", attempt=2)
    second = tale.effect(two, key=keys[1])
    return tale.end(), first, second


@pytest.mark.parametrize("ended", [True, False])
def test_attempts_of_an_engine_are_not_one_run(ended):
    history, first, second = charged(ended=ended)
    words = cause(history, shown("charged twice", [first, second])).words
    assert ("in one and the same run of it" in words) is not ended


def test_a_second_run_beside_the_first_is_not_one_run():
    tale = Tale()
    at = tale.add("arrive", "client", "", item={"id": "o1"})
    calls = [tale.call("bank.charge", at, who="pay#1", attempt=n) for n in (1, 2)]
    first, second = (tale.effect(call, key=f"k{call}") for call in calls)
    words = cause(tale.end(), shown("charged twice", [first, second])).words
    assert "asks for bank.charge 2 times, with another idempotency key" in words


def test_a_finding_that_points_at_the_last_of_two_is_told_with_both():
    history, _, second = charged()
    found = cause(history, one_item("charged twice", second, name="effect twice"))
    assert "another idempotency key each time (k1 and k2)" in found.words


def test_one_effect_alone_is_no_repetition():
    history, _, second = charged()
    assert kind(history, one_item("charged", second, name="effect new")) == ""


# ---- what code knew


def believed(*, looks=False, changed="book"):
    """A price is looked up once; another changes it; a second order is written."""
    tale = Tale()
    one = tale.deliver(tale.publish())
    tale.read("prices", one)
    tale.keep("orders", one, params=("o1", 9))
    two = tale.deliver(tale.publish(key="o2"), "pay#2")
    if changed:
        tale.keep("prices", two, params=(changed, 11))
    three = tale.deliver(tale.publish(key="o3"))
    if looks:
        tale.read("prices", three)
    tale.keep("orders", three, params=("o3", "book", 9), attempt=2)
    return tale.end(orders=[{"id": "o1", "cents": 9}, {"id": "o3", "cents": 9}])


def test_who_writes_from_what_it_knew_is_told():
    history = believed()
    right = Tale()
    right.keep("orders", right.deliver(right.publish()), params=("o3", "book", 11))
    passing = right.end(orders=[{"id": "o1", "cents": 9}, {"id": "o3", "cents": 11}])
    found = cause(history, of_the_end(history), passing)
    assert found.kind == "memory"
    assert "pay#1 looked into db.prices" in found.words


@pytest.mark.parametrize("near", [{"looks": True}, {"changed": ""}, {"changed": "pen"}])
def test_who_looks_again_or_knows_what_is_still_so_is_not_told_to_believe(near):
    history = believed(**near)
    passing = Tale().end(orders=[{"id": "o1", "cents": 9}, {"id": "o3", "cents": 11}])
    assert kind(history, of_the_end(history), passing) != "memory"


def backwards(*, swapped=True):
    """Two messages of one topic; the older one is handled last, and both write one row."""
    tale = Tale()
    old, new = tale.publish(value="old"), tale.publish(value="new")
    for message in (new, old) if swapped else (old, new):
        tale.handled(tale.keep("view", tale.deliver(message), params=("o1", message)))
    return tale.end(view=[{"id": "o1", "value": "old" if swapped else "new"}])


def test_an_older_message_after_a_newer_one_is_told():
    history = backwards()
    found = cause(history, of_the_end(history), backwards(swapped=False))
    assert found.kind == "order"
    assert "handled a newer message of orders first and then an older one" in found.words


def test_messages_in_their_order_are_not_told_as_swapped():
    history = backwards(swapped=False)
    assert kind(history, of_the_end(history), backwards()) == ""
