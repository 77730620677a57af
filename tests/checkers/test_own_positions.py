"""A loop that keeps its positions beside its sums: what it has done, it passes over."""

import pytest

from chaosharness import Crash, Kafka, Poison, Schedule, Site, SQLite, System, assumed

TABLES = """
    CREATE TABLE total (sku TEXT PRIMARY KEY, cents INTEGER);
    CREATE TABLE position (partition INTEGER PRIMARY KEY, next INTEGER);
"""
COUNT = (
    "INSERT INTO total VALUES (?, ?) ON CONFLICT (sku) DO UPDATE SET cents = cents + excluded.cents"
)
GO_ON = "INSERT INTO position VALUES (?, ?) ON CONFLICT DO UPDATE SET next = excluded.next"


def totals(*, stops_at_poison=False):
    """Return a loop that adds up what it has read, each five seconds."""
    system = System("totals")
    bus = system.add(Kafka("bus", {"sales": 1}, idempotent_producer=True))
    store = system.add(SQLite("db", TABLES))

    @system.service("totals")
    def serve(env):
        db = env.connect(store)
        consumer = env.consumer(bus, "sales", group="totals", on_unreadable="skip")

        def position(index):
            found = db.execute("SELECT next FROM position WHERE partition = ?", (index,))
            return (found.fetchone() or (0,))[0]

        def flush(sums, ends):
            with db:
                db.executemany(COUNT, list(sums.items()))
                db.executemany(GO_ON, list(ends.items()))
            consumer.commit()

        def loop():
            sums, ends, at = {}, {}, env.now_ms()
            while True:
                for record in consumer.poll(1, 1):
                    if record.offset < position(record.partition):
                        continue
                    if "sku" not in record.value:  # of a version that nobody knows
                        if stops_at_poison:
                            env.sleep(10)
                            consumer.seek("sales", record.partition, record.offset)
                        continue
                    sku = record.value["sku"]
                    sums[sku] = sums.get(sku, 0) + record.value["cents"]
                    ends[record.partition] = record.offset + 1
                if sums and env.now_ms() - at >= 5000:
                    flush(sums, ends)
                    sums, ends, at = {}, {}, env.now_ms()

        env.main(loop)

    @system.entry(examples=[{"sku": "lamp", "cents": 500}])
    def sell(env, sale):
        env.publisher(bus)("sales", sale, key=sale["sku"])

    return system


POISON = Poison(Site("client.sell/bus.publish sales"), content="unknown-schema")
DIES = Crash(Site("totals.loop/db.commit", "after", entity=0))


def summaries(system, faults):
    run = system.run(schedule=Schedule(faults))
    evidence = run.evidence()
    return [one.summary for claim in assumed(system) for one in claim.findings(evidence)]


@pytest.mark.parametrize("faults", [[POISON], [DIES], [POISON, DIES]], ids=len)
def test_what_was_added_up_before_waits_for_nobody(faults):
    assert summaries(totals(), faults) == []


def test_a_loop_that_stays_where_the_poison_is_keeps_others_waiting():
    [first, *_] = summaries(totals(stops_at_poison=True), [POISON])
    assert "1 behind it" in first
