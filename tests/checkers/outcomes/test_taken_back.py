"""Rows that stand although the system takes such rows back, and nothing else moves: bookings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chaosharness import (
    Crash,
    ErrorReply,
    Kafka,
    LostReply,
    Schedule,
    Site,
    SQLite,
    StepFunctions,
    System,
    assumed,
    idempotent,
)
from chaosharness.checkers.property import Finding

SCHEMA = """
    create table flights (trip text primary key, status text);
    create table hotels (trip text primary key, status text);
    create table payments (trip text primary key, status text);
    create table steps (trip text, step text, outcome text, primary key (trip, step));
"""
LOST = Schedule([LostReply(Site("trips.hotel/hotel", "after"))])
"""The hotel is booked, and the state that asked for it never hears so."""


def trips(*, again: str = "refuses", undoes: str = "hotel", steps: bool = False) -> System:
    """Books a flight, then a hotel, then takes the money: rows of its own, and no third party.

    Args:
        again: What a booking does that comes again: `refuses` it, or `agrees`.
        undoes: What is undone once the hotel cannot be had: the `flight`, or the `hotel` too.
        steps: Whether each step is written down, with what came of it.
    """
    system = System("trips")
    sfn = system.add(StepFunctions("sfn", machines={"trips": machine(undoes)}))
    db = system.add(SQLite("db", schema=SCHEMA))

    @system.service("functions")
    def functions(env: Any) -> None:
        def insert(table: str, status: str, trip: str) -> None:
            word = "or ignore" if again == "agrees" else ""
            with env.connect(db) as connection:
                connection.execute(f"insert {word} into {table} values (?, ?)", (trip, status))
                if steps:
                    written = (trip, table, "done")
                    connection.execute("insert or replace into steps values (?, ?, ?)", written)

        def cancel(table: str, trip: str) -> None:
            with env.connect(db) as connection:
                statement = f"update {table} set status = 'cancelled' where trip = ?"
                connection.execute(statement, (trip,))

        does = {
            "flight": lambda trip: insert("flights", "booked", trip),
            "hotel": lambda trip: insert("hotels", "booked", trip),
            "pay": lambda trip: insert("payments", "paid", trip),
            "cancel-flight": lambda trip: cancel("flights", trip),
            "cancel-hotel": lambda trip: cancel("hotels", trip),
        }
        for name, do in does.items():
            env.function(sfn, name, lambda event, _, do=do: do(event["id"]))

    @system.entry(examples=[{"id": "t1"}])
    def book(env: Any, trip: dict[str, str]) -> None:
        client = env.client(sfn)
        client.start_execution(stateMachineArn="trips", name=trip["id"], input=json.dumps(trip))

    return system


def machine(undoes: str) -> dict[str, Any]:
    again = {"ErrorEquals": ["Lambda.SdkClientException"], "MaxAttempts": 5}

    def task(name: str, then: str, back: str = "") -> dict[str, Any]:
        catch = [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": back}]
        more: dict[str, Any] = {"Catch": catch} if back else {}
        end = {"Next": then}
        return {
            "Type": "Task", "Resource": name, "ResultPath": None, "Retry": [again], **more, **end,
        }  # fmt: skip

    return {
        "StartAt": "flight",
        "States": {
            "flight": task("flight", "hotel"),
            "hotel": task("hotel", "pay", "no " + undoes),
            "pay": task("pay", "booked", "no hotel"),
            "no hotel": task("cancel-hotel", "no flight"),
            "no flight": task("cancel-flight", "failed"),
            "booked": {"Type": "Succeed"},
            "failed": {"Type": "Fail", "Error": "NoTrip"},
        },
    }


def told(system: System, schedule: Schedule, *answers: Any) -> list[Finding]:
    run = system.run(None, schedule)
    assert run.unused == ()
    claims = answers or assumed(system)
    return [one for claim in claims for one in claim.findings(run.evidence())]


def test_a_row_that_is_left_where_the_others_were_taken_back() -> None:
    """The second try is refused, for the first has booked: so the flight is cancelled alone."""
    [found] = told(trips(undoes="flight"), LOST)
    assert (found.kind, found.place, found.question) == ("half done", "db.hotels", False)
    assert "ends as 'cancelled' in db.flights, and yet db.hotels(status=booked" in found.summary
    assert "where pay is refused for good, that is taken back" in found.summary


@pytest.mark.parametrize(
    "system",
    [
        trips(again="agrees", undoes="flight"),
        trips(),
        trips(again="agrees", undoes="flight", steps=True),
        trips(steps=True),
    ],
    ids=["goes on", "cancels both", "goes on, and writes it down", "cancels both, and writes"],
)
def test_whoever_ends_whole_is_not_asked(system: System) -> None:
    assert told(system, LOST) == []


def test_what_stands_where_a_workflow_has_failed_is_asked_about() -> None:
    """No state catches what happens to the first: its row stands, and the execution has failed."""
    died = Schedule([Crash(Site("functions.<lambda>/db.commit", "after"))])
    [found] = told(trips(), died)
    assert (found.kind, found.place, found.question) == ("stands", "db.flights", True)
    answer = idempotent(may_end=[("db.flights", "execution failed")])
    assert told(trips(), died, answer) == []


# ---- choreography


def shop(*, forgets: bool) -> System:
    """Reserves, then has it paid; whoever hears that nobody pays sets free what was reserved."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1, "reserved": 1, "unpaid": 1}))
    db = system.add(
        SQLite(
            "db",
            schema="create table orders (id text primary key, status text);"
            "create table stock (id text primary key, status text);",
        )
    )

    def write(env: Any, table: str, id: str, status: str) -> None:
        with env.connect(db) as connection:
            connection.execute(f"insert or replace into {table} values (?, ?)", (id, status))

    @system.service("stock")
    def stock(env: Any) -> None:
        publish = env.publisher(bus)

        def on_order(order: dict[str, str]) -> None:
            write(env, "stock", order["id"], "reserved")
            publish("reserved", order, key=order["id"])

        env.consume(bus, "orders", on_order)
        env.consume(bus, "unpaid", lambda order: write(env, "stock", order["id"], "free"))

    @system.service("desk")
    def desk(env: Any) -> None:
        publish = env.publisher(bus)

        def on_reserved(order: dict[str, str]) -> None:
            try:
                env.call("bank", "pay", order["id"])
            except (TimeoutError, ConnectionError):
                write(env, "orders", order["id"], "unpaid")
                try:
                    publish("unpaid", order, key=order["id"])
                except (TimeoutError, ConnectionError):
                    if not forgets:
                        raise
                return
            write(env, "orders", order["id"], "paid")

        env.consume(bus, "reserved", on_reserved)

    @system.service("bank")
    def bank(env: Any) -> None:
        env.serve("pay", lambda id: "paid")

    @system.entry(examples=[{"id": "o1"}])
    def place(env: Any, order: dict[str, str]) -> None:
        env.publisher(bus)("orders", order, key=order["id"])

    return system


NEVER_HEARD = Schedule(
    [
        LostReply(Site("desk.on_reserved/bank.pay", "after")),
        ErrorReply(Site("desk.on_reserved/bus.publish unpaid")),
    ]
)


def test_what_nobody_set_free_since_the_word_was_swallowed() -> None:
    [found] = told(shop(forgets=True), NEVER_HEARD, idempotent())
    assert (found.kind, found.place) == ("half done", "db.stock")
    assert "ends as 'unpaid' in db.orders, and yet db.stock(id=o1, status=reserved)" in (
        found.summary
    )


def test_whoever_raises_there_says_it_again() -> None:
    assert told(shop(forgets=False), NEVER_HEARD, idempotent()) == []
