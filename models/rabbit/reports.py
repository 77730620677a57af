"""Reports that take minutes to write: whoever writes one answers no heartbeats meanwhile.

chaosharness run models.rabbit.reports:reports
"""

from __future__ import annotations

from typing import Any

import attrs

from chaosharness import Budget, Env, KeyValue, Queue, RabbitMQ, System, idempotent, never_stuck

WRITING_S = 150.0
ORDERS = [{"report": "r1"}, {"report": "r2"}]


@attrs.frozen
class Report:
    """What is to be written."""

    report: str


def reports() -> System:
    """The right one: a handler has a thread of its own, and its connection answers heartbeats."""
    return _system("reports", in_thread=True)


def heartbeat_long_enough() -> System:
    """The other right one: the heartbeat allows for the longest report."""
    return _system("reports-patient", heartbeat_ms=300_000)


def blocked_heartbeats() -> System:
    """A plain callback of pika writes for longer than two heartbeats.

    The server closes the connection and requeues the report, another replica begins it while the
    first is still at it, and the acknowledgement of each comes too late: for ever.
    """
    return _system("reports-blocked")


def _system(name: str, *, in_thread: bool = False, heartbeat_ms: int = 60_000) -> System:
    system = System(name, arrival_ms=1_000, budget=Budget(deliveries_max=10))
    bus = system.add(
        RabbitMQ(
            "bus",
            queues={"reports": Queue(dead_letter="aside"), "aside": Queue()},
            heartbeat_ms=heartbeat_ms,
        )
    )
    written = system.add(KeyValue("written"))

    @system.service("writer", replicas=2)
    def write(env: Env) -> None:
        store = env.connect(written)

        def on_report(order: Report) -> None:
            env.sleep(WRITING_S)
            store.put(order.report, "written")

        env.consume(
            bus,
            "reports",
            on_report,
            prefetch=1,
            in_thread=in_thread,
            on_unreadable="dead-letter",
        )

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("reports", order, key=order["report"])

    system.claim(idempotent(), never_stuck())
    return system
