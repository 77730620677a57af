"""A dead letter that somebody puts back is not put aside: what comes of it counts."""

import uuid

import pytest

from chaosharness import ErrorReply, External, Queue, RabbitMQ, SQLite, System, explore

SCHEMA = """
CREATE TABLE seen (id TEXT PRIMARY KEY); CREATE TABLE balance (account TEXT PRIMARY KEY, cents INT);
"""


class Audit:
    def __init__(self):
        self.known = set()

    def log(self, what, key):
        if key in self.known:
            return External.unchanged(None)
        self.known.add(key)
        return None


def replayed(*, same_id):
    """What fails dies at once, and is put back as it was; or with an id of its own."""
    system = System("replayed")
    bus = system.add(RabbitMQ("bus", queues={"pay": Queue(dead_letter="dead"), "dead": Queue()}))
    store, party = system.add(SQLite("db", SCHEMA)), system.add(External("audit", Audit))

    @system.service("pay")
    def pay(env):
        db, audit = env.connect(store), env.client(party)

        def on_pay(one: dict):
            with db:
                db.execute("BEGIN IMMEDIATE")
                new = "INSERT OR IGNORE INTO seen VALUES (?)"
                if db.execute(new, (one["message"],)).rowcount:
                    more = "ON CONFLICT DO UPDATE SET cents = cents + excluded.cents"
                    row = (one["account"], one["cents"])
                    db.execute(f"INSERT INTO balance VALUES (?, ?) {more}", row)
            audit.log("paid", key=one["id"])

        env.consume(bus, "pay", on_pay, on_error="dead-letter", retries_max=1)

    @system.service("replayer")
    def replayer(env):
        publish = env.publisher(bus)

        def on_dead(one: dict):
            if "message" in one:
                env.sleep(5)
                again = one["message"] if same_id else str(uuid.uuid4())
                publish("pay", {**one, "message": again})

        env.consume(bus, "dead", on_dead, on_unreadable="skip")

    @system.entry(examples=[{"id": "p1", "account": "acc", "cents": 500}])
    def send(env, one):
        env.publisher(bus)("pay", {**one, "message": f"m-{one['id']}"})

    return system


@pytest.mark.parametrize("same_id", [True, False])
def test_an_id_that_is_new_each_time_books_twice(same_id):
    campaign = explore(replayed(same_id=same_id), faults_max=1, kinds=[ErrorReply])
    found = [one.findings[0].place for one in campaign.counterexamples]
    assert bool(found) is not same_id
    assert all(place.startswith("db.") for place in found)
