"""Events of any broker are written and read as their versions say; and what becomes of others."""

import asyncio
from typing import Any

import attrs
import pytest
from pydantic import BaseModel

from chaosharness import (
    NATS,
    SQS,
    Avro,
    Gateway,
    JsonSchema,
    Kafka,
    NewEvent,
    OldEvent,
    Poison,
    RabbitMQ,
    Redeploy,
    Redis,
    Registry,
    Schedule,
    Site,
    System,
    every_event_is_readable,
    no_money_dropped,
)
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.search.sites import candidates
from tests.schemas.messages import message


@attrs.frozen
class Order:
    id: str
    cents: int


@attrs.frozen
class OrderV2:
    id: str
    cents: int
    tip_cents: int = 0


class Model(BaseModel):
    id: str
    cents: int


class ModelV2(Model):
    tip_cents: int = 0


def avro(*names, **defaults):
    fields: list[dict[str, Any]] = [{"name": "id", "type": "string"}]
    fields += [{"name": name, "type": "long"} for name in names]
    fields += [{"name": name, "type": "long", "default": it} for name, it in defaults.items()]
    return Avro({"type": "record", "name": "Order", "fields": fields})


def closed(*names, **defaults):
    numbers = {name: {"type": "integer"} for name in names}
    numbers |= {name: {"type": "integer", "default": it} for name, it in defaults.items()}
    properties = {"id": {"type": "string"}, **numbers}
    return JsonSchema(
        {"type": "object", "properties": properties, "required": ["id", *names]}
        | {"additionalProperties": False}
    )


PROTO = message(["1 optional string id", "2 optional int64 cents"])
PROTO_V2 = message(["1 optional string id", "2 optional int64 cents", "3 optional int64 tip_cents"])
VERSIONS = {
    "attrs": [Order, OrderV2],
    "pydantic": [Model, ModelV2],
    "Avro": [avro("cents"), avro("cents", tip_cents=0)],
    "JSON Schema": [closed("cents"), closed("cents", tip_cents=0)],
    "Protobuf": [PROTO, PROTO_V2],
}
BROKERS = {
    "Kafka": lambda: Kafka("bus", {"orders": 1}),
    "RabbitMQ": lambda: RabbitMQ("bus", ["orders"]),
    "SQS": lambda: SQS("bus", ["orders"]),
    "NATS": lambda: NATS("bus", streams=["orders"]),
    "Redis": lambda: Redis("bus", streams=["orders"]),
}
ITEM = {"id": "o1", "cents": 500, "tip_cents": 50}


def shop(broker="Kafka", versions="attrs", *, mode="BACKWARD", read=2, write=2, handler=None):
    """Return a system that publishes one order and notes what a consumer reads."""
    system = System("shop")
    bus = system.add(BROKERS[broker]())
    registry = Registry("schemas", {"orders": VERSIONS[versions]}, compatibility=mode)
    schemas = system.add(registry)

    @system.service("reader")
    def reader(env):
        def on_order(order):
            value = registry.subjects["orders"][read - 1].schema.plain(order)
            env.note("read", **value)

        env.consume(bus, "orders", handler or on_order, schemas=schemas.at(orders=read))

    @system.entry(examples=[ITEM])
    def place(env, order):
        env.publisher(bus, schemas=schemas.at(orders=write))("orders", order)

    return system


def noted(run):
    return [{name: v for name, v in one.data.items() if name != "what"}
            for one in run.history.of("note")]  # fmt: skip


@pytest.mark.parametrize("versions", VERSIONS)
@pytest.mark.parametrize("broker", BROKERS)
def test_an_event_gets_through_each_broker_in_each_format(broker, versions):
    run = shop(broker, versions).run()
    assert noted(run) == [ITEM]
    [stored] = [one.data["value"] for one in run.history.of("publish")]
    assert b'"tip_cents":50' in stored  # a history shows what it says, not its bytes
    assert not list(run.history.of("resolve"))


