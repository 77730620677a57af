"""What stores cost, beside the same work on bare sqlite3: `python benchmarks/stores.py`.

Ratios are taken in one process, the two sides in turn, best of several rounds: a busy
machine slows both.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from chaosharness import Budget, Crash, KeyValue, Schedule, Site, SQLite, System

SCHEMA = """
CREATE TABLE charges (id TEXT PRIMARY KEY, cents INTEGER NOT NULL, note TEXT);
CREATE TABLE inbox (message TEXT PRIMARY KEY);
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, body TEXT);
"""
OPERATIONS = 500
ROUNDS = 9
RUNS = 300
PLENTY = Budget(events_max=10**9, steps_max=10**9)

Work = Callable[[Any], None]


def insert_and_commit(connection: Any) -> None:
    for number in range(OPERATIONS):
        connection.execute("INSERT INTO charges VALUES (?, ?, ?)", (str(number), number, "note"))
        connection.commit()


def with_block(connection: Any) -> None:
    for number in range(OPERATIONS):
        with connection:
            connection.execute(
                "INSERT INTO charges VALUES (?, ?, ?)", (str(number), number, "note")
            )


def select(connection: Any) -> None:
    for number in range(OPERATIONS):
        connection.execute("SELECT cents FROM charges WHERE id = ?", (str(number),)).fetchone()


def put(kv: Any) -> None:
    for number in range(OPERATIONS):
        kv.put("order", number)


def get(kv: Any) -> None:
    for _ in range(OPERATIONS):
        kv.get("order")


def put_if_absent(kv: Any) -> None:
    for _ in range(OPERATIONS):
        kv.put_if_absent("order", 1)


def microseconds(work: Work, subject: Any) -> float:
    began = time.perf_counter()
    work(subject)
    return (time.perf_counter() - began) / OPERATIONS * 1e6


def bare(work: Work) -> float:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    try:
        return microseconds(work, connection)
    finally:
        connection.close()


def through_ports(store: Any, work: Work) -> float:
    measured = []
    system = System("bench", budget=PLENTY)
    system.add(store)

    @system.entry(examples=[1])
    def enter(env: Any, item: int) -> None:
        measured.append(microseconds(work, env.connect(store)))

    system.run()
    return measured[0]


def compare(work: Work) -> None:
    pairs = [(bare(work), through_ports(SQLite("db", SCHEMA), work)) for _ in range(ROUNDS)]
    raw, ported = (min(side) for side in zip(*pairs, strict=True))
    print(f"{work.__name__:20} {ported:6.2f} us   bare {raw:6.2f} us   {ported / raw:5.2f} x")


def key_value(work: Work) -> None:
    best = min(through_ports(KeyValue("kv"), work) for _ in range(ROUNDS))
    print(f"{'kv ' + work.__name__:20} {best:6.2f} us")


def shop(store: SQLite | None) -> System:
    system = System("shop")
    if store is not None:
        system.add(store)

    @system.service("payments")
    def payments(env: Any) -> None:
        connection = None if store is None else env.connect(store)

        def charge(value: dict[str, Any]) -> None:
            if connection is not None:
                with connection:
                    connection.execute(
                        "INSERT INTO charges VALUES (?, ?, ?)", (value["id"], value["cents"], "")
                    )

        env.serve("charge", charge)

    @system.entry(examples=[{"id": f"o{number}", "cents": number} for number in range(2)])
    def order(env: Any, value: dict[str, Any]) -> None:
        env.call("payments", "charge", value)

    return system


def whole_runs(title: str, schedule: Schedule) -> None:
    without, with_store = shop(None), shop(SQLite("db", SCHEMA))
    figures = []
    for system in (without, with_store):
        rounds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for _ in range(RUNS):
                system.run(schedule=schedule if system is with_store else None)
            rounds.append((time.perf_counter() - began) / RUNS * 1e6)
        figures.append(min(rounds))
    print(f"{title:20} {figures[1]:6.0f} us   without {figures[0]:.0f} us (calm)")


if __name__ == "__main__":
    for each in (insert_and_commit, with_block, select):
        compare(each)
    for each in (put, get, put_if_absent):
        key_value(each)
    whole_runs("a run with 2 commits", Schedule())
    whole_runs("the same, crashing", Schedule([Crash(Site("payments.charge/db.commit", "after"))]))
