"""Who is declined without faults, and ends as who is not; a dead letter that is only logged."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from chaosharness import (
    Declined,
    Gateway,
    KeyValue,
    NetworkPartition,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    System,
    assumed,
    idempotent,
)
from chaosharness.checkers.property import Finding


def found(system: System, *faults: Any) -> list[Finding]:
    evidence = system.run(None, Schedule(faults)).evidence()
    claims = system.properties or assumed(system)
    return [one for claim in claims for one in claim.findings(evidence)]


def confirmed_at_once(*, says: str = "") -> System:
    """An order is confirmed, and paid for later; one that is declined is `refused`, or stays so.

    Args:
        says: By what an order that is declined is told: its `word`, a `flag`, a `message`; nothing.
    """
    system = System("shop")
    queues = {
        one: Queue("quorum", dead_letter="parked") for one in ("orders", "settle", "declined")
    }
    bus = system.add(RabbitMQ("bus", queues={**queues, "parked": Queue()}))
    schema = "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT, unpaid INT)"
    store = system.add(SQLite("db", schema))
    bank = system.add(Gateway("bank", declines=lambda order, cents: cents > 900))

    @system.service("orders")
    def orders(env: Any) -> None:
        placing, settling, publish = env.connect(store), env.connect(store), env.publisher(bus)
        client = env.client(bank)

        def on_order(order: dict) -> None:
            with placing:
                row = (order["id"], "confirmed", 0)
                placing.execute("INSERT OR IGNORE INTO orders VALUES (?, ?, ?)", row)
            publish("settle", order)

        def settle(order: dict) -> None:
            try:
                client.charge(order["id"], order["cents"], key=order["id"])
            except Declined:
                logging.getLogger("shop").debug("declined: %s", order["id"])
                if says == "message":
                    publish("declined", {"id": order["id"]})
                change = {"word": "state = 'refused'", "flag": "unpaid = 1"}.get(says)
                if change:
                    with settling:
                        settling.execute(f"UPDATE orders SET {change} WHERE id = ?", (order["id"],))

        env.consume(bus, "orders", on_order)
        env.consume(bus, "settle", settle)
        env.consume(bus, "declined", lambda order: env.note("declined", order=order["id"]))

    @system.entry(examples=[{"id": "o1", "cents": 500}, {"id": "o2", "cents": 1000}])
    def place(env: Any, order: dict) -> None:
        env.publisher(bus)("orders", order)

    return system


def test_an_order_that_is_confirmed_although_it_was_declined_is_asked_about() -> None:
    [one] = found(confirmed_at_once())
    assert one.question
    assert (one.kind, one.place) == ("optional", "bank.charge")
    assert "already without faults: item 2 (o2) goes on as item 1 does" in one.summary


@pytest.mark.parametrize("says", ["word", "flag", "message"])
def test_who_says_that_an_order_was_declined_is_not_asked(says: str) -> None:
    assert found(confirmed_at_once(says=says)) == []


def test_who_says_that_the_charge_may_be_missing_is_not_asked() -> None:
    system = confirmed_at_once()
    system.claim(idempotent(optional=["bank.charge"]))
    assert found(system) == []


def parked(*, keeps: str) -> System:
    """After three tries an order is a dead letter, which a handler logs, or keeps."""
    system = System("payments")
    queues = {"pay": Queue("quorum", dead_letter="dead", delivery_limit=2), "dead": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    bank, kept = system.add(Gateway("bank", timeout_ms=1_000)), system.add(KeyValue("kept"))

    @system.service("payments")
    def payments(env: Any) -> None:
        client, store = env.client(bank), env.connect(kept)

        def on_dead(order: dict) -> None:
            logging.getLogger("payments").debug("dead letter: %s", order["id"])
            if keeps == "row":
                store.put(order["id"], "failed")
            if keeps == "note":
                env.note("a person sees to it", order=order["id"])

        env.consume(bus, "pay", lambda one: client.charge(one["id"], one["cents"], key=one["id"]))
        if keeps != "queue":
            env.consume(bus, "dead", on_dead)

    @system.entry(examples=[{"id": "p1", "cents": 100}, {"id": "p2", "cents": 200}])
    def pay(env: Any, order: dict) -> None:
        env.publisher(bus)("pay", order)

    return system


CUT_OFF = NetworkPartition(Site("payments.<lambda>/bank.charge"), way="both", lasting="long")


def test_a_dead_letter_that_is_only_logged_is_forgotten() -> None:
    first, *_ = found(parked(keeps="nothing"), CUT_OFF)
    assert first.kind == "forgotten"
    assert "nothing came of item 1 (p1), and nobody was told" in first.summary


@pytest.mark.parametrize("keeps", ["queue", "row", "note"])
def test_a_dead_letter_that_somebody_has_is_excused(keeps: str) -> None:
    assert found(parked(keeps=keeps), CUT_OFF) == []
