"""A place in a log may differ: what was sent twice moves it, and nothing else."""

from chaosharness import Duplicate, Kafka, SQLite, System
from tests.checkers.outcomes.sweep import groups, sweep

SCHEMA = """
CREATE TABLE seen (id TEXT PRIMARY KEY);
CREATE TABLE sums (who TEXT PRIMARY KEY, n INT);
CREATE TABLE places (part INT PRIMARY KEY, next INT);
"""


def ledger(*, inbox: bool) -> System:
    """Sums by an inbox, and the offset beside them; or the offset is all there is."""
    system = System("ledger")
    bus = system.add(Kafka("bus", topics={"earned": 1}))
    store = system.add(SQLite("db", SCHEMA))

    @system.service("ledger", replicas=2)
    def service(env):
        db = env.connect(store)

        def on_record(record: dict, delivery):
            with db:
                db.execute("BEGIN IMMEDIATE")
                known = db.execute("SELECT next FROM places").fetchone() or (0,)
                new = db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (record["id"],)).rowcount
                if new if inbox else delivery.offset >= known[0]:
                    db.execute(
                        "INSERT INTO sums VALUES (?, ?) ON CONFLICT (who) DO UPDATE "
                        "SET n = n + excluded.n",
                        (record["who"], record["n"]),
                    )
                next_ = max(known[0], delivery.offset + 1)
                db.execute(
                    "INSERT INTO places VALUES (?, ?) ON CONFLICT (part) DO UPDATE "
                    "SET next = excluded.next",
                    (delivery.partition, next_),
                )

        env.consume(bus, "earned", on_record, on_error="dead-letter", retries_max=60)

    @system.entry(examples=[{"id": "a1", "who": "ann", "n": 5}, {"id": "b2", "who": "bob", "n": 7}])
    def earn(env, record):
        env.publisher(bus)("earned", record, key=record["who"])

    return system


def test_an_offset_beside_a_right_sum_is_no_difference():
    assert sweep(ledger(inbox=True)) == []


def test_who_goes_by_offsets_alone_counts_twice_what_was_sent_twice():
    found = sweep(ledger(inbox=False), kinds=Duplicate)
    assert groups(found) == {("row differs", "db.sums.n+")}
