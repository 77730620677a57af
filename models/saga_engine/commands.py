"""The order saga by commands: charge and reserve side by side, then ship; workers over a broker.

chaosharness run models.saga_engine.commands:shop
"""

from collections.abc import Callable
from typing import Any

import attrs

from chaosharness import (
    Books,
    Env,
    External,
    Order,
    Property,
    Queue,
    RabbitMQ,
    System,
    compensation_complete,
    conserved,
    every_saga_settles,
)
from chaosharness.orchestrators.saga import (
    Command,
    Orchestrator,
    Parallel,
    Retry,
    Saga,
    SagaMachine,
    SagaStore,
    Step,
)
from models.third_parties import Bank, CannotDeliver, Courier, money_is_kept_for_parcels

GOOD = Order("o1", "ann", "book", 500)
OUT_OF_STOCK = Order("o2", "bob", "unicorn", 700)
PATIENT = Retry(times=100)
QUEUE_OF = {
    "charge": "payment",
    "refund": "payment",
    "reserve": "stock",
    "release": "stock",
    "ship": "courier",
    "recall": "courier",
}
UNDONE_BY = {"charge done": "refund done", "reserve done": "release done"}
"""Steps and what undoes them, as their journal tells of them."""

ORDER = Saga(
    "order",
    Parallel(
        Step("charge", undo="refund", retry=PATIENT),
        Step("reserve", undo="release", retry=PATIENT),
    ),
    Step("ship", undo="recall", retry=PATIENT),
)


class OutOfStock(Exception):
    """There is none; asking again changes nothing."""


class Warehouse:
    """Keeps a piece for an order, and lets it go; of unicorns it has none."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.released: set[str] = set()

    def reserve(self, order: str, item: str) -> Any:
        """Keep a piece, unless one is kept or was let go.

        Raises:
            OutOfStock: It is a unicorn.
        """
        if item == "unicorn":
            raise OutOfStock(item)
        if order in self.kept | self.released:
            return External.unchanged(order)
        self.kept.add(order)
        return order

    def release(self, order: str) -> Any:
        """Let it go, and keep none any more."""
        first = order not in self.released
        self.released.add(order)
        return order if first and order in self.kept else External.unchanged(order)


def worker(
    actions: dict[str, Callable[[Command], Any]], publish: Callable[..., Any]
) -> Callable[[Command], None]:
    """Return a handler of commands: it does what is asked, and says how it came out.

    What it does not know it does not say: an error leaves the handler, and the broker brings
    the command again.
    """

    def on_command(command: Command) -> None:
        try:
            reply = command.reply("done", actions[command.action](command))
        except (CannotDeliver, OutOfStock) as error:
            reply = command.reply("refused", why=repr(error))
        publish("replies", reply, key=command.saga)

    return on_command


def queues() -> dict[str, Queue]:
    """Return the queues, each with a place for what cannot be handled."""
    names = ("orders", "replies", "payment", "stock", "courier")
    found = {name: Queue("quorum", dead_letter="parked") for name in names}
    return {**found, "parked": Queue("quorum")}


@attrs.frozen
class Parts:
    """What a variant may replace."""

    saga: Saga = ORDER
    machine: type[SagaMachine] = SagaMachine
    broker: Callable[[], Any] = lambda: RabbitMQ("bus", queues=queues())
    examples: tuple[Order, ...] = (GOOD, OUT_OF_STOCK)


def build(parts: Parts = Parts(), *, name: str = "saga by commands") -> System:
    """Build the shop. Without arguments it is right; the twins change one thing each."""
    shop = System(name)
    bus = shop.add(parts.broker())
    bank = shop.add(External("bank", Bank))
    warehouse = shop.add(External("warehouse", Warehouse))
    courier = shop.add(External("courier", Courier))
    store = shop.add(SagaStore("saga-db"))

    @shop.service("orchestrator", replicas=2)
    def orchestrate(env: Env) -> None:
        def sagas() -> Orchestrator:  # one for each consumer: each has a connection of its own
            publish = env.publisher(bus)
            return Orchestrator(
                parts.saga,
                env.connect(store),
                now_ms=env.now_ms,
                sleep=env.sleep,
                send=lambda c: publish(QUEUE_OF[c.action], c, key=c.saga),
                machine=parts.machine,
            )

        orders = sagas()

        def on_order(order: dict[str, Any]) -> None:
            orders.start(order["id"], order)

        env.consume(bus, "orders", on_order)
        env.consume(bus, "replies", sagas().on_reply)
        env.main(sagas().run)

    @shop.service("payment")
    def payment(env: Env) -> None:
        money = env.client(bank)
        actions = {
            "charge": lambda c: money.charge(c.saga, c.input["cents"]),
            "refund": lambda c: money.refund(c.saga, c.input["cents"]),
        }
        env.consume(bus, "payment", worker(actions, env.publisher(bus)))

    @shop.service("stock")
    def stock(env: Env) -> None:
        pieces = env.client(warehouse)
        actions = {
            "reserve": lambda c: pieces.reserve(c.saga, c.input["item"]),
            "release": lambda c: pieces.release(c.saga),
        }
        env.consume(bus, "stock", worker(actions, env.publisher(bus)))

    @shop.service("delivery")
    def delivery(env: Env) -> None:
        parcels = env.client(courier)
        actions = {
            "ship": lambda c: parcels.ship(c.saga, c.input["item"]),
            "recall": lambda c: parcels.recall(c.saga),
        }
        env.consume(bus, "courier", worker(actions, env.publisher(bus)))

    @shop.entry(examples=parts.examples)
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("orders", attrs.asdict(order), key=order.id)

    shop.claim(
        every_saga_settles(
            states=lambda books: books.column("saga-db", "sagas", by="id", of="status"),
            settled=("completed", "compensated"),
        ),
        money_is_kept_for_parcels(),
        pieces_are_kept_for_parcels(),
        compensation_complete(UNDONE_BY),
    )
    return shop


def pieces_are_kept_for_parcels() -> Property:
    """Claim that a piece is kept, in the end, exactly for what was shipped."""

    def standing(books: Books, who: str, did: str, undid: str) -> list[str]:
        done = {entry["order"] for entry in books.ledger(who, did)}
        return sorted(done - {entry["order"] for entry in books.ledger(who, undid)})

    return conserved(
        "pieces",
        kept=lambda books: len(standing(books, "warehouse", "reserve", "release")),
        shipped=lambda books: len(standing(books, "courier", "ship", "recall")),
    )


shop = build()
