"""What still stands for an item that says it was given up: money, a hold, a reservation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.common import RetryPolicy

from chaosharness import (
    Declined,
    Delay,
    ErrorReply,
    External,
    Gateway,
    Kafka,
    LostReply,
    Orchestrator,
    Queue,
    RabbitMQ,
    Retry,
    Saga,
    SagaStore,
    Schedule,
    Site,
    SQLite,
    Step,
    System,
    Temporal,
    assumed,
    idempotent,
)
from chaosharness.checkers.property import Finding

EVER = Retry(times=100)


class Desk:
    """Books once, and cancels what is booked."""

    def __init__(self) -> None:
        self.booked: dict[str, str] = {}

    def book(self, order: str) -> Any:
        if order in self.booked:
            return External.unchanged("known")
        self.booked[order] = "booked"
        return None

    def cancel(self, order: str) -> Any:
        if self.booked.get(order) != "booked":
            return External.unchanged("none")
        self.booked[order] = "cancelled"
        return None


def found(system: System, *faults: Any) -> list[Finding]:
    evidence = system.run(None, Schedule(faults)).evidence()
    return [one for claim in assumed(system) for one in claim.findings(evidence)]


def paid_first(*, refund: str | None) -> System:
    """A saga that pays and then books; the payment has an action to undo it, or none."""
    saga = Saga(
        "trip",
        Step("charge", undo=refund, retry=EVER, undo_retry=EVER),
        Step("hotel", retry=Retry(times=1)),
    )
    system = System("trips")
    bank, hotel = system.add(Gateway("bank")), system.add(External("hotel", Desk))
    store = system.add(SagaStore("sagas"))

    @system.service("orders")
    def orders(env: Any) -> None:
        def made() -> Orchestrator:
            money, rooms = env.client(bank), env.client(hotel)
            calls = {
                "charge": lambda c: money.charge(c.saga, 500, key=c.key) and None,
                "refund": lambda c: money.refund(c.saga, 500, key=c.key) and None,
                "hotel": lambda c: rooms.book(c.saga),
            }
            return Orchestrator(
                saga, env.connect(store), now_ms=env.now_ms, sleep=env.sleep, calls=calls,
                not_happened=(ConnectionError,),
            )  # fmt: skip

        env.serve("order", lambda id: made().start(id, {}))
        env.main(made().run)

    @system.entry(examples=["t1"])
    def place(env: Any, id: str) -> None:
        env.call("orders", "order", id)

    return system


NO_ROOM = ErrorReply(Site("orders.<lambda>/hotel.book"))


def test_a_payment_without_a_compensation_is_asked_about_where_nothing_else_was_undone() -> None:
    [one] = found(paid_first(refund=None), NO_ROOM)
    assert one.question
    assert (one.kind, one.place) == ("stands", "bank.charge")
    assert "item 1 (t1) ends as 'compensated'" in one.summary
    assert found(paid_first(refund="refund"), NO_ROOM) == []


def test_who_says_that_the_payment_may_stand_is_not_asked() -> None:
    system = paid_first(refund=None)
    system.claim(idempotent(may_end=[("bank.charge", "compensated")]))
    evidence = system.run(None, Schedule([NO_ROOM])).evidence()
    assert [one for claim in system.properties for one in claim.findings(evidence)] == []


PATIENCE = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn
class Keeps:
    """Says that it failed, and keeps the money."""

    @workflow.run
    async def run(self, order: str) -> str:
        await workflow.execute_activity("charge", order, start_to_close_timeout=PATIENCE)
        try:
            await workflow.execute_activity(
                "book", order, start_to_close_timeout=PATIENCE, retry_policy=ONCE
            )
        except Exception:
            return "failed"
        return "done"


@workflow.defn
class GivesBack:
    """Cancels what it does not know to be booked, and gives the money back."""

    @workflow.run
    async def run(self, order: str) -> str:
        await workflow.execute_activity("charge", order, start_to_close_timeout=PATIENCE)
        try:
            await workflow.execute_activity(
                "book", order, start_to_close_timeout=PATIENCE, retry_policy=ONCE
            )
        except Exception:
            await workflow.execute_activity("cancel", order, start_to_close_timeout=PATIENCE)
            await workflow.execute_activity("refund", order, start_to_close_timeout=PATIENCE)
            return "failed"
        return "done"


def workflows(kind: Any) -> System:
    system = System("workflows")
    temporal, bank = system.add(Temporal("temporal")), system.add(Gateway("bank"))
    hotel = system.add(External("hotel", Desk))

    @system.service("worker")
    def worker(env: Any) -> None:
        money, rooms = env.client(bank), env.client(hotel)

        @activity.defn
        async def charge(order: str) -> None:
            await money.charge(order, 500, key=order)

        @activity.defn
        async def refund(order: str) -> None:
            await money.refund(order, 500, key=f"back {order}")

        @activity.defn
        async def book(order: str) -> None:
            await rooms.book(order)

        @activity.defn
        async def cancel(order: str) -> None:
            await rooms.cancel(order)

        steps = [charge, refund, book, cancel]
        env.worker(temporal, task_queue="orders", workflows=[kind], activities=steps)

    @system.entry(examples=["o1"])
    async def place(env: Any, order: str) -> None:
        await env.client(temporal).start_workflow(kind.run, order, id=order, task_queue="orders")

    return system


FULL = ErrorReply(Site("worker.book/hotel.book"))


def test_a_workflow_that_returns_failed_and_keeps_the_money_is_asked_about() -> None:
    [one] = found(workflows(Keeps), FULL)
    assert one.question
    assert "ends as 'returned: failed', and bank.charge" in one.summary
    assert found(workflows(GivesBack), FULL) == []


def test_what_came_late_is_told_and_not_the_money_that_was_given_back() -> None:
    """The booking arrives after its cancellation: the room is the harm, and not the charge."""
    late = Delay(Site("worker.book/hotel.book"), lasting="next")
    first, *_ = found(workflows(GivesBack), late)
    assert (first.kind, first.place) == ("half done", "hotel.book")
    assert "was taken back by bank.refund, and yet hotel.book(order=o1) stands" in first.summary


WALLET = """
CREATE TABLE wallet (owner TEXT PRIMARY KEY, balance INT, held INT);
INSERT INTO wallet VALUES ('ann', 1000, 0);
CREATE TABLE payments (id TEXT PRIMARY KEY, state TEXT);
CREATE TABLE counts (state TEXT PRIMARY KEY, n INT); INSERT INTO counts VALUES ('paid', 0);
"""


def wallet(*, gives_back: bool, counts: bool = False) -> System:
    """Hold the money, ask the bank, and settle; a no leaves the money held, or gives it back.

    Args:
        gives_back: Whether a payment that failed sets its money free.
        counts: Whether it counts how many were paid, and how many failed.
    """
    system = System("wallets")
    queues = {"pay": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    store, bank = system.add(SQLite("db", WALLET)), system.add(Gateway("bank"))

    @system.service("wallets")
    def wallets(env: Any) -> None:
        db, client = env.connect(store), env.client(bank)

        def on_pay(one: dict) -> None:
            id, cents = one["id"], one["cents"]
            with db:
                new = "INSERT OR IGNORE INTO payments VALUES (?, 'asked')"
                if db.execute(new, (id,)).rowcount:
                    db.execute("UPDATE wallet SET balance = balance - ?, held = held + ?",
                               (cents, cents))  # fmt: skip
            known = "SELECT state FROM payments WHERE id = ?"
            if db.execute(known, (id,)).fetchone()[0] != "asked":
                return
            try:
                client.charge(id, cents, key=id)
                state = "paid"
            except (ConnectionError, TimeoutError):  # no answer is taken for a no
                state = "failed"
            with db:
                db.execute("UPDATE payments SET state = ? WHERE id = ?", (state, id))
                if counts:
                    more = "ON CONFLICT (state) DO UPDATE SET n = n + 1"
                    db.execute(f"INSERT INTO counts VALUES (?, 1) {more}", (state,))
                if state == "paid":
                    db.execute("UPDATE wallet SET held = held - ?", (cents,))
                elif gives_back:
                    db.execute("UPDATE wallet SET balance = balance + ?, held = held - ?",
                               (cents, cents))  # fmt: skip

        env.consume(bus, "pay", on_pay)

    @system.entry(examples=[{"id": "p1", "cents": 300}])
    def pay(env: Any, one: dict) -> None:
        env.publisher(bus)("pay", one)

    return system


NO = ErrorReply(Site("wallets.on_pay/bank.charge"))


def test_money_that_stays_held_for_a_payment_that_failed_is_asked_about() -> None:
    [one] = found(wallet(gives_back=False), NO)
    assert one.question
    assert one.place == "db.wallet"
    assert "(balance=700, held=300, owner=ann)" in one.summary
    assert found(wallet(gives_back=True), NO) == []
    assert found(wallet(gives_back=True, counts=True), NO) == []


@pytest.mark.parametrize("gives_back", [True, False])
def test_a_charge_that_nobody_heard_of_is_told_whatever_else_stays_held(gives_back: bool) -> None:
    unheard = LostReply(Site("wallets.on_pay/bank.charge", "after"))
    first, *_ = found(wallet(gives_back=gives_back), unheard)
    assert (first.kind, first.place, first.question) == ("half done", "bank.charge", False)


STOCK = """
CREATE TABLE stock (sku TEXT PRIMARY KEY, free INT, held INT); INSERT INTO stock VALUES ('s', 9, 0);
CREATE TABLE kept (id TEXT PRIMARY KEY, state TEXT);
"""
SKIPS = {"on_unreadable": "skip"}


def shop(*, listens: bool) -> System:
    """Goods are kept for an order; where its payment is declined, nobody sets them free."""
    system = System("shop")
    topics = {"orders": 1, "kept": 1, "paid": 1, "declined": 1}
    bus, bank = system.add(Kafka("bus", topics)), system.add(
        Gateway("bank", declines=lambda order, cents: cents > 900)
    )  # fmt: skip
    goods = system.add(SQLite("goods", STOCK))
    orders = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT)"))

    @system.service("warehouse")
    def warehouse(env: Any) -> None:
        publish = env.publisher(bus)

        def settle(state: str, back: int) -> Any:
            db = env.connect(goods)

            def on_outcome(order: dict) -> None:
                change = "UPDATE kept SET state = ? WHERE id = ? AND state = 'held'"
                with db:
                    if db.execute(change, (state, order["id"])).rowcount:
                        db.execute("UPDATE stock SET held = held - 1, free = free + ?", (back,))

            return on_outcome

        db = env.connect(goods)

        def on_order(order: dict) -> None:
            with db:
                new = "INSERT OR IGNORE INTO kept VALUES (?, 'held')"
                if db.execute(new, (order["id"],)).rowcount:
                    db.execute("UPDATE stock SET held = held + 1, free = free - 1")
            publish("kept", order, key=order["id"])

        env.consume(bus, "orders", on_order, **SKIPS)
        env.consume(bus, "paid", settle("sold", 0), group="paid", **SKIPS)
        if listens:
            env.consume(bus, "declined", settle("free", 1), group="declined", **SKIPS)

    @system.service("cashier")
    def cashier(env: Any) -> None:
        db, client, publish = env.connect(orders), env.client(bank), env.publisher(bus)

        def on_kept(order: dict) -> None:
            try:
                client.charge(order["id"], order["cents"], key=order["id"])
                state = "paid"
            except Declined:
                state = "declined"
            with db:
                db.execute("INSERT OR REPLACE INTO orders VALUES (?, ?)", (order["id"], state))
            publish(state, order, key=order["id"])

        env.consume(bus, "kept", on_kept, **SKIPS)

    @system.entry(examples=[{"id": "o1", "cents": 500}, {"id": "o2", "cents": 1000}])
    def place(env: Any, order: dict) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_goods_that_stay_held_for_a_declined_order_are_asked_about_without_any_fault() -> None:
    [one] = found(shop(listens=False))
    assert one.question
    assert one.place == "goods.kept"
    assert "already without faults: item 2 (o2) ends as 'declined'" in one.summary
    assert found(shop(listens=True)) == []


def account() -> System:
    """Pays if there is enough, and writes that down after it: who comes meanwhile sees as much."""
    system = System("account")
    queues = {"pay": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    schema = "CREATE TABLE account (cents INT); INSERT INTO account VALUES (100);"
    payments = "CREATE TABLE payments (id TEXT PRIMARY KEY, state TEXT);"
    store, bank = system.add(SQLite("db", schema + payments)), system.add(Gateway("bank"))

    @system.service("payments")
    def build(env: Any) -> None:
        db, client = env.connect(store), env.client(bank)

        def on_pay(one: dict) -> None:
            if db.execute("SELECT 1 FROM payments WHERE id = ?", (one["id"],)).fetchone():
                return
            (left,) = db.execute("SELECT cents FROM account").fetchone()
            if left >= one["cents"]:
                client.charge(one["id"], one["cents"], key=one["id"])
            with db:
                enough = left >= one["cents"]
                row = (one["id"], "paid" if enough else "refused")
                db.execute("INSERT OR IGNORE INTO payments VALUES (?, ?)", row)
                if enough:
                    db.execute("UPDATE account SET cents = cents - ?", (one["cents"],))

        env.consume(bus, "pay", on_pay)

    @system.entry(examples=[{"id": "p1", "cents": 80}, {"id": "p2", "cents": 70}])
    def pay(env: Any, one: dict) -> None:
        env.publisher(bus)("pay", one)

    return system


def test_what_stands_for_an_item_is_told_with_the_word_in_which_it_ends() -> None:
    late = Delay(Site("payments.on_pay/bank.charge"), lasting="timeout")
    told = [one.summary for one in found(account(), late) if one.kind == "effect left"]
    assert told[0] == (
        "item 1 (p1) ends as 'refused', and yet bank.charge(cents=80, order=p1) stands"
    )
