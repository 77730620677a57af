"""What all share, and is still taken for an item that was given up: asked about."""

import pytest

from chaosharness import (
    External,
    Kafka,
    NetworkPartition,
    Schedule,
    Site,
    SQLite,
    System,
    idempotent,
)

NO_ANSWER = (ConnectionError, TimeoutError)
SEATS = "CREATE TABLE seats (no TEXT PRIMARY KEY, free INT); INSERT INTO seats VALUES ('1A', 1);"
STOCK = "CREATE TABLE stock (sku TEXT PRIMARY KEY, n INT); INSERT INTO stock VALUES ('pen', 5);"


class Hotel:
    def __init__(self):
        self.booked = set()

    def book(self, trip):
        self.booked.add(trip)

    def cancel(self, trip):
        if trip not in self.booked:
            return External.unchanged(None)
        self.booked.remove(trip)
        return None


def trips(schema, take, give, *, status, well, badly):
    """A trip takes something, and asks a hotel three times; `give` is how that is put back."""
    system = System("trips")
    bus = system.add(Kafka("bus", topics={"trips": 1}))
    table = f"{schema} CREATE TABLE trips (id TEXT PRIMARY KEY, {status})"
    store, hotel = system.add(SQLite("db", table)), system.add(External("hotel", Hotel))
    column = status.partition(" ")[0]

    @system.service("trips")
    def desk(env):
        db, client = env.connect(store), env.client(hotel)

        def on_trip(trip: dict):
            with db:
                new = f"INSERT OR IGNORE INTO trips (id, {column}) VALUES (?, 0)"
                if db.execute(new, (trip["id"],)).rowcount:
                    db.execute(take)
            asked = f"SELECT {column} FROM trips WHERE id = ?"
            if db.execute(asked, (trip["id"],)).fetchone()[0] != 0:
                return
            booked = is_booked(trip["id"])
            with db:
                if not booked and give:
                    db.execute(give)
                end = f"UPDATE trips SET {column} = ? WHERE id = ?"
                db.execute(end, (well if booked else badly, trip["id"]))

        def is_booked(trip):
            for _ in range(3):
                try:
                    client.book(trip)
                except NO_ANSWER:
                    env.sleep(1)
                else:
                    return True
            while True:
                try:
                    client.cancel(trip)
                except NO_ANSWER:
                    env.sleep(60)
                else:
                    return False

        env.consume(bus, "trips", on_trip, on_error="dead-letter", retries_max=60)

    @system.entry(examples=[{"id": "t1"}])
    def book(env, trip):
        env.publisher(bus)("trips", trip, key=trip["id"])

    return system


def asked_of(system, **options):
    unreached = Schedule([NetworkPartition(Site("trips.on_trip/hotel.book"))])
    found = idempotent(**options).findings(system.run(None, unreached).evidence())
    assert all(one.question for one in found)
    return [one.summary for one in found]


KINDS = [
    (SEATS, "UPDATE seats SET free = 0", "UPDATE seats SET free = 1", "db.seats"),
    (STOCK, "UPDATE stock SET n = n - 1", "UPDATE stock SET n = n + 1", "db.stock"),
]


@pytest.mark.parametrize(("schema", "take", "give", "place"), KINDS)
@pytest.mark.parametrize(
    ("status", "well", "badly", "word"),
    [("stato", "confermato", "annullato", "annullato"), ("st INT", 1, 9, "st 9")],
)
def test_what_is_not_put_back_is_asked_about(schema, take, give, place, status, well, badly, word):
    ends = {"status": status, "well": well, "badly": badly}
    [question] = asked_of(trips(schema, take, "", **ends))
    assert f"ends as {word!r}" in question and f"may_end=[({place!r}, {word!r})]" in question
    assert not asked_of(trips(schema, take, "", **ends), may_end=[(place, word)])
    assert not asked_of(trips(schema, take, give, **ends))
