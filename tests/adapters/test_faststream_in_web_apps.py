"""A broker of FastStream that a module holds, and the lifespan of a web application starts."""

import time

import httpx
import pytest

from chaosharness import (
    AMQP,
    Crash,
    ErrorReply,
    Gateway,
    Kafka,
    KafkaServers,
    LostReply,
    RabbitMQ,
    Schedule,
    Site,
    System,
    Web,
)
from chaosharness.errors import PropertyViolated
from tests.adapters import faststream_web_apps as apps


def shop(application, bus, speaks, *, replicas=2):
    system = System("shop")
    system.add(bus)
    system.add(speaks(bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    site = system.add(Web("shop.example"))
    system.service("billing", replicas=replicas)(lambda env: env.app(site, application))

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        while True:
            try:
                url = "https://shop.example/orders"
                httpx.post(url, json=order, timeout=10).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(1)

    return system


def on_rabbit(application):
    bus = RabbitMQ("bus", queues=["orders", "paid"])
    return shop(application, bus, lambda bus: AMQP("rabbit:5672", bus))


def on_kafka(application):
    options = {"assignment": "round-robin", "session_timeout_ms": 10_000}
    bus = Kafka("bus", {"orders": 2, "paid": 2}, **options)
    return shop(application, bus, lambda bus: KafkaServers("kafka:9092", bus))


SYSTEMS = {
    "rabbit": lambda: on_rabbit(apps.rabbit_app),
    "careless_rabbit": lambda: on_rabbit(apps.careless_rabbit_app),
    "kafka": lambda: on_kafka(apps.kafka_app),
    "careless_kafka": lambda: on_kafka(apps.careless_kafka_app),
    "router": lambda: on_rabbit(apps.router_app),
    "keyless_router": lambda: on_rabbit(apps.keyless_router_app),
}


def after(system, fault, place):
    """Return what a system did where a fault struck a call of the bank, wherever that is made."""
    run = system.run(None, Schedule([fault(Site(f"billing.{place}/bank.charge", *AT[fault]))]))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    return run


AT = {ErrorReply: (), LostReply: ("after",), Crash: ("after",)}


def paid(run):
    told = [one for one in run.history.of("publish") if one.operation.endswith("bus.publish paid")]
    return {one.entity for one in told}


@pytest.mark.parametrize(
    ("name", "place"),
    [("rabbit", "on_order"), ("kafka", "lifespan"), ("router", "on_routed")],
)
def test_its_broker_is_a_new_one_in_each_run_and_after_each_crash(name, place):
    system = SYSTEMS[name]()
    first = system.run()
    assert (first.ending.verdict, paid(first)) == ("quiet", {1, 2})
    for fault in (ErrorReply, Crash):
        run = after(system, fault, place)
        assert paid(run) == {1, 2}
        run.check()
    assert system.run().digest() == first.digest()


@pytest.mark.parametrize(
    ("name", "place"),
    [("careless_rabbit", "on_order_carelessly"), ("careless_kafka", "lifespan")],
)
def test_an_order_that_failed_is_lost_by_default(name, place):
    assert len(paid(after(SYSTEMS[name](), ErrorReply, place))) == 1


def test_an_order_that_comes_again_is_charged_again_without_a_key():
    after(SYSTEMS["router"](), LostReply, "on_routed").check()
    with pytest.raises(PropertyViolated, match=r"bank did charge.* twice"):
        after(SYSTEMS["keyless_router"](), LostReply, "on_routed_keyless").check()


def test_what_a_lifespan_adds_to_an_application_is_there_once():
    """FastStream's router enters its pages, and their lifespans, at each start."""
    routes, lifespan = [*apps.router_app.routes], apps.router_app.router.lifespan_context
    system = SYSTEMS["router"]()
    for _ in range(3):
        system.run()
    assert apps.router_app.routes == routes
    assert apps.router_app.router.lifespan_context is lifespan
    assert apps.router.broker.running is False
