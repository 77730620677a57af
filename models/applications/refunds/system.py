"""The world around the worker: a cluster, a bank, and books that wait for what was refunded.

chaosharness run models.applications.refunds.system:refunds
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness import Env, External, Gateway, Kafka, KafkaServers, System, Web
from models.applications.refunds import slips, worker

CLAIMS = [{"id": "c1", "cents": 500}, {"id": "c2", "cents": 900}]


class Books:
    """Enters a refund once, however often it is told."""

    def __init__(self) -> None:
        self.entered: set[str] = set()

    def enter(self, claim: str) -> Any:
        if claim in self.entered:
            return External.unchanged(claim)
        self.entered.add(claim)
        return claim


def refunds() -> System:
    """The right one."""
    return _system("refunds", worker.run)


def closes_behind_an_error() -> System:
    """Loses a claim that failed once."""
    return _system("closes-behind-an-error", slips.closes_behind_an_error)


def commits_the_batch() -> System:
    """Loses a claim that came together with another."""
    return _system("commits-the-batch", slips.commits_the_batch)


def not_waited_for() -> System:
    """Loses an event that was never sent."""
    return _system("not-waited-for", slips.not_waited_for)


def keyless() -> System:
    """Refunds twice."""
    return _system("keyless", slips.keyless)


def _system(name: str, run: Callable[[], None]) -> System:
    system = System(name, arrival_ms=0)
    bus = system.add(Kafka("bus", {"claims": 1, "refunded": 1}))
    bank = system.add(Gateway("bank"))
    books = system.add(External("books", Books))
    system.add(KafkaServers(worker.SERVERS[0], bus))
    system.add(Web("api.bank.example", bank, routes={"POST /refunds": "charge"}))

    @system.service("refunds", replicas=2)
    def service(env: Env) -> None:
        env.main(run)

    @system.service("accounting")
    def accounting(env: Env) -> None:
        enter = env.client(books).enter

        def on_refunded(claim: dict[str, Any]) -> None:
            if "id" in claim:
                enter(claim["id"])

        env.consume(bus, "refunded", on_refunded, on_unreadable="skip")

    @system.entry(examples=CLAIMS)
    def desk(env: Env, claim: dict[str, Any]) -> None:
        env.publisher(bus)("claims", claim, key=claim["id"])

    return system
