"""What the order flow promises, whoever looks at it."""

from __future__ import annotations

from chaosharness import (
    Books,
    Event,
    Property,
    announced,
    compensation_complete,
    conserved,
    every_saga_settles,
    idempotent,
    joins_complete,
    never_charged_twice,
    never_compensates_what_did_not_happen,
    never_stuck,
    never_twice,
    no_event_cycle,
    no_ghost_event,
    nothing_acknowledged_lost,
    order_per_key,
    poison_blocks_nobody,
    side_effects_never_touch_critical_path,
    unhandled_exceptions_block_nobody,
)
from models.order.inventory import PIECES

CRITICAL = (
    *("orders", "payments", "inventory", "shipping"),
    *("order-db", "payment-db", "stock-db", "bank", "courier"),
)


def claims(cancellations: str = "orders") -> tuple[Property, ...]:
    """Return the claims, the ones that customers care about first.

    Args:
        cancellations: The topic on which orders are cancelled.
    """
    return (
        never_charged_twice("bank"),
        money(),
        stock(),
        settles(),
        never_compensates_what_did_not_happen({"charge": "refund"}),
        refunded(),
        joins_complete(["paid", "reserved"], "confirmed", or_else="rejected"),
        announced("order-db", "orders", "orders"),
        announced("payment-db", "charges", "paid", key="order_id"),
        no_ghost_event(),
        nothing_acknowledged_lost(),
        order_per_key(dict.fromkeys(("orders", cancellations))),
        poison_blocks_nobody(),
        unhandled_exceptions_block_nobody(),
        never_twice("courier", "book"),
        never_twice("mail", "send", key=("order", "text")),
        no_event_cycle(),
        side_effects_never_touch_critical_path(critical=CRITICAL, side=["notification"]),
        never_stuck(),
        idempotent(),
    )


def money() -> Property:
    """Claim that what the bank took is what the shipped orders cost."""
    return conserved("money", unit="cent", shipped=shipped_cents, charged=charged_cents)


def stock() -> Property:
    """Claim that every piece is in stock or with the courier."""
    return conserved(
        "stock", unit="piece", at_first=sum(PIECES.values()), left_and_shipped=(left, shipped)
    )


def settles() -> Property:
    """Claim that every order is shipped or cancelled in the end."""
    return every_saga_settles(states=order_states, settled=("shipped", "cancelled"))


def refunded() -> Property:
    """Claim that a cancelled order costs nothing."""
    return compensation_complete({"charge": "refund"}, when=is_cancellation)


def order_states(books: Books) -> dict[str, str]:
    """Return what became of each order."""
    return books.column("order-db", "orders", by="id", of="status")


def shipped_cents(books: Books) -> dict[str, int]:
    """Return what the customers owe: shipped orders only."""
    return books.sums("order-db", "orders", by="id", of="cents", status="shipped")


def charged_cents(books: Books) -> dict[str, int]:
    """Return what the customers paid, refunds subtracted."""
    return books.net_charges("bank")


def left(books: Books) -> int:
    """Return how many pieces there are in stock."""
    return sum(row["pieces"] for row in books.rows("stock-db", "stock"))


def shipped(books: Books) -> int:
    """Return how many pieces the courier took."""
    return len(books.ledger("courier", "book"))


def is_cancellation(event: Event) -> bool:
    """Say whether an event means that what was done for its order must be undone."""
    return event.kind == "publish" and b'"cancelled"' in event.data["value"]
