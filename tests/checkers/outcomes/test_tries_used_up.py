"""What an outage has put aside, by way of what each failure left behind, is no finding."""

import pytest
import redis

from chaosharness import (
    SQS,
    ErrorReply,
    External,
    KeyValue,
    NetworkPartition,
    Queue,
    RabbitMQ,
    RedisStore,
    Schedule,
    Site,
    SQSQueue,
    StoreOutage,
    System,
    explore,
    idempotent,
)

RETRY_S = 30


class InProgress(Exception):
    """Somebody has it, or had it and failed."""


class Bank:
    def __init__(self):
        self.keys = set()

    def charge(self, order, key):
        if key in self.keys:
            return External.unchanged()
        self.keys.add(key)


def till(*, lease_s):
    """Who works on an order holds a lease on it, which a failure leaves behind."""
    system = System("till")
    queues = {"orders": SQSQueue(dead_letter="dead", receives_max=10), "dead": SQSQueue()}
    bus, bank = system.add(SQS("bus", queues)), system.add(External("bank", Bank))
    store = system.add(KeyValue("leases"))

    @system.service("till")
    def build(env):
        leases, client = env.connect(store), env.client(bank)

        def on_order(message):
            order = message["id"]
            held = leases.get(order)
            if held == "done":
                return
            if held is not None and held > env.now_ms():
                raise InProgress(order)
            leases.put(order, env.now_ms() + 1_000 * lease_s)
            client.charge(order, key=order)
            leases.put(order, "done")

        env.consume(bus, "orders", on_order, read_as=dict, on_unreadable="skip")

    @system.entry(examples=["o1"])
    def place(env, order):
        env.publisher(bus)("orders", {"id": order})

    return system


OUTAGE = Schedule([NetworkPartition(Site("till.on_order/bank.charge"), lasting="long")])


def found(system, schedule):
    return [*idempotent().findings(system.run(None, schedule).evidence())]


def test_an_outage_that_outlasts_the_tries_has_used_them_up():
    system = till(lease_s=RETRY_S + 15)
    run = system.run(None, OUTAGE)
    assert any(run.history.of("dead"))
    assert found(system, OUTAGE) == []


@pytest.mark.parametrize("fault", [ErrorReply(Site("till.on_order/bank.charge"))])
def test_a_lease_that_outlasts_the_tries_is_the_codes_own(fault):
    system = till(lease_s=3_600)
    [one] = found(system, Schedule([fault]))
    assert one.kind == "put aside"


def test_a_search_tells_them_apart():
    assert explore(till(lease_s=RETRY_S + 15), faults_max=1).result != "violated"
    assert explore(till(lease_s=3_600), faults_max=1).result == "violated"


def test_a_store_that_could_not_be_reached_at_each_try_has_used_them_up():
    """A client that is not connected asks nothing: the history has its errors alone."""
    system = System("visits")
    queues = {"visits": Queue("quorum", dead_letter="dead", delivery_limit=5), "dead": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    system.add(RedisStore("cache", url="redis://cache.internal"))

    @system.service("visits")
    def visits(env):
        cache = redis.Redis("cache.internal")
        env.consume(bus, "visits", lambda visit: cache.sadd("visits", visit["id"]))

    @system.entry(examples=[{"id": "v1"}])
    def visit(env, one):
        env.publisher(bus)("visits", one)

    outage = Schedule([StoreOutage(Site("visits.<lambda>/cache.sadd"), lasting=1_800_000)])
    run = system.run(None, outage)
    assert not run.unused
    assert any(run.history.of("dead"))
    assert found(system, outage) == []
