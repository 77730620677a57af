"""A field gets another name, another type: what the other side's version makes of it.

chaosharness run models.schemas.renames:alias
"""

from __future__ import annotations

from typing import Any

from chaosharness import Avro, Env, Gateway, Kafka, Registry, System

ASIDE: dict[str, Any] = {
    "on_error": "dead-letter",
    "retries_max": 20,
    "on_unreadable": "dead-letter",
}
ORDERS = [{"order": "o1", "cents": 500}]
NAME = {"name": "order", "type": "string"}


def _record(*fields: Any) -> Avro:
    return Avro({"type": "record", "name": "Order", "fields": [NAME, *fields]})


CENTS = {"name": "cents", "type": "int"}
AMOUNT = {"name": "amount_cents", "type": "int"}
ALIAS = {**AMOUNT, "aliases": ["cents"]}
OPTIONAL = {**AMOUNT, "default": 0}
LARGE = {"name": "large_cents", "type": "long", "default": 0}
LONG = {"name": "cents", "type": "long"}


def alias() -> System:
    """The right one: the new name has the old one for an alias, and old orders are read by it."""
    return _upgraded("alias", [_record(CENTS), _record(ALIAS)], "BACKWARD")


def default_for_a_rename() -> System:
    """The new name has a default: an order of a producer with the old name costs nothing.

    The registry lets it pass: who reads an old order finds a default for what it does not have.
    """
    return _upgraded("default", [_record(CENTS), _record(OPTIONAL)], "BACKWARD")


def _upgraded(name: str, versions: list[Avro], compatibility: str) -> System:
    """Return a shop whose consumer has the new name, and a producer that may not have it yet."""
    system = System(name)
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(Gateway("bank"))
    schemas = system.add(Registry("schemas", {"orders": versions}, compatibility=compatibility))

    @system.service("payments")
    def payments(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: dict[str, Any]) -> None:
            client.charge(order["order"], order["amount_cents"], key=order["order"])

        env.consume(bus, "orders", on_order, schemas=schemas, **ASIDE)

    def desk(version: int) -> Any:
        def build(env: Env) -> None:
            publish = env.publisher(bus, schemas=schemas.at(orders=version))

            def on_call(order: dict[str, Any]) -> None:
                cents = {"cents" if version == 1 else "amount_cents": order["cents"]}
                publish("orders", {"order": order["order"], **cents}, key=order["order"])

            env.serve("order", on_call)

        return build

    system.service("desk", previous=desk(1))(desk(2))

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.call("desk", "order", order)

    return system


def narrow() -> System:
    """The right one: amounts stay what they are, and the larger ones have a field of their own."""
    return _producer_first("narrow", [_record(CENTS), _record(CENTS, LARGE)])


def widened() -> System:
    """An amount is widened, unchecked, and producers go first: no old consumer reads it."""
    return _producer_first("widened", [_record(CENTS), _record(LONG)])


def _producer_first(name: str, versions: list[Avro]) -> System:
    """Return a shop of the old version throughout, whose producers may be upgraded first."""
    system = System(name)
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(Gateway("bank"))
    registry = Registry("schemas", {"orders": versions}, compatibility="NONE")
    schemas = system.add(registry).at(orders=1)

    @system.service("payments")
    def payments(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: dict[str, Any]) -> None:
            client.charge(order["order"], order["cents"], key=order["order"])

        env.consume(bus, "orders", on_order, schemas=schemas, **ASIDE)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus, schemas=schemas)("orders", order, key=order["order"])

    return system