@pytest.mark.parametrize("versions", [one for one in VERSIONS if one != "JSON Schema"])
@pytest.mark.parametrize("broker", BROKERS)
def test_an_old_consumer_reads_a_new_event_without_what_it_does_not_know(broker, versions):
    run = shop(broker, versions, read=1).run()
    assert noted(run) == [{"id": "o1", "cents": 500}]
    [seen] = run.history.of("resolve")
    assert seen.data["dropped"] == {"tip_cents": 50}
    assert (seen.data["from"], seen.data["as"]) == (2, 1)
    assert not seen.operation.startswith("client")


@pytest.mark.parametrize("versions", VERSIONS)
def test_an_old_event_is_what_an_old_producer_would_have_written(versions):
    fault = OldEvent(Site("client.place/schemas.write orders"))
    system = shop("Kafka", versions, mode="NONE")
    if versions == "JSON Schema":  # a closed model: it would refuse the tip, and is not recast
        assert system.run(None, Schedule([fault])).unused == (fault,)
        return
    run = system.run(None, Schedule([fault]))
    filled = {} if versions == "Protobuf" else {"tip_cents": 0}
    assert noted(run) == [{"id": "o1", "cents": 500, **filled}]
    assert run.unused == ()


@pytest.mark.parametrize("versions", ["attrs", "Avro", "JSON Schema"])
def test_a_new_event_meets_who_is_not_upgraded(versions):
    fault = NewEvent(Site("client.place/schemas.write orders"))
    system = shop("Kafka", versions, mode="NONE", read=1, write=1)
    system.examples = ({"id": "o1", "cents": 500},)
    run = system.run(None, Schedule([fault]))
    [written, *read] = run.history.of("resolve")
    assert (written.data["from"], written.data["as"], written.data["what"]) == (1, 2, "written")
    assert {one.data["from"] for one in read} == {2}
    if versions == "JSON Schema":
        with pytest.raises(AssertionError, match="its version 1 cannot read"):
            run.check(every_event_is_readable())
    else:
        run.check(every_event_is_readable())


@pytest.mark.parametrize(
    ("mode", "write", "legal"),
    [
        ("BACKWARD", 2, {OldEvent}),
        ("BACKWARD", 1, set()),
        ("FORWARD", 2, set()),
        ("FORWARD", 1, {NewEvent}),
        ("FULL_TRANSITIVE", 2, {OldEvent}),
        ("FULL", 1, {NewEvent}),
        ("NONE", 1, {NewEvent}),
    ],
)
def test_who_may_be_upgraded_first_decides_which_events_are_drawn(mode, write, legal):
    """Confluent: BACKWARD, consumers first; FORWARD, producers first; FULL and NONE, any order."""
    system = shop(mode=mode, write=write)
    run = system.run()
    drawn = {type(one) for one in candidates(run)} & {OldEvent, NewEvent}
    assert drawn == legal


def test_an_annotation_chooses_the_version_and_the_shape():
    seen: list[Any] = []

    def on_class(order: Order) -> None:
        seen.append(order)

    def on_dict(order: dict) -> None:
        seen.append(order)

    async def on_model(order: Model) -> None:
        await asyncio.sleep(0)
        seen.append(order)

    shop(handler=on_class).run()
    shop(handler=on_dict).run()
    shop(versions="Avro", handler=on_class).run()
    shop(versions="JSON Schema", handler=on_model).run()
    assert seen == [Order("o1", 500), ITEM, Order("o1", 500), Model(id="o1", cents=500)]


def test_an_instance_is_written_as_its_own_version():
    system = shop()
    system.examples = (Order("o1", 500),)
    assert noted(system.run()) == [{"id": "o1", "cents": 500, "tip_cents": 0}]


def test_other_topics_and_tombstones_pass_as_they_are():
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1, "others": 1}))
    schemas = system.add(Registry("schemas", {"orders": [Order]}))

    @system.service("reader")
    def reader(env):
        env.consume(bus, "others", lambda value: env.note("other", value=value))
        env.consume(bus, "orders", lambda value: env.note("order", value=value), schemas=schemas)

    @system.entry(examples=[1])
    def place(env, number):
        publish = env.publisher(bus, schemas=schemas)
        publish("others", {"n": number}, key="a")
        publish("orders", None, key="a")

    notes = [one.data for one in system.run().history.of("note")]
    assert notes == [{"what": "other", "value": {"n": 1}}, {"what": "order", "value": None}]


