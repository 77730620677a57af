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


def renewals(*, after_a_no):
    """A loop charges each subscription twice, one period after the other."""
    schema = """
    CREATE TABLE subscriptions (
        id TEXT PRIMARY KEY, paid INTEGER DEFAULT 0, overdue INTEGER DEFAULT 0,
        state TEXT DEFAULT 'active'
    );
    """
    system = System("renewals")
    bus = system.add(Kafka("bus", topics={"subscriptions": 1}))
    store, bank = system.add(SQLite("db", schema)), system.add(Gateway("bank"))

    @system.service("billing")
    def billing(env):
        db, own, money = env.connect(store), env.connect(store), env.client(bank)

        def on_subscription(one: dict):
            with db:
                db.execute("INSERT OR IGNORE INTO subscriptions (id) VALUES (?)", (one["id"],))

        def renew(name, paid):
            change = "paid = paid + 1"
            try:
                money.charge(name, 500, key=f"{name}-{paid}")
            except ConnectionError:
                change = after_a_no
            except TimeoutError:
                return
            with own:
                own.execute(f"UPDATE subscriptions SET {change} WHERE id = ?", (name,))

        def loop():
            while True:
                due = "paid < 2 AND overdue = 0 AND state = 'active'"
                query = f"SELECT id, paid FROM subscriptions WHERE {due} ORDER BY id"
                for row in own.execute(query).fetchall():
                    renew(*row)
                env.sleep(30)

        env.consume(bus, "subscriptions", on_subscription)
        env.main(loop)

    @system.entry(examples=[{"id": "s1"}, {"id": "s2"}])
    def place(env, one):
        env.publisher(bus)("subscriptions", one, key=one["id"])

    return system


def renewed(after_a_no, attempt):
    refused = ErrorReply(Site("billing.loop/bank.charge", entity=0, attempt=attempt))
    run = renewals(after_a_no=after_a_no).run(None, Schedule([refused]))
    return idempotent().findings(run.evidence())


@pytest.mark.parametrize("attempt", [1, 3], ids=["the first period", "the second"])
@pytest.mark.parametrize("after_a_no", ["overdue = 1", "state = 'overdue'"])
def test_a_loop_that_is_refused_one_of_several_may_say_so_by_a_flag_or_a_word(after_a_no, attempt):
    assert renewed(after_a_no, attempt) == []


@pytest.mark.parametrize("attempt", [1, 3], ids=["the first period", "the second"])
def test_a_loop_that_goes_on_as_if_it_had_been_paid_is_named(attempt):
    found = renewed("paid = paid + 1", attempt)
    assert found
    assert not any(one.question for one in found)
    assert {one.place for one in found} == {"bank.charge"}
