"""The world around the tasks: a broker, a bank, and a service that sends mails.

chaosharness run models.applications.parcels.system:parcels
"""

from __future__ import annotations

from typing import Any

from chaosharness import AMQP, Env, External, Gateway, RabbitMQ, System, Web
from models.applications.parcels import slips, tasks

PARCELS = [{"id": "p1", "cents": 500}]


class Mails:
    """Sends one mail for each parcel, however often it is asked."""

    def __init__(self) -> None:
        self.sent: set[str] = set()

    def send(self, parcel: str, idempotency_key: str = "") -> Any:
        if parcel in self.sent:
            return External.unchanged(parcel)
        self.sent.add(parcel)
        return parcel


def parcels() -> System:
    """The right one."""
    return _system("parcels", tasks.charge)


def keyless() -> System:
    """Charges twice."""
    return _system("keyless", slips.keyless)


def new_key() -> System:
    """Charges once more with each retry."""
    return _system("new-key", slips.new_key)


def acknowledged_first() -> System:
    """Loses a task whose process dies."""
    return _system("acknowledged-first", slips.acknowledged_first)


def lost_with_its_process() -> System:
    """Loses a task whose process in the pool is killed."""
    return _system("lost-with-its-process", slips.lost_with_its_process)


def gives_up() -> System:
    """Loses a task that has failed as often as it is retried."""
    return _system("gives-up", slips.gives_up)


def _system(name: str, charge: Any) -> System:
    system = System(name, arrival_ms=0)
    bus = system.add(RabbitMQ("bus"))
    bank = system.add(Gateway("bank"))
    mail = system.add(External("mail", Mails))
    system.add(AMQP("rabbit", bus))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))
    system.add(Web("mail.example", mail, routes={"POST /mails": "send"}))

    @system.service("workers", replicas=2)
    def workers(env: Env) -> None:
        env.main(lambda: tasks.app.worker_main(["worker", "--concurrency=2"]))

    @system.entry(examples=PARCELS)
    def counter(env: Env, parcel: dict[str, Any]) -> None:
        charge.delay(parcel["id"], parcel["cents"])

    return system
