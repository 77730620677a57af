"""The world around the tasks: Redis as broker and for results, a bank, a printer, and mails.

chaosharness run models.applications.shipments.system:shipments
"""

from __future__ import annotations

from typing import Any

from chaosharness import Env, External, Gateway, RedisStore, System, Web
from models.applications.shipments import slips, tasks

SHIPMENTS = [{"id": "s1", "cents": 500}]


class Printer:
    """Prints one label for each shipment, however often it is asked."""

    def __init__(self) -> None:
        self.printed: set[str] = set()

    def print(self, shipment: str, idempotency_key: str = "") -> Any:
        if shipment in self.printed:
            return External.unchanged(shipment)
        self.printed.add(shipment)
        return shipment


class Mails:
    """Sends one mail for each key, and one for each request without."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def send(self, shipment: str, idempotency_key: str) -> Any:
        if idempotency_key in self.keys:
            return External.unchanged(shipment)
        self.keys.add(idempotency_key)
        return shipment

    def send_new(self, shipment: str) -> str:
        return shipment


def shipments() -> System:
    """The right one."""
    return _system("shipments", tasks.ship)


def in_a_pool() -> System:
    """Waits in vain: a process of the pool died when its result was stored, and not yet counted."""
    return _system("in-a-pool", tasks.ship, pool="prefork")


def patient() -> System:
    """Charges twice: a task runs for longer than the visibility timeout."""
    return _system("patient", slips.ship_patiently)


def in_an_hour() -> System:
    """Charges twice: a task is due later than the visibility timeout."""
    return _system("in-an-hour", slips.ship_in_an_hour)


def acknowledged_first() -> System:
    """Tells nobody: one header is lost."""
    return _system("acknowledged-first", slips.ship_acknowledged_first)


def told_without_a_key() -> System:
    """Tells twice."""
    return _system("told-without-a-key", slips.ship_and_tell_without_a_key)


def _system(name: str, ship: Any, *, pool: str = "threads") -> System:
    system = System(name, arrival_ms=0)
    system.add(RedisStore("redis", persistence="always"))
    bank = system.add(Gateway("bank"))
    printer = system.add(External("printer", Printer))
    mail = system.add(External("mail", Mails))
    charges = {"POST /charges": "charge", "GET /charges/{order}": "find"}
    system.add(Web("api.bank.example", bank, routes=charges))
    system.add(Web("printer.example", printer, routes={"POST /labels": "print"}))
    mails = {"POST /mails": "send", "POST /mails/new": "send_new"}
    system.add(Web("mail.example", mail, routes=mails))
    argv = ["worker", f"--pool={pool}", "--concurrency=2"]

    @system.service("workers", replicas=2)
    def workers(env: Env) -> None:
        env.main(lambda: tasks.app.worker_main(argv))

    @system.entry(examples=SHIPMENTS)
    def counter(env: Env, shipment: dict[str, Any]) -> None:
        ship(shipment["id"], shipment["cents"])

    return system
