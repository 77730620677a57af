"""Numbers that are dealt out: they may differ from run to run, and no two may be the same."""

import uuid

import pytest

from chaosharness import Crash, Gateway, Kafka, Pause, SQLite, System, idempotent
from tests.checkers.outcomes.sweep import groups, sweep
from tests.checkers.outcomes.test_refusals import TRIED_AGAIN

ORDERS = [{"id": f"o{n}", "cents": 100 * n} for n in (1, 2, 3)]
KNOWN = "SELECT 1 FROM invoices WHERE id = ?"
LAST = "SELECT COALESCE(MAX(no), 0) FROM invoices"
AT_ONCE = f"INSERT OR IGNORE INTO invoices SELECT ?, ({LAST}) + 1"


def billing(number, *, parts: int = 1) -> System:
    """Two instances that number invoices: `number(env, db)` returns what does it for an order."""
    system = System("billing")
    bus = system.add(Kafka("bus", topics={"orders": parts, "invoiced": 1}))
    tables = "CREATE TABLE invoices (id TEXT PRIMARY KEY, no INTEGER);"
    db, bank = system.add(SQLite("db", tables)), system.add(Gateway("bank"))

    @system.service("billing", replicas=2)
    def billing_(env):
        conn, publish, client = env.connect(db), env.publisher(bus), env.client(bank)
        invoice = number(conn)

        def on_order(order):
            def charge():
                client.charge(order["id"], order["cents"], key=order["id"])

            if not conn.execute(KNOWN, (order["id"],)).fetchone():
                invoice(order["id"], charge)
            mine = "SELECT no FROM invoices WHERE id = ?"
            (no,) = conn.execute(mine, (order["id"],)).fetchone()
            publish("invoiced", {"id": order["id"], "no": no}, key=order["id"])

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def by_the_database(conn):
    def invoice(name, charge):
        charge()
        with conn:
            conn.execute(AT_ONCE, (name,))

    return invoice


def read_before_the_charge(conn):
    def invoice(name, charge):
        (last,) = conn.execute(LAST).fetchone()
        charge()
        with conn:
            conn.execute("INSERT OR IGNORE INTO invoices VALUES (?, ?)", (name, last + 1))

    return invoice


def kept_in_memory(conn):
    (last,) = conn.execute(LAST).fetchone()
    kept = [last]

    def invoice(name, charge):
        charge()
        with conn:
            row = (name, kept[0] + 1)
            conn.execute("INSERT OR IGNORE INTO invoices VALUES (?, ?)", row)
        kept[0] += 1

    return invoice


@pytest.mark.parametrize("parts", [1, 2])
def test_numbers_that_the_database_deals_out_may_differ(parts):
    assert sweep(billing(by_the_database, parts=parts), kinds=(Crash, Pause)) == []


def test_a_number_that_two_items_have_after_a_fault_is_found():
    system = billing(kept_in_memory)
    assert idempotent().findings(system.run().evidence()) == []
    found = [one for one in sweep(system, kinds=(Crash,)) if one.kind == "same number"]
    assert {one.place for one in found} == {"db.invoices.no"}
    assert found[0].summary.endswith(
        "as well: when they come one after another, no two have the same"
    )


def counted(*, life: bool = False, saved: bool = False) -> System:
    """Numbers from 1 that are kept in memory; with the life of the process, or saved."""
    system = System("counted")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    tables = "CREATE TABLE invoices (id TEXT PRIMARY KEY, life TEXT, no INTEGER);"
    store = system.add(SQLite("db", tables))

    @system.service("billing")
    def billing_(env):
        db, last, mine = env.connect(store), [0], str(uuid.uuid4()) if life else ""

        def on_order(order):
            with db:
                if saved:
                    db.execute("BEGIN IMMEDIATE")
                    (last[0],) = db.execute(LAST).fetchone()
                last[0] += 1
                row = (order["id"], mine, last[0])
                db.execute("INSERT OR IGNORE INTO invoices VALUES (?, ?, ?)", row)

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key="all")

    return system


def test_numbers_that_a_restart_begins_to_count_again_are_asked_about():
    asked = [one for one in sweep(counted(), kinds=(Crash,)) if one.kind == "counted anew"]
    assert {(one.place, one.question) for one in asked} == {("db.invoices.no", True)}
    assert asked[0].summary == (
        "item 2 (o2) has db.invoices.no=1, and item 1 as well, since a restart begins to count "
        "again: may two have the same? If so: ignore=['db.invoices.no']"
    )


def test_numbers_within_the_life_of_a_process_may_begin_again():
    assert sweep(counted(life=True), kinds=(Crash,)) == []


def test_numbers_that_go_on_after_a_restart_are_not_asked_about():
    assert sweep(counted(saved=True), kinds=(Crash,)) == []


def test_a_number_that_two_items_have_already_without_faults_is_told_first():
    system = billing(read_before_the_charge, parts=2)
    found = idempotent().findings(system.run().evidence())
    assert groups(found) >= {("same number", "db.invoices.no")}
    assert found[0].summary.startswith("already without faults: ")


def test_what_one_batch_did_may_have_one_number():
    system = System("store")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    words = "CREATE TABLE stored (id TEXT PRIMARY KEY, batch INTEGER);"
    db = system.add(SQLite("db", words))

    @system.service("store")
    def store(env):
        conn = env.connect(db)

        def loop():
            consumer = env.consumer(bus, "orders", group="store")
            while True:
                env.sleep(20)
                records = consumer.poll()
                with conn:
                    (last,) = conn.execute("SELECT COALESCE(MAX(batch), 0) FROM stored").fetchone()
                    for record in records:
                        row = (record.value["id"], last + 1)
                        conn.execute("INSERT OR IGNORE INTO stored VALUES (?, ?)", row)
                for record in records:
                    consumer.commit(record)

        env.main(loop)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    assert sweep(system, kinds=(Crash, Pause)) == []
