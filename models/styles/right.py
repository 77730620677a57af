"""The order business as a choreography, an orchestration and a hybrid, each as it should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness import Env, Exchange, System
from chaosharness.orchestrators.saga import Command, Orchestrator, Retry, Saga, SagaStore, Step
from models.styles.business import AGAIN, CRITICAL, Business, Cashier, OutOfStock, business, claimed

PATIENT: Final = Retry(times=100)
STEPS: Final = (
    Step("charge", undo="refund", retry=PATIENT),
    Step("reserve", retry=PATIENT),
    Step("ship", retry=PATIENT),
)
QUEUE_OF: Final = {
    "charge": "payment",
    "refund": "payment",
    "reserve": "stock",
    "ship": "delivery",
    "send": "mail",
}

# ---- choreography: each service hears an event and says the next one


def choreography(*, name: str = "choreography", cashier: type[Cashier] = Cashier) -> System:
    """Build it: nobody knows the whole."""
    parts = business(
        name,
        queues=("orders", "paid", "out-of-stock", "reserved", "shipped"),
        cashier=cashier,
    )
    shop, bus = parts.shop, parts.bus

    @shop.service("payment")
    def payment(env: Env) -> None:
        money, publish = parts.cashier(env.client(parts.bank)), env.publisher(bus)

        def on_order(order: dict[str, Any]) -> None:
            money.charge(order["id"], order["cents"])
            publish("paid", order, key=order["id"])

        def on_out_of_stock(order: dict[str, Any]) -> None:
            money.refund(order["id"], order["cents"])

        env.consume(bus, "orders", on_order, **AGAIN)
        env.consume(bus, "out-of-stock", on_out_of_stock, **AGAIN)

    @shop.service("stock")
    def stock(env: Env) -> None:
        pieces, publish = env.client(parts.warehouse), env.publisher(bus)

        def on_paid(order: dict[str, Any]) -> None:
            try:
                pieces.reserve(order["id"], order["item"])
            except OutOfStock:
                publish("out-of-stock", order, key=order["id"])
            else:
                publish("reserved", order, key=order["id"])

        env.consume(bus, "paid", on_paid, **AGAIN)

    @shop.service("delivery")
    def delivery(env: Env) -> None:
        parcels, publish = env.client(parts.courier), env.publisher(bus)

        def on_reserved(order: dict[str, Any]) -> None:
            parcels.ship(order["id"])
            publish("shipped", order, key=order["id"])

        env.consume(bus, "reserved", on_reserved, **AGAIN)

    @shop.service("mail")
    def mail(env: Env) -> None:
        letters = env.client(parts.post)

        def on_shipped(order: dict[str, Any]) -> None:
            letters.send(order["id"])

        env.consume(bus, "shipped", on_shipped, **AGAIN)

    return claimed(shop, critical=CRITICAL)


# ---- orchestration: one service asks, the others answer


def worker(
    actions: dict[str, Callable[[Command], Any]], publish: Callable[..., Any]
) -> Callable[[Command], None]:
    """Return a handler of commands. What it does not know it does not say: it comes again."""

    def on_command(command: Command) -> None:
        try:
            reply = command.reply("done", actions[command.action](command))
        except OutOfStock as error:
            reply = command.reply("refused", why=repr(error))
        publish("replies", reply, key=command.saga)

    return on_command


def orchestration(*, name: str = "orchestration", cashier: type[Cashier] = Cashier) -> System:
    """Build it: the mail is a step as the others are, and the last one."""
    queues = ("orders", "replies", "payment", "stock", "delivery", "mail")
    parts = business(name, queues=queues, cashier=cashier)
    saga = Saga("order", *STEPS, Step("mail", action="send", retry=PATIENT))
    add_orchestrator(parts, saga, {})
    add_workers(parts)

    @parts.shop.service("mail")
    def mail(env: Env) -> None:
        letters = env.client(parts.post)
        actions = {"send": lambda c: letters.send(c.saga)}
        env.consume(parts.bus, "mail", worker(actions, env.publisher(parts.bus)), **AGAIN)

    return claimed(parts.shop)  # nothing is aside: the saga waits for its mail


def add_orchestrator(parts: Business, saga: Saga, events: dict[str, str]) -> None:
    """Add who drives sagas.

    Args:
        parts: The shop.
        saga: The steps.
        events: Actions that are no commands: the exchange that each is published to.
    """
    bus = parts.bus
    store = parts.shop.add(SagaStore("saga-db"))

    @parts.shop.service("orchestrator", replicas=2)
    def orchestrator(env: Env) -> None:
        def sagas() -> Orchestrator:  # each consumer has a connection of its own
            publish = env.publisher(bus)

            def send(command: Command) -> None:
                publish(QUEUE_OF[command.action], command, key=command.saga)

            def told(command: Command) -> None:
                publish("", command.input, exchange=events[command.action], key=command.saga)

            return Orchestrator(
                saga,
                env.connect(store),
                now_ms=env.now_ms,
                sleep=env.sleep,
                send=send,
                calls=dict.fromkeys(events, told),
            )

        orders = sagas()

        def on_order(order: dict[str, Any]) -> None:
            orders.start(order["id"], order)

        env.consume(bus, "orders", on_order, **AGAIN)
        env.consume(bus, "replies", sagas().on_reply, **AGAIN)
        env.main(sagas().run)


def add_workers(parts: Business) -> None:
    """Add who does what is asked for: payment, stock and delivery."""
    shop, bus = parts.shop, parts.bus

    @shop.service("payment")
    def payment(env: Env) -> None:
        money = parts.cashier(env.client(parts.bank))
        actions = {
            "charge": lambda c: money.charge(c.saga, c.input["cents"]),
            "refund": lambda c: money.refund(c.saga, c.input["cents"]),
        }
        env.consume(bus, "payment", worker(actions, env.publisher(bus)), **AGAIN)

    @shop.service("stock")
    def stock(env: Env) -> None:
        pieces = env.client(parts.warehouse)
        actions = {"reserve": lambda c: pieces.reserve(c.saga, c.input["item"])}
        env.consume(bus, "stock", worker(actions, env.publisher(bus)), **AGAIN)

    @shop.service("delivery")
    def delivery(env: Env) -> None:
        parcels = env.client(parts.courier)
        actions = {"ship": lambda c: parcels.ship(c.saga)}
        env.consume(bus, "delivery", worker(actions, env.publisher(bus)), **AGAIN)


# ---- hybrid: the critical path is orchestrated, the rest hears one event


def hybrid(*, name: str = "hybrid", cashier: type[Cashier] = Cashier) -> System:
    """Build it: the saga ends by saying so, once and to everybody."""
    queues = ("orders", "replies", "payment", "stock", "delivery", "mail")
    exchanges = {"completed": Exchange("fanout", ["mail"])}
    parts = business(name, queues=queues, cashier=cashier, exchanges=exchanges)
    saga = Saga("order", *STEPS, Step("tell", action="announce", retry=PATIENT))
    add_orchestrator(parts, saga, {"announce": "completed"})
    add_workers(parts)

    @parts.shop.service("mail")
    def mail(env: Env) -> None:
        letters = env.client(parts.post)

        def on_completed(order: dict[str, Any]) -> None:
            letters.send(order["id"])

        env.consume(parts.bus, "mail", on_completed, **AGAIN)

    return claimed(parts.shop, critical=(*CRITICAL, "orchestrator", "saga-db"))
