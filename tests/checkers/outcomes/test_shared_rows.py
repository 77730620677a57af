"""What all share: a list in a row, and what the order of requests decides."""

import json

import pytest

from chaosharness import Delay, Gateway, Kafka, Schedule, Site, SQLite, System, explore, idempotent


def room(*, looks: bool) -> System:
    """Append each message to a list in one row, unless it is there already, or in any case."""
    system = System("room")
    bus = system.add(Kafka("bus", topics={"said": 1}))
    store = system.add(SQLite("db", "CREATE TABLE rooms (id TEXT PRIMARY KEY, said TEXT)"))

    @system.service("rooms")
    def rooms(env):
        db = env.connect(store)

        def on_said(message):
            with db:
                db.execute("BEGIN IMMEDIATE")
                found = db.execute("SELECT said FROM rooms").fetchone()
                said = json.loads(found[0]) if found else []
                if looks and message["id"] in [one["id"] for one in said]:
                    return
                row = json.dumps([*said, message])
                db.execute("INSERT OR REPLACE INTO rooms VALUES ('lobby', ?)", (row,))

        env.consume(bus, "said", on_said, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "m1", "text": "hi"}, {"id": "m2", "text": "yo"}])
    def say(env, message):
        env.publisher(bus)("said", message, key="lobby")

    return system


@pytest.mark.parametrize("looks", [True, False], ids=["once", "twice"])
def test_what_is_twice_in_a_list_that_all_share_is_told(looks):
    campaign = explore(room(looks=looks), faults_max=1, runs_max=120)
    places = [one.findings[0].place for one in campaign.counterexamples]
    assert places == ([] if looks else ["db.rooms.said"])


def rebate(*, remembers: bool = True) -> System:
    """Who has spent enough pays less from then on; what was paid is written down, or forgotten."""
    system = System("rebate")
    bus = system.add(Kafka("bus", topics={"sales": 1}))
    bank = system.add(Gateway("bank"))
    store = system.add(
        SQLite("db", "CREATE TABLE spent (cents INT); INSERT INTO spent VALUES (0);"
               "CREATE TABLE sales (id TEXT PRIMARY KEY, cents INT);")
    )  # fmt: skip

    @system.service("till")
    def till(env):
        db, client = env.connect(store), env.client(bank)

        def on_sale(sale):
            with db:
                db.execute("BEGIN IMMEDIATE")
                known = "SELECT cents FROM sales WHERE id = ?"
                found = db.execute(known, (sale["id"],)).fetchone()
                if found is None or not remembers:
                    [spent] = db.execute("SELECT cents FROM spent").fetchone()
                    found = (sale["cents"] * 9 // 10 if spent >= 100 else sale["cents"],)
                    row = (sale["id"], found[0])
                    db.execute("INSERT OR IGNORE INTO sales VALUES (?, ?)", row)
                    db.execute("UPDATE spent SET cents = cents + ?", found)
            client.charge(sale["id"], found[0], key=sale["id"])

        env.consume(bus, "sales", on_sale, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "s1", "cents": 100}, {"id": "s2", "cents": 50}])
    def buy(env, sale):
        env.publisher(bus)("sales", sale, key="ann")

    return system


def judged(system, **options):
    late = Delay(Site("client.buy/bus.publish sales"), lasting=4_500)
    run = system.run(None, Schedule([late]))
    return [*idempotent(**options).findings(run.evidence())]


def test_of_requests_of_one_client_that_overtake_each_other_it_is_asked():
    [one] = judged(rebate())
    assert (one.kind, one.question) == ("order", True)
    assert "came before another of its subject" in one.summary
    assert judged(rebate(), subject=lambda sale: sale["id"]) == []


def test_what_is_added_once_more_is_told_all_the_same():
    campaign = explore(rebate(remembers=False), faults_max=1, runs_max=200)
    assert any("db.spent" in one.findings[0].place for one in campaign.counterexamples)
