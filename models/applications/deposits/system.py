"""The world around the worker: two queues, a bank, and books that wait for what was paid in.

chaosharness run models.applications.deposits.system:deposits
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness import AWS, SQS, Env, External, Gateway, System, Web
from models.applications.deposits import slips, worker

DEPOSITS = [{"id": "d1", "cents": 500}, {"id": "d2", "cents": 900}]


class Books:
    """Enters a deposit once, however often it is told."""

    def __init__(self) -> None:
        self.entered: set[str] = set()

    def enter(self, deposit: str) -> Any:
        if deposit in self.entered:
            return External.unchanged(deposit)
        self.entered.add(deposit)
        return deposit


def deposits() -> System:
    """The right one."""
    return _system("deposits", worker.run)


def deletes_first() -> System:
    """Loses a deposit with its process."""
    return _system("deletes-first", slips.deletes_first)


def deletes_what_failed() -> System:
    """Loses a deposit that failed once."""
    return _system("deletes-what-failed", slips.deletes_what_failed)


def keyless() -> System:
    """Charges twice."""
    return _system("keyless", slips.keyless)


def entries_unread() -> System:
    """Loses an event that SQS did not take."""
    return _system("entries-unread", slips.entries_unread)


def _system(name: str, run: Callable[[], None]) -> System:
    system = System(name, arrival_ms=0)
    bus = system.add(SQS("bus", ["orders", "paid"]))
    bank = system.add(Gateway("bank"))
    books = system.add(External("books", Books))
    system.add(AWS(bus))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))

    @system.service("deposits", replicas=2)
    def service(env: Env) -> None:
        env.main(run)

    @system.service("accounting")
    def accounting(env: Env) -> None:
        enter = env.client(books).enter
        consumer = env.consumer(bus, "paid", read_as=dict, on_unreadable="skip")

        def book() -> None:
            while True:
                for one in consumer.receive(10, wait_s=20):
                    if "id" in one.value:
                        try:
                            enter(one.value["id"])
                        except OSError:
                            continue
                    consumer.delete(one)

        env.main(book)

    @system.entry(examples=DEPOSITS)
    def desk(env: Env, deposit: dict[str, Any]) -> None:
        env.publisher(bus)("orders", deposit, key=deposit["id"])

    return system
