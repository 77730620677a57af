"""The order saga by calls, as it should be: charge, reserve, ship, credit points.

The stock and the points are in the orchestrator's own database; the bank and the courier know
what they did by its key.

chaosharness run models.saga_engine.right:shop
"""

import sqlite3
from collections.abc import Callable
from typing import Any

import attrs

from chaosharness import (
    Books,
    Env,
    External,
    Order,
    Queue,
    RabbitMQ,
    System,
    compensation_complete,
    compensation_in_reverse,
    conserved,
    every_saga_settles,
)
from chaosharness.orchestrators.saga import (
    Command,
    Flow,
    Journal,
    Orchestrator,
    Refused,
    Retry,
    Saga,
    SagaStore,
    Step,
)
from models.third_parties import Bank, CannotDeliver, Courier, money_is_kept_for_parcels

GOOD = Order("o1", "ann", "book", 500)
UNDELIVERABLE = Order("o2", "bob", "lamp", 700)
QUEUES = {
    "orders": Queue("quorum", dead_letter="parked"),
    "parked": Queue("quorum"),
}
PATIENT = Retry(times=100)
UNDONE_BY = {"charge done": "refund done", "reserve done": "release done"}
"""Steps and what undoes them, as their journal tells of them."""

ORDER = Saga(
    "order",
    Step("charge", undo="refund", retry=PATIENT),
    Step("reserve", undo="release"),
    Step("ship", undo="recall", retry=PATIENT),
    Step("credit"),
)


def with_a_stamp(name: str) -> Saga:
    """The next version: a stamp is put on each order before it is shipped."""
    charge, reserve, *rest = ORDER.known.values()
    return Saga(name, charge, reserve, Step("stamp"), *rest)


SHOP_SCHEMA = """
CREATE TABLE stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL CHECK (pieces >= 0));
INSERT INTO stock VALUES ('book', 10), ('lamp', 10);
CREATE TABLE points (customer TEXT PRIMARY KEY, points INTEGER NOT NULL);
"""


async def order_as_code(saga: Flow, order: Any) -> str:
    """The same saga, as code."""
    await saga.do("charge", undo="refund", retry=PATIENT)
    await saga.do("reserve", undo="release")
    parcel: str = await saga.do("ship", undo="recall", retry=PATIENT)
    await saga.do("credit")
    return parcel


def reserve(db: sqlite3.Connection, command: Command) -> None:
    """Take a piece from the stock."""
    statement = "UPDATE stock SET pieces = pieces - 1 WHERE item = ? AND pieces > 0"
    if not db.execute(statement, (command.input["item"],)).rowcount:
        raise Refused("out of stock")


def release(db: sqlite3.Connection, command: Command) -> None:
    """Put it back."""
    statement = "UPDATE stock SET pieces = pieces + 1 WHERE item = ?"
    db.execute(statement, (command.input["item"],))


def credit(db: sqlite3.Connection, command: Command) -> None:
    """Give a point for each hundred cents."""
    statement = """INSERT INTO points VALUES (?, ?)
        ON CONFLICT (customer) DO UPDATE SET points = points + excluded.points"""
    db.execute(statement, (command.input["customer"], command.input["cents"] // 100))


def stamp(db: sqlite3.Connection, command: Command) -> str:
    """Say which stamp an order has."""
    return f"stamp of {command.saga}"


@attrs.frozen
class Parts:
    """What a variant may replace."""

    saga: Saga = ORDER
    older: tuple[Saga, ...] = ()  # sagas of earlier versions, which are still looked after
    previous: Saga | None = None
    key: Callable[[Command], str] = lambda command: command.saga
    journal: Callable[[sqlite3.Connection], Journal] = Journal
    bank: Callable[[], Any] = Bank
    examples: tuple[Order, ...] = (GOOD, UNDELIVERABLE)
    synced: bool = True


def orchestrator(env: Env, parts: Parts, store: Any, bank: Any, courier: Any) -> Orchestrator:
    """Return what runs the sagas, with a connection of its own."""
    money, parcels = env.client(bank), env.client(courier)
    db = env.connect(store)
    return Orchestrator(
        parts.saga,
        db,
        now_ms=env.now_ms,
        sleep=env.sleep,
        journal=parts.journal(db),
        calls={
            "charge": lambda c: money.charge(parts.key(c), c.input["cents"]),
            "refund": lambda c: money.refund(parts.key(c), c.input["cents"]),
            "ship": lambda c: parcels.ship(c.saga, c.input["item"]),
            "recall": lambda c: parcels.recall(c.saga),
        },
        local={"reserve": reserve, "release": release, "credit": credit, "stamp": stamp},
        refusals=(CannotDeliver,),
        not_happened=(ConnectionError,),
    )


def build(parts: Parts = Parts(), *, name: str = "saga by calls") -> System:
    """Build the shop. Without arguments it is right; the twins change one thing each."""
    shop = System(name)
    rabbit = shop.add(RabbitMQ("rabbit", queues=QUEUES))
    bank = shop.add(External("bank", parts.bank))
    courier = shop.add(External("courier", Courier))
    store = shop.add(SagaStore("saga-db", SHOP_SCHEMA, synced=parts.synced))

    def version(saga: Saga, older: tuple[Saga, ...]) -> Callable[[Env], None]:
        def orchestrate(env: Env) -> None:
            def runner(one: Saga) -> Orchestrator:
                return orchestrator(env, attrs.evolve(parts, saga=one), store, bank, courier)

            sagas = runner(saga)

            def on_order(order: dict[str, Any]) -> None:
                sagas.start(order["id"], order)

            env.consume(rabbit, "orders", on_order)
            for one in (saga, *older):
                env.main(runner(one).run)

        return orchestrate

    previous = None if parts.previous is None else version(parts.previous, ())
    shop.service("orchestrator", replicas=2, previous=previous)(version(parts.saga, parts.older))

    @shop.entry(examples=parts.examples)
    def place(env: Env, order: Order) -> None:
        env.publisher(rabbit)("orders", attrs.asdict(order), key=order.id)

    shop.claim(
        every_saga_settles(
            states=lambda books: books.column("saga-db", "sagas", by="id", of="status"),
            settled=("completed", "compensated"),
        ),
        money_is_kept_for_parcels(),
        stock_is_kept_for_parcels(),
        compensation_complete(UNDONE_BY),
        compensation_in_reverse(UNDONE_BY),
        points_are_given_once(),
    )
    return shop


def stock_is_kept_for_parcels() -> Any:
    """Claim that of the twenty pieces as many are gone as parcels were shipped."""
    return conserved("stock", at_first=20, left_and_shipped=_left_and_shipped)


def _left_and_shipped(books: Books) -> int:
    recalled = {entry["order"] for entry in books.ledger("courier", "recall")}
    shipped = {entry["order"] for entry in books.ledger("courier", "ship")}
    left: int = sum(row["pieces"] for row in books.rows("saga-db", "stock"))
    return left + len(shipped - recalled)


def points_are_given_once() -> Any:
    """Claim that a completed saga gives its points, and no more."""

    def given(books: Books) -> dict[str, int]:
        return books.sums("saga-db", "points", by="customer", of="points")

    def earned(books: Books) -> dict[str, int]:
        states = books.column("saga-db", "sagas", by="id", of="status")
        orders = [one for one in books.items if states.get(one.id) == "completed"]
        return {order.customer: order.cents // 100 for order in orders}

    return conserved("points", given=given, earned=earned)


shop = build()
deployed = build(
    Parts(saga=with_a_stamp("order 2"), older=(ORDER,), previous=ORDER), name="deployed"
)
