"""A paid order becomes a parcel: ids that go with the events, and events that say enough.

chaosharness run models.rabbit.parcels:parcels
"""

from __future__ import annotations

from typing import Any, Literal

from chaosharness import (
    Delivery,
    Env,
    Gateway,
    KeyValue,
    Queue,
    RabbitMQ,
    System,
    events_say_enough,
    ids_travel,
)

ORDERS = [{"order": "o1", "cents": 500, "street": "High Street 1"},
          {"order": "o2", "cents": 700, "street": "Low Road 2"}]  # fmt: skip
POLICY: dict[str, Any] = {"prefetch": 10, "on_unreadable": "dead-letter"}
Keeps = Literal["in a variable", "in the service", "not at all"]


def parcels() -> System:
    """The right one: each event has the id of its request, and what its readers need."""
    return _system("parcels", "in a variable", says_enough=True)


def forgets_the_request() -> System:
    """Payments publishes without the id of the request: nobody finds the parcel's order again."""
    return _system("parcels-nameless", "not at all", says_enough=True)


def remembers_one_request() -> System:
    """Payments keeps the id of the request in one place for all: two at once, and they mix."""
    return _system("parcels-mixed", "in the service", says_enough=True)


def asks_back() -> System:
    """The event says that an order is paid, and not where it goes: parcels asks payments."""
    return _system("parcels-thin", "in a variable", says_enough=False)


def _system(name: str, keeps: Keeps, *, says_enough: bool) -> System:
    system = System(name, arrival_ms=1_000)
    queue = Queue("quorum", dead_letter="parked", delivery_limit=20)
    bus = system.add(RabbitMQ("bus", {"orders": queue, "paid": queue, "parked": Queue()}))
    bank = system.add(Gateway("bank"))
    office = system.add(KeyValue("office"))
    depot = system.add(KeyValue("depot"))

    @system.service("payments", runtime="asyncio")
    def payments(env: Env) -> None:
        client, publish, orders = env.client(bank), env.publisher(bus), env.connect(office)
        request = {"id": ""}

        async def on_order(order: dict[str, Any], delivery: Delivery) -> None:
            mine = request["id"] = delivery.headers["correlation_id"]
            await orders.put(order["order"], order)
            await client.charge(order["order"], order["cents"], key=order["order"])
            paid = order if says_enough else {"order": order["order"]}
            sent = {"in a variable": mine, "in the service": request["id"], "not at all": None}
            ids = {} if sent[keeps] is None else {"correlation_id": sent[keeps]}
            await publish("paid", paid, headers=ids)

        async def street_of(order: str) -> str:
            return str((await orders.get(order))["street"])

        env.consume(bus, "orders", on_order, **POLICY)
        env.serve("street_of", street_of)

    @system.service("parcels", runtime="asyncio")
    def shipping(env: Env) -> None:
        labels = env.connect(depot)

        async def on_paid(paid: dict[str, Any]) -> None:
            street = paid.get("street")
            if street is None:
                street = await env.call("payments", "street_of", paid["order"], read_as=str)
            await labels.put(paid["order"], street)

        env.consume(bus, "paid", on_paid, **POLICY)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        ids = {"correlation_id": f"request-{order['order']}"}
        env.publisher(bus)("orders", order, headers=ids)

    system.claim(ids_travel(), events_say_enough())
    return system
