"""The order saga, put together as it should be.

chaosharness run models.saga.right:order_saga
"""

from __future__ import annotations

from collections.abc import Sequence

from chaosharness import (
    Books,
    Env,
    External,
    Gateway,
    Property,
    Queue,
    RabbitMQ,
    SQLite,
    System,
    compensation_in_reverse,
    conserved,
    every_saga_settles,
    idempotent,
    never_charged_twice,
    never_compensates_what_did_not_happen,
    never_stuck,
    never_twice,
    nothing_acknowledged_lost,
)
from models.saga import orchestrator, workers
from models.saga.messages import Order
from models.saga.orchestrator import Orchestrator
from models.saga.workers import PIECES, Courier, CourierWorker, PaymentWorker, StockWorker

GOOD = Order("s1", "book", 500)
OUT_OF_STOCK = Order("s2", "unicorn", 700)
UNDELIVERABLE = Order("s3", "lamp", 900)
QUEUES = ("orders", "payment", "stock", "courier", "replies")


def saga_queues(*more: str) -> dict[str, Queue]:
    """Return the queues of the saga, and more of the same kind."""
    queues = {name: Queue("quorum", dead_letter="parked") for name in (*QUEUES, *more)}
    return {**queues, "parked": Queue("quorum")}


def order_saga(
    *,
    name: str = "order saga",
    rabbit: RabbitMQ | None = None,
    examples: Sequence[Order] = (GOOD, UNDELIVERABLE),
    orchestrator_kind: type[Orchestrator] = Orchestrator,
    payment_kind: type[PaymentWorker] = PaymentWorker,
    stock_kind: type[StockWorker] = StockWorker,
    saga_schema: str = orchestrator.SCHEMA,
) -> System:
    """Build the saga. Without arguments it is right; the twins change one thing each."""
    shop = System(name)
    rabbit = shop.add(rabbit or RabbitMQ("rabbit", queues=saga_queues()))
    bank = shop.add(Gateway("bank", declines=lambda order, cents: cents > 100_000))
    courier = shop.add(External("courier", Courier))
    saga_db = shop.add(SQLite("saga-db", saga_schema))
    stock_db = shop.add(SQLite("stock-db", workers.STOCK_SCHEMA))

    @shop.service("orchestrator", replicas=2)
    def orchestrate(env: Env) -> None:
        def service() -> Orchestrator:  # each consumer is a thread: with its own connection
            db, publish = env.connect(saga_db), env.publisher(rabbit)
            return orchestrator_kind(db, publish, env.now_ms, env.sleep)

        env.consume(rabbit, "orders", service().on_order)
        env.consume(rabbit, "replies", service().on_reply)
        env.main(service().look_after)

    @shop.service("payment")
    def payment(env: Env) -> None:
        worker = payment_kind(env.client(bank), env.publisher(rabbit))
        env.consume(rabbit, "payment", worker.on_command)

    @shop.service("stock")
    def stock(env: Env) -> None:
        worker = stock_kind(env.connect(stock_db), env.publisher(rabbit), env.note)
        env.consume(rabbit, "stock", worker.on_command)

    @shop.service("delivery")
    def delivery(env: Env) -> None:
        worker = CourierWorker(env.client(courier), env.publisher(rabbit))
        env.consume(rabbit, "courier", worker.on_command)

    @shop.entry(examples=examples)
    def check_out(env: Env, order: Order) -> None:
        env.publisher(rabbit)("orders", order, key=order.id)

    shop.claim(*claims())
    return shop


def claims() -> tuple[Property, ...]:
    """Return the claims, the ones that customers care about first."""
    return (
        never_charged_twice("bank"),
        conserved("money", unit="cent", completed=completed_cents, charged=charged_cents),
        conserved("parcels", unit="parcel", completed=completed, booked=booked),
        conserved("stock", unit="piece", at_first=sum(PIECES.values()), there=(left, reserved)),
        never_compensates_what_did_not_happen({"charge": "refund"}),
        compensation_in_reverse({"charge": "refund", "reserve": "release"}),
        every_saga_settles(states=saga_states, settled=("completed", "cancelled")),
        never_twice("courier", "book", key="reference"),
        nothing_acknowledged_lost(),
        never_stuck(),
        idempotent(),
    )


def saga_states(books: Books) -> dict[str, str]:
    """Return what became of each saga."""
    return books.column("saga-db", "sagas", by="id", of="status")


def completed_cents(books: Books) -> dict[str, int]:
    """Return what the customers owe: completed sagas only."""
    return books.sums("saga-db", "sagas", by="id", of="cents", status="completed")


def charged_cents(books: Books) -> dict[str, int]:
    """Return what the customers paid, refunds subtracted."""
    return books.net_charges("bank")


def completed(books: Books) -> int:
    """Return how many sagas came to a good end."""
    return list(saga_states(books).values()).count("completed")


def booked(books: Books) -> int:
    """Return how many parcels the courier collects."""
    return len(books.ledger("courier", "book"))


def left(books: Books) -> int:
    """Return how many pieces there are in stock."""
    return sum(row["pieces"] for row in books.rows("stock-db", "stock"))


def reserved(books: Books) -> int:
    """Return how many pieces are put aside for somebody."""
    rows = books.rows("stock-db", "reservations")
    return sum(1 for row in rows if row["status"] == "reserved")
