"""Money on accounts, by a topic that may be compacted: of each key the last record is left.

chaosharness run models.kafka.moves:moves
"""

from __future__ import annotations

from msgspec import Struct

from chaosharness import (
    Books,
    Env,
    History,
    Kafka,
    KafkaTopic,
    SQLite,
    System,
    eventually,
    idempotent,
)

SCHEMA = """
CREATE TABLE moves (id TEXT PRIMARY KEY, account TEXT, cents INTEGER);
CREATE TABLE balances (account TEXT PRIMARY KEY, cents INTEGER, version INTEGER);
"""
COMPACTED = KafkaTopic(compacted=True)


class Move(Struct, frozen=True):
    """Money that comes or goes; and what there is then."""

    id: str
    account: str
    cents: int
    balance: int
    version: int


MOVES = [
    Move("m1", "ann", 500, 500, 1),
    Move("m2", "bob", 300, 300, 1),
    Move("m3", "ann", -200, 300, 2),
    Move("m4", "ann", 400, 700, 3),
]


def moves() -> System:
    """The right one: each move is booked once, by its id, and none is ever gone."""
    return _system("moves", KafkaTopic(), by_balance=False)


def balances() -> System:
    """The right one on a compacted topic: a record says what there is, and the newest counts."""
    return _system("balances", COMPACTED, by_balance=True)


def moves_on_a_compacted_topic() -> System:
    """Each move is needed, and the cleaner leaves the last one of each account."""
    return _system("moves-compacted", COMPACTED, by_balance=False)


def _system(name: str, topic: KafkaTopic, *, by_balance: bool) -> System:
    system = System(name, arrival_ms=1_000)
    bus = system.add(Kafka("bus", {"moves": topic}, idempotent_producer=True))
    bank = system.add(SQLite("bank-db", schema=SCHEMA))

    @system.service("bank")
    def books(env: Env) -> None:
        db = env.connect(bank)

        def on_move(move: Move) -> None:
            if by_balance:
                db.execute(
                    "INSERT INTO balances VALUES (?, ?, ?) ON CONFLICT (account) DO UPDATE SET "
                    "cents = excluded.cents, version = excluded.version "
                    "WHERE excluded.version > balances.version",
                    (move.account, move.balance, move.version),
                )
            else:
                row = (move.id, move.account, move.cents)
                db.execute("INSERT OR IGNORE INTO moves VALUES (?, ?, ?)", row)
            db.commit()

        env.consume(bus, "moves", on_move, reset="earliest", on_unreadable="skip")

    @system.entry(examples=MOVES)
    def happen(env: Env, move: Move) -> None:
        env.publisher(bus)("moves", move, key=move.account)

    def adds_up(history: History) -> bool:
        found: dict[str, int] = {}
        for row in Books(history).rows("bank-db", "balances" if by_balance else "moves"):
            found[row["account"]] = found.get(row["account"], 0) + row["cents"]
        return found == {"ann": 700, "bob": 300}

    system.claim(eventually("each account has its money", adds_up), idempotent())
    return system
