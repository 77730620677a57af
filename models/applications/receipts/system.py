"""The world around the tasks: a broker and a bank.

chaosharness run models.applications.receipts.system:receipts
"""

from __future__ import annotations

from typing import Any

from chaosharness import AMQP, Env, Gateway, RabbitMQ, System, Web
from models.applications.receipts import tasks

RECEIPTS = [{"id": "r1", "cents": 500}]


def receipts() -> System:
    """The right one."""
    return _system("receipts", "charge")


def keyless() -> System:
    """Charges twice."""
    return _system("keyless", "keyless")


def acknowledged_first() -> System:
    """Loses a task whose process dies."""
    return _system("acknowledged-first", "acknowledged_first")


def once() -> System:
    """Loses a task that has failed."""
    return _system("once", "once")


def _system(name: str, task: str) -> System:
    system = System(name, arrival_ms=0)
    bus = system.add(RabbitMQ("bus"))
    bank = system.add(Gateway("bank"))
    system.add(AMQP("rabbit", bus))
    system.add(Web("api.bank.example", bank, routes={"POST /charges": "charge"}))

    @system.service("workers", replicas=2)
    def workers(env: Env) -> None:
        env.main(tasks.work)

    @system.entry(examples=RECEIPTS)
    async def counter(env: Env, receipt: dict[str, Any]) -> None:
        await tasks.send(task, receipt["id"], receipt["cents"])

    return system
