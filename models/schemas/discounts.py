"""Orders get a discount: a field of money that an old consumer does not know.

chaosharness run models.schemas.discounts:net
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from chaosharness import Avro, Env, Gateway, Kafka, Registry, System

ASIDE: dict[str, Any] = {
    "on_error": "dead-letter",
    "retries_max": 20,
    "on_unreadable": "dead-letter",
}
ORDERS = [{"order": "o1", "cents": 500, "discount_cents": 100}]


@attrs.frozen
class Order:
    """An order before there were discounts."""

    order: str
    cents: int


@attrs.frozen
class OrderWithDiscount:
    """An order as it is now: what is to be paid is `cents` less `discount_cents`."""

    order: str
    cents: int
    discount_cents: int = 0


@attrs.frozen
class OrderWithListPrice:
    """An order as it is now: what is to be paid is `cents`; what it was before is told beside."""

    order: str
    cents: int
    list_price_cents: int = 0


Build = Callable[[Env], None]


def net() -> System:
    """The right one: `cents` means what it meant, so that old consumers take the right amount."""
    system, bus, bank, schemas = _shop("net", OrderWithListPrice)

    def charging(kind: type) -> Build:
        def payments(env: Env) -> None:
            client = env.client(bank)

            def on_order(order: Any) -> None:
                client.charge(order.order, order.cents, key=order.order)

            env.consume(bus, "orders", on_order, read_as=kind, schemas=schemas, **ASIDE)

        return payments

    system.service("payments", previous=charging(Order))(charging(OrderWithListPrice))

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        cents = order["cents"] - order["discount_cents"]
        event = OrderWithListPrice(order["order"], cents, order["cents"])
        env.publisher(bus, schemas=schemas)("orders", event, key=order["order"])

    return system


def discount_of_its_own() -> System:
    """The discount stands beside: a payments service that is not upgraded yet takes all of it.

    Each registry says that the new version is compatible in full, and so it is.
    """
    return _gross("gross", upgraded=True)


def never_upgraded() -> System:
    """The same, and payments is of the old version for good: what it does not know is not said."""
    return _gross("gross-for-good", upgraded=False)


def _gross(name: str, *, upgraded: bool) -> System:
    system, bus, bank, schemas = _shop(name, OrderWithDiscount)

    def old(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: Order) -> None:
            client.charge(order.order, order.cents, key=order.order)

        env.consume(bus, "orders", on_order, schemas=schemas, **ASIDE)

    def new(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: OrderWithDiscount) -> None:
            client.charge(order.order, order.cents - order.discount_cents, key=order.order)

        env.consume(bus, "orders", on_order, schemas=schemas, **ASIDE)

    system.service("payments", previous=old if upgraded else None)(new if upgraded else old)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus, schemas=schemas)(
            "orders", OrderWithDiscount(**order), key=order["order"]
        )

    return system


def _shop(name: str, latest: type) -> tuple[System, Kafka, Gateway, Registry]:
    system = System(name)
    bus = system.add(Kafka("bus", {"orders": 1}))
    bank = system.add(Gateway("bank"))
    versions = {"orders": [Order, latest]}
    return system, bus, bank, system.add(Registry("schemas", versions, compatibility="FULL"))


PRICED = {"name": "order", "type": "string"}, {"name": "cents", "type": "long"}
DISCOUNT = {"name": "discount_cents", "type": "long", "default": 0}


def _record(*fields: Any) -> Avro:
    return Avro({"type": "record", "name": "Order", "fields": [*fields]})


def passes_on() -> System:
    """Another right one: who only passes an order on hands on the bytes, whatever is in them."""
    return _relayed("passes-on", whole=True)


def reads_and_writes() -> System:
    """Pricing reads an order and writes it again: of the old version, it empties the discount."""
    return _relayed("reads-and-writes", whole=False)


def _relayed(name: str, *, whole: bool) -> System:
    system = System(name)
    bus = system.add(Kafka("bus", {"orders": 1, "priced": 1}))
    bank = system.add(Gateway("bank"))
    old, new = _record(*PRICED), _record(*PRICED, DISCOUNT)
    subjects = {"orders": [old, new], "priced": [new]}
    schemas = system.add(Registry("schemas", subjects, compatibility="FULL"))

    def pricing(version: int) -> Build:
        def build(env: Env) -> None:
            as_it_is = env.publisher(bus)
            publish = env.publisher(bus, schemas=schemas)

            def on_bytes(order: bytes) -> None:
                as_it_is("priced", order)

            def on_order(order: dict[str, Any]) -> None:
                publish("priced", order, key=order["order"])

            if whole:
                env.consume(bus, "orders", on_bytes, **ASIDE)
            else:
                env.consume(bus, "orders", on_order, schemas=schemas.at(orders=version), **ASIDE)

        return build

    system.service("pricing", previous=pricing(1))(pricing(2))

    @system.service("payments")
    def payments(env: Env) -> None:
        client = env.client(bank)

        def on_priced(order: dict[str, Any]) -> None:
            cents = order["cents"] - order["discount_cents"]
            client.charge(order["order"], cents, key=order["order"])

        env.consume(bus, "priced", on_priced, schemas=schemas, **ASIDE)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus, schemas=schemas)("orders", order, key=order["order"])

    return system
