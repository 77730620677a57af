"""The hybrid, put together as it should be.

chaosharness run models.hybrid.right:order_hybrid
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chaosharness import (
    Env,
    Exchange,
    External,
    KeyValue,
    Property,
    RabbitMQ,
    SQLite,
    System,
    announced,
    never_twice,
)
from models.hybrid import side
from models.hybrid.side import Analytics, Completed, Loyalty, Mailer, MailService
from models.saga.messages import Command, Order
from models.saga.orchestrator import Orchestrator
from models.saga.right import GOOD, order_saga, saga_queues

COMPLETED = "order-completed"
CRITICAL = (
    *("orchestrator", "payment", "stock", "delivery"),
    *("saga-db", "stock-db", "bank", "courier"),
)
"""What must not depend on the rest: the mailer, loyalty, analytics, and what they hold."""


class Announcer(Orchestrator):
    """Says that a saga is completed: in the transaction that completes it, or not at all."""

    def close(self, last: Command, status: str) -> None:
        """Have it said."""
        if status == "completed":
            self.send(last.saga, COMPLETED, Completed(last.saga, last.item, last.cents))

    def publish_to(self, queue: str, body: bytes, saga: str) -> None:
        """Publish a command to its queue, and what concerns everybody to everybody."""
        exchange = COMPLETED if queue == COMPLETED else ""
        self.publish(queue, body, key=saga, exchange=exchange)


def order_hybrid(
    *,
    examples: Sequence[Order] = (GOOD,),
    orchestrator_kind: type[Orchestrator] = Announcer,
    mailer_kind: type[Mailer] = Mailer,
    mail_step: type[Any] | None = None,
) -> System:
    """Build the hybrid. Without arguments it is right; the twins change one thing each."""
    listeners = ("mails", "points", "charts")
    exchanges = {COMPLETED: Exchange("fanout", listeners)}
    rabbit = RabbitMQ("rabbit", queues=saga_queues(*listeners, "mail-step"), exchanges=exchanges)
    shop = order_saga(
        name="order hybrid", rabbit=rabbit, examples=examples, orchestrator_kind=orchestrator_kind
    )
    mail = shop.add(External("mail", MailService))
    loyalty_db = shop.add(SQLite("loyalty-db", side.POINTS_SCHEMA))
    facts = shop.add(KeyValue("facts"))

    @shop.service("mailer")
    def mailer(env: Env) -> None:
        if mail_step is None:
            env.consume(rabbit, "mails", mailer_kind(env.client(mail)).on_completed)
        else:
            worker = mail_step(env.client(mail), env.publisher(rabbit))
            env.consume(rabbit, "mail-step", worker.on_command)

    @shop.service("loyalty")
    def loyalty(env: Env) -> None:
        env.consume(rabbit, "points", Loyalty(env.connect(loyalty_db)).on_completed)

    @shop.service("analytics")
    def analytics(env: Env) -> None:
        env.consume(rabbit, "charts", Analytics(env.connect(facts)).on_completed)

    shop.critical_path(*CRITICAL)
    shop.claim(*claims())
    return shop


def claims() -> tuple[Property, ...]:
    """Return what is claimed beyond the claims of the saga."""
    return (
        announced("saga-db", "sagas", COMPLETED, where=is_completed),
        never_twice("mail", "send", key="saga"),
    )


def is_completed(row: Mapping[str, Any]) -> bool:
    """Say whether a saga came to a good end."""
    return bool(row["status"] == "completed")
