"""The world around the worker: a cluster, a bank, and a shipper who waits for what was paid.

chaosharness run models.applications.billing.system:billing
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness import Env, External, Gateway, Kafka, KafkaServers, System, Web
from models.applications.billing import slips, worker

ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 900}]


class Shipper:
    """Ships an order once, however often it is told."""

    def __init__(self) -> None:
        self.shipped: set[str] = set()

    def ship(self, order: str) -> Any:
        if order in self.shipped:
            return External.unchanged(order)
        self.shipped.add(order)
        return order


def billing() -> System:
    """The right one."""
    return _system("billing", worker.run)


def commits_by_itself() -> System:
    """Loses an order that was committed before it was charged."""
    return _system("commits-by-itself", slips.commits_by_itself)


def never_flushed() -> System:
    """Loses an event that was never sent."""
    return _system("never-flushed", slips.never_flushed)


def keyless() -> System:
    """Charges twice."""
    return _system("keyless", slips.keyless)


def skips_what_fails() -> System:
    """Never charges an order that failed once."""
    return _system("skips-what-fails", slips.skips_what_fails)


def _system(name: str, run: Callable[[], None]) -> System:
    system = System(name)
    bus = system.add(Kafka("bus", {"orders": 2, "paid": 2}))
    bank = system.add(Gateway("bank"))
    shipper = system.add(External("shipper", Shipper))
    system.add(KafkaServers(worker.SERVERS, bus))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))

    @system.service("billing", replicas=2)
    def service(env: Env) -> None:
        env.main(run)

    @system.service("shipping")
    def shipping(env: Env) -> None:
        ship = env.client(shipper).ship

        def on_paid(order: dict[str, Any]) -> None:
            if "id" in order:
                ship(order["id"])

        env.consume(bus, "paid", on_paid, on_unreadable="skip")

    @system.entry(examples=ORDERS)
    def shop(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    return system
