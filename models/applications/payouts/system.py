"""The world around the worker: a cluster, a bank, and books that wait for what was paid out.

chaosharness run models.applications.payouts.system:payouts
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chaosharness import Env, External, Gateway, Kafka, KafkaServers, System, Web
from models.applications.payouts import slips, worker

REQUESTS = [{"id": "p1", "cents": 500}, {"id": "p2", "cents": 900}]


class Books:
    """Enters a payout once, however often it is told."""

    def __init__(self) -> None:
        self.entered: set[str] = set()

    def enter(self, payout: str) -> Any:
        if payout in self.entered:
            return External.unchanged(payout)
        self.entered.add(payout)
        return payout


def payouts() -> System:
    """The right one."""
    return _system("payouts", worker.run)


def commits_by_itself() -> System:
    """Loses a request that was committed before it was paid out."""
    return _system("commits-by-itself", slips.commits_by_itself)


def not_waited_for() -> System:
    """Loses an event that was never sent."""
    return _system("not-waited-for", slips.not_waited_for)


def keyless() -> System:
    """Pays out twice."""
    return _system("keyless", slips.keyless)


def passes_what_failed() -> System:
    """Never pays out a request that failed once."""
    return _system("passes-what-failed", slips.passes_what_failed)


def _system(name: str, run: Callable[[], Awaitable[None]]) -> System:
    system = System(name)
    bus = system.add(Kafka("bus", {"requests": 2, "paid-out": 2}, assignment="round-robin"))
    bank = system.add(Gateway("bank"))
    books = system.add(External("books", Books))
    system.add(KafkaServers(worker.SERVERS, bus))
    system.add(Web("api.bank.example", bank, routes={"POST /transfers": "charge"}))

    @system.service("payouts", replicas=2)
    def service(env: Env) -> None:
        env.main(run)

    @system.service("accounting")
    def accounting(env: Env) -> None:
        enter = env.client(books).enter

        def on_paid_out(request: dict[str, Any]) -> None:
            if "id" in request:
                enter(request["id"])

        env.consume(bus, "paid-out", on_paid_out, on_unreadable="skip")

    @system.entry(examples=REQUESTS)
    def desk(env: Env, request: dict[str, Any]) -> None:
        env.publisher(bus)("requests", request, key=request["id"])

    return system
