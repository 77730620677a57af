"""Who comes first may decide why an order is cancelled, for each order by itself."""

import pytest

from chaosharness import (
    Delay,
    ErrorReply,
    Gateway,
    Kafka,
    Schedule,
    Site,
    SQLite,
    System,
    explore,
)
from chaosharness.errors import PropertyViolated
from chaosharness.faults import Fault
from models.order.broken import charge_without_key
from models.order.events import Order
from models.order.right import order_flow

#: The last two are out of stock and too dear: the faster of two services says why.
ORDERS = [Order("o1", "book", 500), Order("o2", "unicorn", 10**6), Order("o3", "unicorn", 10**6)]
RESERVED = Site("inventory.on_order/bus.publish reserved")


@pytest.mark.parametrize("fault", [ErrorReply(RESERVED), Delay(RESERVED, lasting="timeout")])
def test_one_order_is_cancelled_for_another_reason_behind_one_that_is_retried(fault: Fault) -> None:
    order_flow().run(ORDERS, Schedule([fault])).check()


def test_a_double_charge_beside_them_is_named_all_the_same() -> None:
    lost = Delay(Site("payments.on_order/bank.charge"), lasting="timeout")
    with pytest.raises(PropertyViolated, match="o1"):
        charge_without_key().run(ORDERS, Schedule([ErrorReply(RESERVED), lost])).check()


PARCELS = "CREATE TABLE parcels (id TEXT PRIMARY KEY, state TEXT);"
PAYMENTS = "CREATE TABLE pay (id TEXT PRIMARY KEY, state TEXT);"
TWO = [{"id": "o1", "cents": 500, "end": 1}, {"id": "o2", "cents": 7, "end": 0}]


def cancelled(*, raises: bool) -> System:
    """An order that is cancelled is paid back, or never paid where that is heard of first."""
    system = System("cancelled")
    bus = system.add(Kafka("bus", topics={"ordered": 1, "paid": 1, "cancelled": 1}))
    store, bank = system.add(SQLite("db", PAYMENTS)), system.add(Gateway("bank"))
    parcels = system.add(
        SQLite("parcels", "CREATE TABLE parcels (id TEXT PRIMARY KEY, state TEXT);")
    )

    @system.service("payments")
    def payments(env):
        paying, ending = env.connect(store), env.connect(store)
        client, publish = env.client(bank), env.publisher(bus)
        known, write = "SELECT state FROM pay WHERE id = ?", "UPDATE pay SET state = ? WHERE id = ?"

        def turned(db, order, states):
            with db:
                db.execute("BEGIN IMMEDIATE")
                state = (db.execute(known, (order["id"],)).fetchone() or [None])[0]
                if state is None:
                    db.execute("INSERT INTO pay VALUES (?, ?)", (order["id"], states[None]))
                elif state in states:
                    db.execute(write, (states[state], order["id"]))
            return states.get(state, state)

        def refund(db, order):
            client.refund(order["id"], order["cents"], key=f"{order['id']}-back")
            with db:
                db.execute(write, ("cancelled", order["id"]))

        def on_ordered(order: dict):
            state = turned(paying, order, {None: "charging"})
            if state in ("charging", "stopping"):
                client.charge(order["id"], order["cents"], key=order["id"])
                state = turned(paying, order, {"charging": "charged"})
            if state == "stopping":
                refund(paying, order)
            elif state == "charged":
                try:
                    publish("paid", order, key=order["id"])
                except (ConnectionError, TimeoutError):
                    if raises:
                        raise

        def on_cancelled(order: dict):
            state = turned(ending, order, {None: "cancelled", "charging": "stopping"})
            if state == "charged":
                refund(ending, order)

        env.consume(bus, "ordered", on_ordered, on_error="dead-letter", retries_max=60)
        env.consume(bus, "cancelled", on_cancelled, on_error="dead-letter", retries_max=60)

    @system.service("shipping")
    def shipping(env):
        packing, stopping = env.connect(parcels), env.connect(parcels)
        new = "INSERT INTO parcels VALUES (?, ?) ON CONFLICT (id) DO"

        def on_paid(order: dict):
            with packing:
                packing.execute(f"{new} NOTHING", (order["id"], "packed"))

        def on_cancelled(order: dict):
            with stopping:
                stopping.execute(f"{new} UPDATE SET state = 'stopped'", (order["id"], "stopped"))

        env.consume(bus, "paid", on_paid, on_error="dead-letter", retries_max=60)
        env.consume(bus, "cancelled", on_cancelled, on_error="dead-letter", retries_max=60)

    @system.entry(
        examples=[{"id": "o1", "cents": 500, "end": 1}, {"id": "o2", "cents": 7, "end": 0}]
    )
    def place(env, order):
        publish = env.publisher(bus)
        publish("ordered", order, key=order["id"])
        if order["end"]:
            env.sleep(30)
            publish("cancelled", order, key=order["id"])

    return system


def test_who_hears_of_a_cancellation_first_tells_nobody_of_a_payment() -> None:
    campaign = explore(cancelled(raises=True), faults_max=1)
    assert not campaign.counterexamples


def test_a_payment_of_which_nobody_is_told_is_named_beside_it() -> None:
    campaign = explore(cancelled(raises=False), faults_max=1)
    assert any(one.place == "bus.paid" for one in campaign.questions)
