"""Two topics have no order between them, and what overtakes itself is no choice of anybody's."""

import time

from chaosharness import (
    Delay,
    Duplicate,
    FailedCommit,
    Kafka,
    Schedule,
    Site,
    SQLite,
    System,
    idempotent,
)

TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 60}
PRICES = """
CREATE TABLE prices (sku TEXT PRIMARY KEY, cents INT);
INSERT INTO prices VALUES ('pen', 100);
CREATE TABLE carts (id TEXT PRIMARY KEY, cents INT);
"""
USERS = "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT, deleted_at REAL);"


def priced(*, verb):
    """A cart is priced when it comes, or again whenever its message comes."""
    system = System("priced")
    bus = system.add(Kafka("bus", topics={"carts": 1, "prices": 1}))
    store = system.add(SQLite("db", PRICES))

    @system.service("shop")
    def shop(env):
        db = env.connect(store)

        def on_price(one: dict):
            with db:
                db.execute("UPDATE prices SET cents = ? WHERE sku = ?", (one["cents"], one["sku"]))

        def on_cart(one: dict):
            with db:
                asked = "SELECT cents FROM prices WHERE sku = ?"
                (cents,) = db.execute(asked, (one["sku"],)).fetchone()
                db.execute(f"INSERT OR {verb} INTO carts VALUES (?, ?)", (one["id"], cents))

        env.consume(bus, "carts", on_cart, **TRIED_AGAIN)
        env.consume(bus, "prices", on_price, **TRIED_AGAIN)

    items = [{"id": "c1", "sku": "pen"}, {"sku": "pen", "cents": 120}, {"id": "c2", "sku": "pen"}]

    @system.entry(examples=items)
    def send(env, one):
        env.publisher(bus)("prices" if "cents" in one else "carts", one, key=one["sku"])

    return system


def forgetting(*, for_good):
    """A user who is forgotten may not come back because their message does."""
    system = System("forgetting")
    bus = system.add(Kafka("bus", topics={"users": 1, "forget": 1}))
    store = system.add(SQLite("db", USERS))
    replaced = "INSERT OR REPLACE INTO users VALUES (?, ?, NULL)"
    kept = "INSERT OR IGNORE INTO users VALUES (?, ?, NULL)"

    @system.service("users")
    def users(env):
        db = env.connect(store)

        def on_user(user: dict):
            with db:
                db.execute(kept if for_good else replaced, (user["id"], user["email"]))

        def on_forget(user: dict):
            with db:
                gone = "INSERT OR REPLACE INTO users VALUES (?, NULL, ?)"
                db.execute(gone, (user["id"], time.time()))

        env.consume(bus, "users", on_user, **TRIED_AGAIN)
        env.consume(bus, "forget", on_forget, **TRIED_AGAIN)

    @system.entry(examples=[{"id": "u1", "email": "a@x"}, {"id": "u2", "email": "b@x"}])
    def register(env, user):
        publish = env.publisher(bus)
        publish("users", user, key=user["id"])
        if user["id"] == "u1":
            publish("forget", {"id": "u1"}, key="u1")

    return system


def judged(system, fault):
    run = system.run(None, Schedule([fault]))
    assert not run.unused
    return idempotent().findings(run.evidence())


LATE = Delay(Site("client.send/bus.publish carts"), lasting="timeout")
STALE = FailedCommit(Site("shop.on_price/db.commit", entity=2))
AGAIN = FailedCommit(Site("shop.on_cart/db.commit"), outcome="committed")


def test_a_price_is_no_number_that_is_dealt_out():
    assert not judged(priced(verb="IGNORE"), LATE)  # both carts come after the new price


def test_a_cart_that_overtakes_a_price_is_asked_about():
    [found] = judged(priced(verb="IGNORE"), STALE)
    assert found.question and "came before another of its subject" in found.summary


def test_a_cart_that_is_priced_twice_is_told():
    [found, *_] = judged(priced(verb="REPLACE"), AGAIN)
    assert not found.question and "has cents=120 (id=c1)" in found.summary
    assert not judged(priced(verb="IGNORE"), AGAIN)


def test_a_user_who_was_forgotten_comes_back_by_a_repeat():
    again = Duplicate(Site("client.register/bus.publish users"))
    [found, *_] = judged(forgetting(for_good=False), again)
    assert "has deleted_at=None, email=a@x (id=u1)" in found.summary
    assert not judged(forgetting(for_good=True), again)
