"""Kinds of bug and of false alarm, each as one handler: broken is found, right is left alone."""

import json
import secrets

import pytest

from chaosharness import External, Gateway, Kafka, SQLite, System
from tests.checkers.outcomes.sweep import sweep

ORDERS = [{"id": "a"}, {"id": "b"}]


class Mailer:
    def __init__(self):
        self.welcomed = set()

    def send(self, to, password):
        if to in self.welcomed:
            return External.unchanged()
        self.welcomed.add(to)


def one(schema, handler, *, orders=ORDERS, parts=2) -> System:
    """One service that handles orders by `handler(db, client, mail, publish, env)`."""
    system = System("one")
    bus = system.add(Kafka("bus", topics={"orders": parts, "paid": 1}))
    store, bank = system.add(SQLite("db", schema)), system.add(Gateway("bank"))
    mail = system.add(External("mail", Mailer))

    @system.service("worker", replicas=2)
    def worker(env):
        ports = (env.connect(store), env.client(bank), env.client(mail), env.publisher(bus), env)
        env.consume(bus, "orders", handler(*ports), on_error="dead-letter", retries_max=20)

    @system.entry(examples=orders)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


STOCK = """
CREATE TABLE stock (pieces INTEGER); INSERT INTO stock VALUES (1);
CREATE TABLE answers (id TEXT PRIMARY KEY, answer TEXT);
"""


def decides_again(*, remembers):
    def handler(db, client, mail, publish, env):
        def on_order(order: dict):
            with db:
                db.execute("BEGIN IMMEDIATE")
                known = "SELECT 1 FROM answers WHERE id = ?"
                if remembers and db.execute(known, (order["id"],)).fetchone():
                    return
                got = db.execute("UPDATE stock SET pieces = pieces - 1 WHERE pieces > 0").rowcount
                row = (order["id"], "sold" if got else "sold out")
                db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", row)

        return on_order

    return one(STOCK, handler, orders=ORDERS[:1])


def tells_once(*, only_if_new):
    def handler(db, client, mail, publish, env):
        def on_order(order: dict):
            with db:
                new = db.execute("INSERT OR IGNORE INTO paid VALUES (?)", (order["id"],)).rowcount
            if new or not only_if_new:
                publish("paid", order, key=order["id"])

        return on_order

    return one("CREATE TABLE paid (id TEXT PRIMARY KEY);", handler)


def puts_aside(*, ignores):
    def handler(db, client, mail, publish, env):
        def on_order(order: dict):
            with db:
                db.execute(f"INSERT {ignores} INTO paid VALUES (?)", (order["id"],))

        return on_order

    return one("CREATE TABLE paid (id TEXT PRIMARY KEY);", handler)


@pytest.mark.parametrize(
    ("broken", "right", "kind"),
    [
        (decides_again(remembers=False), decides_again(remembers=True), "row differs"),
        (tells_once(only_if_new=True), tells_once(only_if_new=False), "message lost"),
        (puts_aside(ignores=""), puts_aside(ignores="OR IGNORE"), "put aside"),
    ],
    ids=["a repeat changes the decision", "an event never sent", "a dead letter that excuses"],
)
def test_a_mere_repeat_excuses_nothing(broken, right, kind):
    assert kind in {finding.kind for finding in sweep(broken)}
    assert sweep(right) == []


def leases(db, client, mail, publish, env):
    def on_order(order: dict):
        with db:
            row = (order["id"], env.now_ms() / 1000 + 30)
            db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?)", row)

    return on_order


def passwords(db, client, mail, publish, env):
    def on_order(order: dict):
        mail.send(order["id"], secrets.token_hex(4))

    return on_order


def receipts(db, client, mail, publish, env):
    def on_order(order: dict):
        number = client.charge(order["id"], 500, key=order["id"]).id
        body = json.dumps({"id": order["id"], "receipt": number})
        with db:
            db.execute("INSERT OR IGNORE INTO receipts VALUES (?, ?)", (order["id"], body))

    return on_order


def charges(db, client, mail, publish, env):
    def on_order(order: dict):
        client.charge(order["id"], 500, key=order["id"])

    return on_order


def attempts(db, client, mail, publish, env):
    def on_order(order: dict):
        with db:
            db.execute(
                "INSERT INTO orders VALUES (?, 1) ON CONFLICT (id) DO UPDATE "
                "SET attempts = attempts + 1",
                (order["id"],),
            )

    return on_order


SAME = [{"id": "a"}, {"id": "a"}]


@pytest.mark.parametrize(
    "system",
    [
        one("CREATE TABLE leases (id TEXT PRIMARY KEY, till REAL);", leases),
        one("CREATE TABLE unused (id TEXT);", passwords),
        one("CREATE TABLE receipts (id TEXT PRIMARY KEY, body TEXT);", receipts),
        one("CREATE TABLE unused (id TEXT);", charges, orders=SAME, parts=1),
        one("CREATE TABLE orders (id TEXT PRIMARY KEY, attempts INTEGER);", attempts),
    ],
    ids=["the end of a lease", "a drawn password", "a number in JSON", "two of a key", "attempts"],
)
def test_what_may_differ_is_no_finding(system):
    assert sweep(system) == []


def test_a_counter_that_has_no_name_for_it_is_one_until_the_user_says_so():
    def seen(db, client, mail, publish, env):
        def on_order(order: dict):
            with db:
                db.execute(
                    "INSERT INTO orders VALUES (?, 1) ON CONFLICT (id) DO UPDATE "
                    "SET looked_at = looked_at + 1",
                    (order["id"],),
                )

        return on_order

    system = one("CREATE TABLE orders (id TEXT PRIMARY KEY, looked_at INTEGER);", seen)
    assert {finding.kind for finding in sweep(system)} == {"row differs"}
    assert sweep(system, ignore=["orders.looked_at"]) == []


def test_the_calm_run_is_told_first_and_accuses_no_healthy_run():
    """Two replicas send the same mail; a run in which one of them dies sends it once."""
    system = System("two senders")
    store = system.add(
        SQLite("db", "CREATE TABLE mails (id TEXT, sent INT); INSERT INTO mails VALUES ('m', 0);")
    )
    bank = system.add(Gateway("bank"))

    @system.service("sender", replicas=2)
    def sender(env):
        db, client = env.connect(store), env.client(bank)

        def loop():
            while True:
                for (mail,) in db.execute("SELECT id FROM mails WHERE sent = 0").fetchall():
                    client.charge(mail, 1)
                    with db:
                        db.execute("UPDATE mails SET sent = 1 WHERE id = ?", (mail,))
                env.sleep(60)

        env.main(loop)

    @system.entry(examples=["nothing"])
    def begin(env, item): ...

    first, *others = sweep(system)
    assert first.summary.startswith("already without faults: bank did charge(")
    assert not [one for one in others if one.kind == "effect lost"]
