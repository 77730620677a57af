"""What stores cost, beside the same work on bare sqlite3.

    python -m benchmarks.stores

Processor time, the one clock that is not pinned inside a run; the two sides take turns, so
that a busy machine is busy for both.
"""

from __future__ import annotations

import gc
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.measure import table
from chaosharness import Budget, Crash, KeyValue, Schedule, Site, SQLite, System

SCHEMA: Final = """
CREATE TABLE charges (id TEXT PRIMARY KEY, cents INTEGER NOT NULL, note TEXT);
CREATE TABLE inbox (message TEXT PRIMARY KEY);
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, body TEXT);
"""
INSERT: Final = "INSERT INTO charges VALUES (?, ?, ?)"
OPERATIONS: Final = 500
ROUNDS: Final = 25
RUNS: Final = 100
PLENTY: Final = Budget(events_max=10**9, steps_max=10**9)

Work = Callable[[Any, int], None]


def insert_and_commit(connection: Any, times: int) -> None:
    """One row, one commit, as most handlers do."""
    for number in range(times):
        connection.execute(INSERT, (str(number), number, "note"))
        connection.commit()


def insert_in_a_with_block(connection: Any, times: int) -> None:
    """The same with a context manager."""
    for number in range(times):
        with connection:
            connection.execute(INSERT, (str(number), number, "note"))


def select_one(connection: Any, times: int) -> None:
    """One row by its primary key, which is not there."""
    for number in range(times):
        connection.execute("SELECT cents FROM charges WHERE id = ?", (str(number),)).fetchone()


def put(kv: Any, times: int) -> None:
    """Write one key."""
    for number in range(times):
        kv.put("order", number)


def get(kv: Any, times: int) -> None:
    """Read one key."""
    for _ in range(times):
        kv.get("order")


def put_if_absent(kv: Any, times: int) -> None:
    """Find that a key is there."""
    for _ in range(times):
        kv.put_if_absent("order", 1)


def seconds(function: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    gc.collect()
    begun = time.process_time()
    function()
    return time.process_time() - begun


def bare(work: Work) -> Callable[[], float]:
    """Return what measures work on sqlite3 itself, in seconds per operation."""

    def measure() -> float:
        connection = sqlite3.connect(":memory:")
        connection.executescript(SCHEMA)
        taken = seconds(lambda: work(connection, OPERATIONS))
        connection.close()
        return taken / OPERATIONS

    return measure


def through_ports(store: Any, work: Work) -> Callable[[], float]:
    """Return what measures work on a store in a run, in seconds per operation."""
    taken = 0.0
    system = System("bench", budget=PLENTY)
    system.add(store)

    @system.entry(examples=[OPERATIONS])
    def enter(env: Any, times: int) -> None:
        nonlocal taken
        connection = env.connect(store)
        taken = seconds(lambda: work(connection, times))

    def measure() -> float:
        system.run()
        return taken / OPERATIONS

    return measure


def in_turns(*sides: Callable[[], float]) -> list[float]:
    """Return the best of several rounds of each side."""
    rounds = [[side() for side in sides] for _ in range(ROUNDS)]
    return [min(figures) for figures in zip(*rounds, strict=True)]


def shop(store: SQLite | None) -> System:
    """Two orders, each charged by a call: with a row in a database, or with nothing."""
    system = System("shop")
    if store is not None:
        system.add(store)

    @system.service("payments")
    def payments(env: Any) -> None:
        connection = None if store is None else env.connect(store)

        def charge(value: dict[str, Any]) -> None:
            if connection is not None:
                with connection:
                    connection.execute(INSERT, (value["id"], value["cents"], ""))

        env.serve("charge", charge)

    @system.entry(examples=[{"id": f"o{number}", "cents": number} for number in range(2)])
    def order(env: Any, value: dict[str, Any]) -> None:
        env.call("payments", "charge", value)

    return system


def whole(system: System, schedule: Schedule) -> Callable[[], float]:
    """Return what measures a whole run, its database put back, in seconds."""

    def measure() -> float:
        def runs() -> None:
            for _ in range(RUNS):
                system.run(schedule=schedule)

        return seconds(runs) / RUNS

    return measure


def us(figure: float) -> str:
    """Spell seconds as microseconds."""
    return f"{figure * 1e6:.2f} us"


def main() -> None:
    """Print the tables."""
    lines: list[tuple[str, ...]] = [("", "through ports", "bare sqlite3", "ratio")]
    for work in (insert_and_commit, insert_in_a_with_block, select_one):
        raw, ported = in_turns(bare(work), through_ports(SQLite("db", SCHEMA), work))
        lines.append((work.__name__, us(ported), us(raw), f"{ported / raw:.2f}"))
    table("SQLite, per operation", lines)

    lines = [
        (work.__name__, us(in_turns(through_ports(KeyValue("kv"), work))[0]))
        for work in (put, get, put_if_absent)
    ]
    table("key-value store, per operation", lines)

    crash = Schedule([Crash(Site("payments.charge/db.commit", "after"))])
    with_store = shop(SQLite("db", SCHEMA))
    figures = in_turns(
        whole(shop(None), Schedule()), whole(with_store, Schedule()), whole(with_store, crash)
    )
    names = ("no store", "with 2 commits", "with 2 commits and a crash")
    rows = [(name, us(figure)) for name, figure in zip(names, figures, strict=True)]
    table("a whole run of 2 calls", rows)


if __name__ == "__main__":
    main()
