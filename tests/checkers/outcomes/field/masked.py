"""Services in whose outcome something may differ from run to run, and beside it stands money."""

import json
import random
from contextlib import suppress

from chaosharness import External, Kafka, RabbitMQ, SQLite, System
from tests.checkers.outcomes.field.parties import AGAIN, NO_ANSWER, Cards, Mailer, queues


def credits(right, *, column="token_balance"):
    """What a customer has left of what was bought, under a name that locks have, too."""
    system = System("credits")
    bus = system.add(RabbitMQ("mq", queues=queues("usage")))
    store = system.add(
        SQLite(
            "db",
            f"CREATE TABLE plans(who TEXT PRIMARY KEY, {column} INT); "
            "INSERT INTO plans VALUES('ann', 1000); CREATE TABLE seen(id TEXT PRIMARY KEY);",
        )
    )

    @system.service("meter", replicas=2)
    def meter(env):
        db = env.connect(store)

        def on_usage(used: dict):
            with db:
                new = db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (used["id"],)).rowcount
                if new or not right:
                    words = f"UPDATE plans SET {column} = {column} - ? WHERE who = ?"
                    db.execute(words, (used["n"], used["who"]))

        env.consume(bus, "usage", on_usage, **AGAIN)

    @system.entry(
        examples=[{"id": "u1", "who": "ann", "n": 30}, {"id": "u2", "who": "ann", "n": 7}]
    )
    def use(env, used):
        env.publisher(bus)("usage", used, key=used["id"])

    return system


def holdings(right):
    """How much of a share a fund holds, called its position."""
    system = System("holdings")
    bus = system.add(Kafka("bus", topics={"trades": 2}))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE fund(share TEXT PRIMARY KEY, position INT); "
            "CREATE TABLE seen(id TEXT PRIMARY KEY);",
        )
    )

    @system.service("book", replicas=2)
    def book(env):
        db = env.connect(store)

        def on_trade(trade: dict):
            with db:
                new = db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (trade["id"],)).rowcount
                if new or not right:
                    db.execute(
                        "INSERT INTO fund VALUES (?, ?) ON CONFLICT (share) DO UPDATE "
                        "SET position = position + excluded.position",
                        (trade["share"], trade["n"]),
                    )

        env.consume(bus, "trades", on_trade, on_error="dead-letter", retries_max=60)

    @system.entry(
        examples=[
            {"id": "t1", "share": "acme", "n": 400},
            {"id": "t2", "share": "acme", "n": 250},
        ]
    )
    def trade(env, one):
        env.publisher(bus)("trades", one, key=one["share"])

    return system


def fees(right):
    """A charge whose amount is drawn: it may be another in each run, and is made once."""
    system = System("fees")
    bus = system.add(RabbitMQ("mq", queues=queues("rides")))
    cards = system.add(External("cards", Cards))

    @system.service("rides")
    def rides(env):
        client = env.client(cards)

        def on_ride(ride: dict):
            cents = 500 + random.randrange(100)  # a surge
            key = ride["id"] if right else f"{ride['id']} {random.random()}"
            client.pay(ride["who"], cents, key=key)

        env.consume(bus, "rides", on_ride, **AGAIN)

    @system.entry(examples=[{"id": "r1", "who": "ann"}, {"id": "r2", "who": "bob"}])
    def ride(env, one):
        env.publisher(bus)("rides", one, key=one["id"])

    return system


def event_store(right):
    """An account is its events, and each event is published from where it is kept."""
    system = System("account")
    bus = system.add(Kafka("bus", topics={"deposits": 1, "events": 1}))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE events(no INTEGER PRIMARY KEY, account TEXT, body TEXT); "
            "CREATE TABLE cursor(position INT); INSERT INTO cursor VALUES (0);",
        )
    )

    @system.service("account")
    def account(env):
        db, publish = env.connect(store), env.publisher(bus)

        def on_deposit(deposit: dict):
            with db:
                words = "SELECT body FROM events WHERE account = ?"
                known = [json.loads(body) for (body,) in db.execute(words, (deposit["to"],))]
                if right and any(one["id"] == deposit["id"] for one in known):
                    return
                row = (deposit["to"], json.dumps(deposit))
                db.execute("INSERT INTO events (account, body) VALUES (?, ?)", row)

        def relay():
            while True:
                (at,) = db.execute("SELECT position FROM cursor").fetchone()
                words = "SELECT no, body FROM events WHERE no > ? ORDER BY no"
                for no, body in db.execute(words, (at,)).fetchall():
                    publish("events", json.loads(body), key=json.loads(body)["to"])
                    with db:
                        db.execute("UPDATE cursor SET position = ?", (no,))
                env.sleep(1)

        env.consume(bus, "deposits", on_deposit, on_error="dead-letter", retries_max=60)
        env.main(relay)

    @system.entry(
        examples=[{"id": "d1", "to": "ann", "cents": 500}, {"id": "d2", "to": "ann", "cents": 70}]
    )
    def deposit(env, one):
        env.publisher(bus)("deposits", one, key=one["to"])

    return system


