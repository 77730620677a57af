"""A port is used by the incarnation that it was made for, in its run, and by nobody else."""

import pytest

from chaosharness import (
    Crash,
    External,
    Gateway,
    Kafka,
    KeyValue,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    System,
)
from chaosharness.errors import InvalidDefinition


class Bank:
    def charge(self, order):
        return order


def env_publisher(env, parts):
    return lambda order, *_: env.publisher(parts["kafka"])("done", order)


def publisher(part):
    def make(env, parts):
        publish = env.publisher(parts[part])
        return lambda order, *_: publish("done", order)

    return make


def consumer(part, use, **options):
    def make(env, parts):
        one = env.consumer(parts[part], "done", **options)
        return lambda order, *_: use(one)

    return make


def connection(part, use):
    def make(env, parts):
        one = env.connect(parts[part])
        return lambda order, *_: use(one, order)

    return make


PORTS = {
    "client of a gateway": lambda env, parts: env.client(parts["gateway"]).charge,
    "client": lambda env, parts: env.client(parts["bank"]).charge,
    "publisher": env_publisher,
    "rabbit publisher": publisher("rabbit"),
    "kafka publisher": publisher("kafka"),
    "now_ms": lambda env, parts: lambda order, *_: env.now_ms(),
    "note": lambda env, parts: lambda order, *_: env.note("here"),
    "sleep": lambda env, parts: lambda order, *_: env.sleep(1),
    "call": lambda env, parts: lambda order, *_: env.call("other", "ask", order),
    "consumer": consumer("kafka", lambda one: one.poll(1, 1.0), group="late"),
    "commit": consumer("kafka", lambda one: one.commit(), group="late"),
    "rabbit consumer": consumer("rabbit", lambda one: one.receive(1.0)),
    "key-value": connection("kv", lambda one, order: one.put(order, 1)),
    "sqlite": connection("db", lambda one, order: one.execute("SELECT 1")),
}


INCARNATIONS = ("now_ms", "note", "sleep", "call", "key-value", "sqlite", "publisher")
"""Ports that also know for which incarnation they were made."""


def shop(make):
    """Keep a port in a variable outside of the service, and use it for ever after."""
    system = System("shop")
    parts = {
        "kafka": Kafka("kafka", topics={"orders": 1, "done": 1}),
        "rabbit": RabbitMQ("rabbit", queues=["done"]),
        "gateway": Gateway("gateway"),
        "bank": External("bank", Bank),
        "kv": KeyValue("kv"),
        "db": SQLite("db"),
    }
    for part in parts.values():
        system.add(part)
    kept = []

    @system.service("pay")
    def pay(env):
        if not kept:
            kept.append(make(env, parts))

        def on_order(order: dict):
            kept[0](order["id"], 500)

        env.consume(parts["kafka"], "orders", on_order, on_error="dead-letter")

    @system.service("other")
    def other(env):
        env.serve("ask", lambda value: value)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(parts["kafka"])("orders", order)

    return system


@pytest.mark.parametrize("port", PORTS)
def test_a_port_of_an_earlier_run_refuses(port):
    system = shop(PORTS[port])
    assert system.run().ending.verdict == "quiet"
    with pytest.raises(InvalidDefinition, match=r"pay#1 uses .* made for an earlier run\. It is"):
        system.run()


@pytest.mark.parametrize("port", INCARNATIONS)
def test_a_port_of_an_earlier_incarnation_refuses(port):
    crash = Schedule([Crash(Site("pay.on_order/handle"))])
    with pytest.raises(InvalidDefinition, match=r"pay#1/2 uses .* made for pay#1, before it crash"):
        shop(PORTS[port]).run(None, crash)
