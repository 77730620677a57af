"""Two events must come together, over eight log partitions. And the half that never comes?

chaosharness run models.questions.join:counts_in_memory
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any, Final

from msgspec import Struct

from chaosharness import Env, Kafka, SQLite, System, eventually, joins_complete
from chaosharness.kernel.history import History
from models.questions import PATIENT

PARTITIONS: Final = 8
PATIENCE_MS: Final = 60_000
SCHEMA: Final = """
CREATE TABLE halves (
    order_id TEXT NOT NULL, half TEXT NOT NULL, PRIMARY KEY (order_id, half)
);
CREATE TABLE waiting (
    order_id TEXT PRIMARY KEY, since_ms INTEGER NOT NULL, word TEXT, said INTEGER NOT NULL DEFAULT 0
);
"""


class Half(Struct, frozen=True):
    """A payment, or a reservation."""

    order: str


class Placed(Struct, frozen=True):
    """An order; of some the warehouse never says a word."""

    order: str
    reserved: bool = True


class Join:
    """Keeps halves in a table that all replicas share, and gives up what waits for too long."""

    def __init__(
        self, db: sqlite3.Connection, publish: Any, now_ms: Any, counts: Counter[str]
    ) -> None:
        self.db = db
        self.publish = publish
        self.now_ms = now_ms
        self.counts = counts

    def on_paid(self, half: Half) -> None:
        """Have one half."""
        self.have(half.order, "paid")

    def on_reserved(self, half: Half) -> None:
        """Have the other half."""
        self.have(half.order, "reserved")

    def have(self, order: str, half: str) -> None:
        """Keep a half; with both, it is decided."""
        with self.db:
            self.db.execute("INSERT OR IGNORE INTO halves VALUES (?, ?)", (order, half))
            words = (order, self.now_ms())
            command = "INSERT OR IGNORE INTO waiting (order_id, since_ms) VALUES (?, ?)"
            self.db.execute(command, words)
            query = "SELECT COUNT(*) FROM halves WHERE order_id = ?"
            if self.db.execute(query, (order,)).fetchone()[0] == 2:
                self.decide(order, "confirmed")
        self.say()

    def look_after(self) -> None:
        """Give up what waits for too long, and say what is decided and was not said."""
        query = "SELECT order_id FROM waiting WHERE word IS NULL AND since_ms <= ?"
        with self.db:
            for (order,) in self.db.execute(query, (self.now_ms() - PATIENCE_MS,)).fetchall():
                self.decide(order, "given-up")
        self.say()

    def decide(self, order: str, word: str) -> None:
        """Write down how it ended: the first word counts."""
        command = "UPDATE waiting SET word = ? WHERE order_id = ? AND word IS NULL"
        self.db.execute(command, (word, order))

    def say(self) -> None:
        """Publish what is decided. It may be said twice, and the word never changes."""
        query = "SELECT order_id, word FROM waiting WHERE word IS NOT NULL AND said = 0"
        for order, word in self.db.execute(query).fetchall():
            if word == "confirmed":
                self.publish("confirmed", Half(order), key=order)
            else:
                self.publish("given-up", Half(order), key=order)
            with self.db:
                self.db.execute("UPDATE waiting SET said = 1 WHERE order_id = ?", (order,))


class CountsInMemory(Join):
    """Counts in the memory of each replica: halves of one order meet where their keys are alike."""

    def have(self, order: str, half: str) -> None:
        self.counts[order] += 1
        if self.counts[order] == 2:
            self.publish("confirmed", Half(order), key=order)

    def look_after(self) -> None:
        """Nobody knows what is missing."""


class WaitsForEver(Join):
    """Keeps halves well, and has nobody look at those that stay alone."""

    def look_after(self) -> None:
        self.say()


def right(*, join: type[Join] = Join) -> System:
    """Build the join, of two replicas."""
    shop = System("join")
    topics = ("placed", "paid", "reserved", "confirmed", "given-up")
    bus = shop.add(Kafka("bus", dict.fromkeys(topics, PARTITIONS)))
    halves = shop.add(SQLite("halves-db", SCHEMA))

    @shop.service("sources")
    def sources(env: Env) -> None:
        publish = env.publisher(bus)

        def on_placed(placed: Placed) -> None:
            publish("paid", Half(placed.order), key=placed.order)
            if placed.reserved:
                publish("reserved", Half(placed.order), key=placed.order)

        env.consume(bus, "placed", on_placed, **PATIENT)

    @shop.service("join", replicas=2)
    def joining(env: Env) -> None:
        counts: Counter[str] = Counter()

        def one() -> Join:  # each consumer is a thread, with a connection of its own
            return join(env.connect(halves), env.publisher(bus), env.now_ms, counts)

        env.consume(bus, "paid", one().on_paid, **PATIENT)
        env.consume(bus, "reserved", one().on_reserved, **PATIENT)
        env.every(10, one().look_after)

    @shop.entry(examples=[Placed("o1"), Placed("o2", reserved=False)])
    def place(env: Env, placed: Placed) -> None:
        env.publisher(bus)("placed", placed, key=placed.order)

    shop.claim(
        joins_complete(["paid", "reserved"], "confirmed", or_else="given-up"),
        eventually("every order hears one word", _words, or_put_aside=True),
    )
    return shop


def _words(history: History) -> list[str]:
    """Return what is wrong with what orders were told: nothing, or two different things."""
    told: dict[str, set[str]] = {}
    for event in history.of("publish"):
        topic, key = str(event.data["topic"]), str(event.data.get("key") or "")
        if not key:
            continue  # nobody can read it
        if topic in ("paid", "reserved"):
            told.setdefault(key, set())
        elif topic in ("confirmed", "given-up"):
            told.setdefault(key, set()).add(topic)
    silent = [f"{order} is waited for, for ever" for order, words in told.items() if not words]
    both = [f"{order} was told both ways" for order, words in told.items() if len(words) > 1]
    return silent + both


def counts_in_memory() -> System:
    """A duplicate is counted as the other half, and a crash forgets the first."""
    return right(join=CountsInMemory)


def waits_for_ever() -> System:
    """The half that never comes is missed by nobody."""
    return right(join=WaitsForEver)