def commands(right):
    """An outbox whose rows are orders to pay: published again, they are the same order."""
    system = System("payouts")
    bus = system.add(RabbitMQ("mq", queues=queues("sales", "pay")))
    cards = system.add(External("cards", Cards))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE outbox(no INTEGER PRIMARY KEY, body TEXT); "
            "CREATE TABLE sales(id TEXT PRIMARY KEY);",
        )
    )

    @system.service("shop")
    def shop(env):
        db, publish = env.connect(store), env.publisher(bus)

        def on_sale(sale: dict):
            with db:
                new = db.execute("INSERT OR IGNORE INTO sales VALUES (?)", (sale["id"],)).rowcount
                if new:
                    db.execute("INSERT INTO outbox (body) VALUES (?)", (json.dumps(sale),))

        def relay():
            while True:
                words = "SELECT no, body FROM outbox ORDER BY no LIMIT 1"
                row = db.execute(words).fetchone()
                if row is not None:
                    no, body = row
                    try:
                        publish("pay", json.loads(body), key=json.loads(body)["id"])
                    except (ConnectionError, TimeoutError):
                        env.sleep(1)
                        continue
                    with db:
                        db.execute("DELETE FROM outbox WHERE no = ?", (no,))
                env.sleep(1)

        env.consume(bus, "sales", on_sale, **AGAIN)
        env.main(relay)

    @system.service("payer")
    def payer(env):
        client = env.client(cards)

        def on_pay(sale: dict):
            client.pay(sale["who"], sale["cents"], key=sale["id"] if right else None)

        env.consume(bus, "pay", on_pay, **AGAIN)

    @system.entry(
        examples=[
            {"id": "s1", "who": "ann", "cents": 500},
            {"id": "s2", "who": "bob", "cents": 70},
        ]
    )
    def sell(env, one):
        env.publisher(bus)("sales", one, key=one["id"])

    return system


def gathered(right):
    """Orders of ten seconds go out in one parcel; what comes later goes out in the next one."""
    system = System("gathered")
    bus = system.add(RabbitMQ("mq", queues=queues("orders")))
    mail = system.add(External("mail", Mailer))
    store = system.add(
        SQLite("db", "CREATE TABLE waiting(id TEXT PRIMARY KEY, who TEXT, parcel INT);")
    )

    @system.service("shop")
    def shop(env):
        db = env.connect(store)

        def on_order(order: dict):
            with db:
                row = (order["id"], order["who"])
                db.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?, NULL)", row)

        env.consume(bus, "orders", on_order, **AGAIN)

    @system.service("packer")
    def packer(env):
        db, client = env.connect(store), env.client(mail)

        def pack():
            (sent,) = db.execute("SELECT COUNT(DISTINCT parcel) FROM waiting").fetchone()
            if sent and not right:
                return  # it is out, and nobody looks for what came after it
            words = "SELECT id, who FROM waiting WHERE parcel IS NULL ORDER BY id"
            for order, who in db.execute(words).fetchall():
                with suppress(*NO_ANSWER):
                    client.send(who, "it is on its way", key=order)
                    with db:
                        db.execute("UPDATE waiting SET parcel = 1 WHERE id = ?", (order,))

        env.every(10, pack)

    @system.entry(examples=[{"id": "o1", "who": "ann"}, {"id": "o2", "who": "bob"}])
    def place(env, one):
        env.publisher(bus)("orders", one, key=one["id"])

    return system
