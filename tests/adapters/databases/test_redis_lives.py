"""A key that is gone since its own time was over was written all the same; others were not."""

from contextlib import suppress

import pytest

pytest.importorskip("redis")
pytest.importorskip("fakeredis")

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaosharness import (
    Crash,
    Delay,
    ErrorReply,
    Gateway,
    Kafka,
    LostRequest,
    RedisStore,
    Schedule,
    Site,
    System,
    idempotent,
)

cache = redis.Redis("cache.shop.example", decode_responses=True, retry=Retry(NoBackoff(), 0))
OR_NOT = suppress(redis.ConnectionError, redis.TimeoutError)
ORDERS = [{"id": "o1"}, {"id": "o2"}]
LATER = {"on_error": "dead-letter", "retries_max": 60}
LATE = Delay(Site("till.on_order/bus.publish done"), lasting=90_000)


def shop(remember, orders=ORDERS[:1]):
    """Each order is remembered for a minute, and told."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1, "done": 1}))
    bank = system.add(Gateway("bank"))
    system.add(RedisStore("cache"))

    @system.service("till")
    def till(env):
        publish, charge = env.publisher(bus), env.client(bank).charge

        def on_order(order: dict):
            became = remember(order, charge) or "done"
            publish("done", {**order, "became": became}, key=order["id"])

        env.consume(bus, "orders", on_order, **LATER)

    @system.entry(examples=orders)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def found(system, *faults):
    run = system.run(None, Schedule(faults))
    assert not run.unused
    return run, [one.summary for one in idempotent().findings(run.evidence())]


def mark(order, charge):
    cache.set(f"seen:{order['id']}", "1", ex=60)


def mark_if_it_can(order, charge):
    with OR_NOT:  # the bug
        mark(order, charge)


def mark_and_take_back(how):
    def on_order(order, charge):
        mark(order, charge)
        try:
            charge(order["id"], 500, key=order["id"])
        except ConnectionError:
            how(f"seen:{order['id']}")  # the bug: the order goes on, and is charged in the end
            charge(order["id"], 500, key=order["id"])

    return on_order


def state_of(run):
    [data] = [one.data for one in run.history.of("state") if one.actor == "cache"]
    return dict(data)


@pytest.mark.parametrize("orders", [ORDERS[:1], ORDERS])
def test_a_key_whose_own_time_is_over_was_there(orders):
    run, wrong = found(shop(mark, orders), LATE)
    assert state_of(run)["ran_out"]["seen:o1"] == "1"
    assert not wrong


def test_a_key_that_was_never_written_is_missing():
    lost = LostRequest(Site("till.on_order/cache.set"))
    run, wrong = found(shop(mark_if_it_can), lost, LATE)
    assert state_of(run) == {"items": {}}
    assert any("nothing came of item 1 (o1)" in one for one in wrong)


@pytest.mark.parametrize("how", [cache.delete, lambda key: cache.expire(key, 0)])
def test_a_key_that_code_deletes_is_missing(how):
    refused = ErrorReply(Site("till.on_order/bank.charge"))
    run, wrong = found(shop(mark_and_take_back(how)), refused, LATE)
    assert state_of(run) == {"items": {}}
    assert any("cache lacks the row (key=seen:o1" in one for one in wrong)


def count(order, charge):
    if cache.incr("orders") == 1:
        cache.expire("orders", 60)


def count_once(order, charge):
    if cache.set(f"seen:{order['id']}", "1", nx=True, ex=60):
        count(order, charge)


def test_a_key_is_held_against_others_as_it_last_was():
    crash = Crash(Site("till.on_order/cache.expire", "after"))
    run, wrong = found(shop(count), crash, LATE)
    assert state_of(run)["ran_out"] == {"orders": "2"}
    assert any("cache has value=2 (key=orders); without faults, value=1" in one for one in wrong)
    assert not found(shop(count_once), LATE)[1]


def charge_under_a_lock(order, charge):
    lock = f"lock:{order['id']}"
    if not cache.set(lock, "1", nx=True, ex=30):
        raise RuntimeError("somebody is at it")
    charge(order["id"], 500, key=order["id"])
    with OR_NOT:  # then it runs out
        cache.delete(lock)


def test_a_lock_that_is_left_to_run_out_is_no_row_too_many():
    lost = LostRequest(Site("till.on_order/cache.del"))
    run, wrong = found(shop(charge_under_a_lock), lost, LATE)
    assert state_of(run) == {"items": {}, "ran_out": {"lock:o1": "1"}}
    assert not wrong


def test_what_is_set_again_has_a_life_of_its_own():
    crash = Crash(Site("till.on_order/bank.charge", "after"))
    run, wrong = found(shop(charge_under_a_lock), crash, LATE)
    assert state_of(run) == {"items": {}}
    assert not wrong


def remember_who_is_charged(order, charge):
    cache.set(f"charged:{order['id']}", "1", ex=60)
    try:
        charge(order["id"], 500, key=order["id"])
    except ConnectionError:
        with OR_NOT:
            cache.delete(f"charged:{order['id']}")
        return "refused"


def remember_for_all(order, charge):
    cache.set("charging", "1", ex=60)
    try:
        charge(order["id"], 500, key=order["id"])
    except ConnectionError:
        with OR_NOT:
            cache.delete("charging")
        return "refused"


@pytest.mark.parametrize("remember", [remember_who_is_charged, remember_for_all])
def test_what_was_not_taken_back_and_ran_out_is_gone(remember):
    refused = ErrorReply(Site("till.on_order/bank.charge"))
    lost = LostRequest(Site("till.on_order/cache.del"))
    run, wrong = found(shop(remember), refused, lost, LATE)
    assert len(state_of(run)["ran_out"]) == 1
    assert not wrong
