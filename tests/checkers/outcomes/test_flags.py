"""What an order says by a flag, `cancelled 1`: no word, and no number in the place of another."""

import pytest

from chaosharness import ErrorReply, Gateway, Kafka, Schedule, Site, SQLite, System, idempotent

SCHEMA = """
CREATE TABLE rooms (no TEXT PRIMARY KEY, taken INTEGER);
INSERT INTO rooms VALUES ('1A', 0), ('1B', 0);
CREATE TABLE bookings (id TEXT PRIMARY KEY, paid INTEGER, cancelled INTEGER);
"""


def hotel(*, after_a_no, gives_back=True):
    """Rooms are taken, then paid; where the bank says no, that is written down, or swallowed."""
    system = System("hotel")
    bus = system.add(Kafka("bus", topics={"bookings": 1}))
    store, bank = system.add(SQLite("db", SCHEMA)), system.add(Gateway("bank"))

    @system.service("desk")
    def desk(env):
        db, money = env.connect(store), env.client(bank)

        def on_booking(one: dict):
            name = one["id"]
            with db:
                new = "INSERT OR IGNORE INTO bookings VALUES (?, 0, 0)"
                if db.execute(new, (name,)).rowcount:
                    db.execute("UPDATE rooms SET taken = 1 WHERE no = ?", (one["room"],))
            ends = "SELECT paid + cancelled FROM bookings WHERE id = ?"
            if db.execute(ends, (name,)).fetchone()[0]:
                return
            try:
                money.charge(name, 500, key=name)
            except ConnectionError:
                with db:
                    db.execute(f"UPDATE bookings SET {after_a_no} WHERE id = ?", (name,))
                    if gives_back:
                        db.execute("UPDATE rooms SET taken = 0 WHERE no = ?", (one["room"],))
                return
            with db:
                db.execute("UPDATE bookings SET paid = 1 WHERE id = ?", (name,))

        env.consume(bus, "bookings", on_booking)

    @system.entry(examples=[{"id": "b1", "room": "1A"}, {"id": "b2", "room": "1B"}])
    def place(env, one):
        env.publisher(bus)("bookings", one, key=one["id"])

    return system


def judged(system):
    refused = Schedule([ErrorReply(Site("desk.on_booking/bank.charge"))])
    return idempotent().findings(system.run(None, refused).evidence())


def test_a_flag_that_is_raised_says_that_it_was_given_up():
    assert judged(hotel(after_a_no="cancelled = 1")) == []


@pytest.mark.parametrize("after_a_no", ["paid = 1", "paid = 0"])
def test_a_charge_that_was_swallowed_is_named_where_no_flag_says_so(after_a_no):
    found = judged(hotel(after_a_no=after_a_no, gives_back=False))
    assert [one.question for one in found] == [False]
    assert "which was refused and never made up for" in found[0].summary


def test_a_room_that_stays_taken_for_it_is_asked_about():
    [found] = judged(hotel(after_a_no="cancelled = 1", gives_back=False))
    assert found.question
    assert "ends as 'cancelled 1'" in found.summary
    assert "db.rooms" in found.summary