def test_a_loop_reads_with_schemas_as_well():
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1}))
    schemas = system.add(Registry("schemas", {"orders": [Order, OrderV2]}))

    @system.service("reader")
    def reader(env):
        consumer = env.consumer(bus, "orders", schemas=schemas.at(orders=1))

        def loop():
            while True:
                for one in consumer.poll():
                    env.note("read", **attrs.asdict(one.value))
                consumer.commit()

        env.main(loop)

    @system.entry(examples=[ITEM])
    def place(env, order):
        env.publisher(bus, schemas=schemas)("orders", order)

    run = system.run()
    assert noted(run) == [{"id": "o1", "cents": 500}]
    assert [one.data["dropped"] for one in run.history.of("resolve")] == [{"tip_cents": 50}]


def test_poison_is_no_event_of_any_version():
    run = shop().run(None, Schedule([Poison(Site("client.place/bus.publish orders"))]))
    errors = {one.data["error"] for one in run.history.of("raised")}
    words = "the payload was not written with a schema of schemas, which has those of: "
    [error] = errors
    assert error.startswith(f"UnreadableEvent: {words}")


def test_a_registry_must_be_a_part_of_the_system():
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1}))
    schemas = Registry("schemas", {"orders": [Order]})

    @system.service("reader")
    def reader(env):
        env.consume(bus, "orders", print, schemas=schemas)

    @system.entry(examples=[ITEM])
    def place(env, order):
        env.publisher(bus)("orders", order)

    with pytest.raises(InvalidDefinition, match="the Registry 'schemas' is no part of system"):
        system.run()


def test_a_field_that_no_version_has_is_left_out_and_that_is_a_question():
    system = shop(versions="Avro", write=1, read=1)
    run = system.run()
    [left] = run.history.of("resolve")
    assert left.data["what"] == "written"
    [finding] = no_money_dropped().findings(run.evidence())
    assert finding.question
    assert "tip_cents=50" in finding.summary


# ---- replaced in mid-flight


def tills(**service):
    system = System("tills")
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(Gateway("bank"))

    def build(version):
        def till(env):
            client = env.client(bank)

            def on_order(order: dict):
                env.note("handled", version=version)
                client.charge(order["id"], order["cents"], key=order["id"])

            env.consume(bus, "orders", on_order)

        return till

    system.service("till", previous=build(1), **service)(build(2))

    @system.entry(examples=[{"id": "o1", "cents": 500}, {"id": "o2", "cents": 700}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_a_replica_is_replaced_in_front_of_its_handler_and_back_again():
    first = Redeploy(Site("till.on_order/handle"))
    run = tills().run(None, Schedule([first]))
    assert [one.data["version"] for one in run.history.of("note")] == [1, 1]
    assert run.unused == ()
    calm = next(run.history.of("phase")).index
    again = [one for one in run.history.of("start") if one.index > calm]
    assert [one.actor for one in again] == ["till#1/3"]  # the calm has the version of today
    second = Redeploy(Site("till.on_order/handle", entity=2))
    run = tills().run(None, Schedule([first, second]))
    assert [one.data["version"] for one in run.history.of("note")] == [1, 2]


def test_a_crash_of_the_version_before_is_followed_by_that_of_today():
    from chaosharness import Crash

    first = Redeploy(Site("till.on_order/handle"))
    crash = Crash(Site("till.on_order/bank.charge", "after"))
    run = tills().run(None, Schedule([first, crash]))
    assert [one.data["version"] for one in run.history.of("note")][:2] == [1, 2]
    assert run.unused == ()


def test_who_has_one_version_is_never_replaced():
    site = Site("reader.on_order/handle")
    with pytest.raises(IllegalFault, match="can never happen"):
        shop().run(None, Schedule([Redeploy(site)]))
