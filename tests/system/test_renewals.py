"""A lease that is renewed, a heartbeat in a table, a lock taken and given back: nothing changes."""

import uuid

import pytest

from chaosharness import Budget, KeyValue, SQLite, System
from chaosharness.kernel.spans import EPOCH_MS, is_the_same_later

NOW = 100_000


def at(ms):
    """Return a moment of the run in seconds of Unix time."""
    return (EPOCH_MS + ms) / 1000


@pytest.mark.parametrize(
    ("former", "value", "same"),
    [
        ({"by": "a", "until": at(30_000)}, {"by": "a", "until": at(NOW + 30_000)}, True),
        ({"by": "a", "until": at(30_000)}, {"by": "b", "until": at(NOW + 30_000)}, False),
        ({"by": "a", "until": at(30_000)}, {"by": "a", "until": at(NOW + 40_000)}, False),
        ({"until": at(30_000), "n": 1}, {"until": at(NOW + 30_000), "n": 2}, False),
        ([500, 30_000], [500, NOW + 30_000], True),  # since the start of the run
        ([500, 30_000], [600, NOW + 30_000], False),
        ({"at": "2030-01-01T00:00:00"}, {"at": "2030-01-01T00:01:40"}, True),
        ({"at": "2030-01-01T00:00:00"}, {"at": "2030-01-01T00:03:20"}, False),
        ({"at": None}, {"at": at(NOW)}, False),
        ([at(0)], [at(NOW), at(NOW)], False),
        (["0123456789abcdef0123456789abcdef"], ["fedcba9876543210fedcba9876543210"], True),
        ([str(uuid.UUID(int=1))], [str(uuid.UUID(int=2))], True),
        (["0000000000000041"], ["0000000000000042"], False),  # somebody counts
        (["cafe"], ["babe"], False),
    ],
)
def test_a_value_is_the_same_later_if_only_times_went_on(former, value, same):
    assert is_the_same_later(value, NOW, former, 0) is same


def beating(step):
    """A service that does something each ten seconds, for ever."""
    system = System("beats")
    kv = system.add(KeyValue("kv"))
    store = system.add(SQLite("db", "CREATE TABLE beats (worker TEXT PRIMARY KEY, at REAL, n INT)"))

    @system.service("beats")
    def beats(env):
        items, db = env.connect(kv), env.connect(store)
        env.every(10, lambda: step(env, items, db))

    @system.entry(examples=["x"])
    def begin(env, item):
        env.connect(kv).put(item, "here")

    return system


def lease(env, kv, db):
    kv.put("lease", {"by": env.incarnation.label, "until": env.now_ms() + 30_000})


def beat(env, kv, db):
    with db:
        row = ("w", at(env.now_ms()))
        db.execute("INSERT OR REPLACE INTO beats VALUES (?, ?, 1)", row)


def count(env, kv, db):
    kv.put("count", {"n": kv.get("count", {"n": 0})["n"] + 1, "at": env.now_ms()})


def count_in_a_table(env, kv, db):
    with db:
        row = ("w", at(env.now_ms()))
        db.execute(
            "INSERT INTO beats VALUES (?, ?, 1) ON CONFLICT (worker) DO UPDATE SET n = n + 1", row
        )


def lock(env, kv, db):
    if kv.put_if_absent("lock", str(uuid.uuid4())):
        kv.delete("lock")


def lock_in_a_table(env, kv, db):
    with db:
        db.execute("INSERT OR IGNORE INTO beats VALUES ('lock', ?, 1)", [at(env.now_ms() + 30_000)])
    with db:
        db.execute("DELETE FROM beats WHERE worker = 'lock'")


def lock_and_count(env, kv, db):
    lock_in_a_table(env, kv, db)
    kv.put("count", kv.get("count", 0) + 1)


@pytest.mark.parametrize("step", [lease, beat, lock, lock_in_a_table])
def test_a_run_ends_although_it_is_renewed(step):
    run = beating(step).run()
    assert run.ending.verdict == "quiet"
    assert sum(1 for _ in run.history.of("commit")) < 500


@pytest.mark.parametrize("step", [count, count_in_a_table, lock_and_count])
def test_what_counts_on_is_a_change_each_time_and_the_cure_is_named(step):
    ending = beating(step).run().ending
    assert ending.verdict == "budget"
    assert "background=True" in ending.reason


def fight(env, kv, db, wants):
    if kv.get("x") != wants:
        kv.put("x", wants)


def fight_over_a_row(env, kv, db, wants):
    with db:
        db.execute("INSERT OR IGNORE INTO beats VALUES ('x', 0, 0)")
        db.execute("UPDATE beats SET n = ? WHERE worker = 'x' AND n <> ?", (wants, wants))


@pytest.mark.parametrize("step", [fight, fight_over_a_row])
@pytest.mark.parametrize("others_s", [10, 20])
def test_what_others_undo_each_time_is_a_change_each_time(step, others_s):
    """Two that want different things of a row: it is as it was again and again, and no rest."""
    system = System("fight")
    kv = system.add(KeyValue("kv"))
    store = system.add(SQLite("db", "CREATE TABLE beats (worker TEXT PRIMARY KEY, at REAL, n INT)"))
    for name, wants, every_s in (("one", 1, 10), ("other", 2, others_s)):

        @system.service(name)
        def serve(env, wants=wants, every_s=every_s):
            items, db = env.connect(kv), env.connect(store)
            env.every(every_s, lambda: step(env, items, db, wants))

    system.entry(examples=["x"])(lambda env, item: None)
    ending = system.run(budget=Budget(calm_ms=7_200_000)).ending
    assert ending.verdict == "budget"
