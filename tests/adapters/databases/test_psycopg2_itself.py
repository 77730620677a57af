"""psycopg2 by itself, without SQLAlchemy: what a real connection does, ours does too; and slips."""

import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

pytest.importorskip("psycopg2")
pytest.importorskip("psycopg")

import psycopg2
from psycopg2 import errors, extras, pool, sql
from psycopg2 import extensions as ext

from chaosharness import (
    Crash,
    FailedCommit,
    Pause,
    PostgreSQL,
    Schedule,
    Site,
    StoreOutage,
    explore,
    idempotent,
    smallest,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.databases.servers import SERVER, needs_postgresql
from tests.adapters.databases.shops import PLACED, rows, shop
from tests.adapters.digests import printed_everywhere

DSN = "host=db.shop.example dbname=orders user=app password=secret"
SCHEMA = """
CREATE TABLE orders (id text PRIMARY KEY, cents int NOT NULL);
CREATE TABLE total (id int PRIMARY KEY, cents int NOT NULL);
INSERT INTO total VALUES (1, 0);
"""
COMMIT = Site("orders.on_order/db.commit")


@pytest.fixture(scope="module")
def db():
    needs_postgresql()
    return PostgreSQL("db", SCHEMA, server=SERVER)


# ---- conformance: the same code on a real connection, and on ours


def values(connection):
    """Parameters and results of many kinds."""
    cursor = connection.cursor()
    moment = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    for value in (
        *(
            None,
            True,
            7,
            1 << 40,
            1.5,
            Decimal("1.10"),
            "ü'\\x",
            b"\x00\xff",
            moment,
            moment.date(),
        ),
        *(moment.time(), [1, 2], ["a", None], extras.Json({"a": [1]})),
    ):
        cursor.execute("SELECT %s", (value,))
        (row,) = cursor.fetchall()
        yield cursor.query, bytes(row[0]) if isinstance(row[0], memoryview) else row[0]
    cursor.execute("SELECT 'x' WHERE 1 IN %s AND %%s = 's'".replace("%%s", "'s'"), ((1, 2),))
    yield cursor.fetchone(), cursor.fetchone(), cursor.rowcount
    cursor.execute("SELECT 1::numeric(8, 3) AS n, 'a'::varchar(9) AS v, '{\"b\": 1}'::jsonb AS j")
    yield [tuple(one) for one in cursor.description], cursor.fetchone()
    cursor.execute(sql.SQL("SELECT {} AS {}").format(sql.Literal("it's"), sql.Identifier('a"b')))
    yield cursor.fetchone(), cursor.description[0].name


def statements(connection):
    """What cursors say of statements."""
    cursor = connection.cursor()
    yield cursor.rowcount, cursor.description, cursor.closed
    cursor.execute("CREATE TEMP TABLE t (id int PRIMARY KEY, name text)")
    yield cursor.statusmessage, cursor.rowcount
    extras.execute_values(cursor, "INSERT INTO t VALUES %s", [(n, f"n{n}") for n in range(5)])
    yield cursor.rowcount, cursor.statusmessage
    found = extras.execute_values(
        cursor, "INSERT INTO t VALUES %s RETURNING id", [(7, "g"), (8, "h")], fetch=True
    )
    yield found
    extras.execute_batch(cursor, "UPDATE t SET name = %s WHERE id = %s", [("x", 0), ("y", 1)])
    yield cursor.rowcount
    cursor.executemany("DELETE FROM t WHERE id = %s", [(3,), (4,)])
    cursor.execute("SELECT * FROM t ORDER BY id")
    yield cursor.fetchone(), cursor.fetchmany(2), cursor.rownumber, list(cursor)
    cursor.scroll(1, "absolute")
    yield cursor.fetchone()
    cursor.callproc("lower", ["ABC"])
    yield cursor.fetchone()
    cursor.copy_from(io.StringIO("20\ttwenty\n21\t\\N\n"), "t", columns=("id", "name"))
    yield cursor.rowcount
    out = io.StringIO()
    cursor.copy_expert("COPY (SELECT * FROM t ORDER BY id) TO STDOUT WITH CSV", out)
    yield out.getvalue()
    cursor.execute("SELECT 1; SELECT 2, 3")
    yield cursor.fetchall()


def kinds_of_cursors(connection):
    """The cursors of `extras`, and those at the server."""
    ask = "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y' ORDER BY a"
    for factory in (extras.RealDictCursor, extras.DictCursor, extras.NamedTupleCursor):
        with connection.cursor(cursor_factory=factory) as cursor:
            cursor.execute(ask)
            yield repr(cursor.fetchone()), repr(cursor.fetchall()), isinstance(cursor, factory)
        yield cursor.closed
    with connection.cursor("at_the_server", cursor_factory=extras.RealDictCursor) as cursor:
        cursor.itersize = 1
        cursor.execute(ask)
        yield cursor.fetchone()["b"], [one["b"] for one in cursor]
    with connection.cursor("another") as cursor:
        cursor.execute("SELECT * FROM generate_series(1, 5)")
        yield cursor.fetchmany(2), cursor.fetchall(), cursor.fetchone()


def transactions(connection):
    """Where a transaction begins and ends, and what is said of it."""
    yield connection.autocommit, connection.status, connection.closed, connection.isolation_level
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE u (id int PRIMARY KEY)")
        yield connection.status, connection.get_transaction_status()
    yield connection.status, connection.get_transaction_status()
    for wrong in (
        "INSERT INTO u VALUES (1), (1)",
        "SELECT * FROM absent",
        "SELEC",
        "SELECT 1 / 0",
        "INSERT INTO u VALUES (NULL)",
    ):
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(wrong)
        except psycopg2.Error as error:
            yield type(error).__name__, error.pgcode, isinstance(error, psycopg2.DatabaseError)
            yield error.diag.constraint_name, error.diag.sqlstate, str(error).split("\n")[0]
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT 1 / 0")
    except errors.DivisionByZero:
        yield connection.get_transaction_status()
    try:
        cursor.execute("SELECT 1")
    except errors.InFailedSqlTransaction as error:
        yield error.pgcode
    connection.rollback()
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
    cursor.execute("SHOW transaction_isolation")
    yield cursor.fetchone(), connection.isolation_level, connection.readonly
    try:
        connection.autocommit = True
    except psycopg2.ProgrammingError as error:
        yield str(error)
    connection.rollback()
    connection.set_isolation_level(ext.ISOLATION_LEVEL_AUTOCOMMIT)
    cursor.execute("SELECT 1")
    yield connection.autocommit, connection.get_transaction_status(), connection.status
    for wrong in (lambda: cursor.execute(""), lambda: cursor.execute("%s"), cursor.nextset):
        try:
            wrong()
        except Exception as error:
            yield type(error).__name__
    cursor.execute("SET client_min_messages = notice")
    try:
        cursor.fetchone()
    except psycopg2.ProgrammingError as error:
        yield str(error)
    cursor.close()
    try:
        cursor.execute("SELECT 1")
    except psycopg2.InterfaceError as error:
        yield str(error)
    connection.close()
    yield connection.closed
    for after in (connection.cursor, connection.commit, connection.rollback):
        try:
            after()
        except psycopg2.InterfaceError as error:
            yield str(error)


@pytest.mark.real_broker
@pytest.mark.parametrize("script", [values, statements, kinds_of_cursors, transactions])
def test_what_a_real_connection_does_ours_does_too(script, db):
    found = []

    def on_order(order: dict):
        connection = psycopg2.connect(DSN)
        assert isinstance(connection, ext.connection)
        found.extend(script(connection))
        connection.close()

    shop(on_order, db).run(PLACED[:1])
    real = psycopg2.connect(SERVER, dbname="postgres")
    try:
        assert found == list(script(real))
    finally:
        real.close()


# ---- handlers as people write them


def merge(order: dict):
    """Store an order, once."""
    connection = psycopg2.connect(DSN)
    try:
        with connection, connection.cursor() as cursor:
            new = "INSERT INTO orders VALUES (%(id)s, %(cents)s) ON CONFLICT DO NOTHING"
            cursor.execute(new, order)
    finally:
        connection.close()


def adds(lock: str):
    """Add to a total what an order costs, the first time that it comes."""

    def on_order(order: dict):
        connection = psycopg2.connect(DSN, cursor_factory=extras.RealDictCursor)
        try:
            with connection, connection.cursor() as cursor:
                new = "INSERT INTO orders VALUES (%(id)s, %(cents)s) ON CONFLICT DO NOTHING"
                cursor.execute(new, order)
                if not cursor.rowcount:
                    return
                cursor.execute(f"SELECT cents FROM total WHERE id = 1 {lock}")
                cents = cursor.fetchone()["cents"] + order["cents"]
                cursor.execute("UPDATE total SET cents = %s WHERE id = 1", (cents,))
        finally:
            connection.close()

    return on_order


def count_up(order: dict):
    """Count each delivery: a redelivery counts twice."""
    connection = psycopg2.connect(DSN)
    with connection, connection.cursor() as cursor:
        new = "INSERT INTO orders VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET cents = "
        cursor.execute(f"{new} orders.cents + excluded.cents", (order["id"], order["cents"]))
    connection.close()


@pytest.mark.real_broker
def test_a_right_handler_holds_and_faults_strike(db):
    system = shop(merge, db)
    run = system.run()
    assert [row["id"] for row in rows(run)] == ["o1", "o2"]
    assert set(run.spoken) == {"psycopg2"}
    kinds = [FailedCommit, Crash, StoreOutage]
    found = explore(system, properties=[idempotent()], kinds=kinds, faults_max=1)
    assert found.result == "holds"
    assert found.runs > 10


@pytest.mark.real_broker
def test_a_handler_that_counts_twice_is_found_with_nothing_claimed(db):
    found = smallest(shop(count_up, db), faults_max=1)
    assert "orders" in found.findings[0].summary


@pytest.mark.real_broker
def test_two_replicas_wait_for_a_row_in_virtual_time_and_without_a_lock_an_addition_is_lost(db):
    assert explore(shop(adds("FOR UPDATE"), db), kinds=[Pause], faults_max=1).result == "holds"
    found = explore(shop(adds(""), db), kinds=[Pause], faults_max=1)
    assert "total" in found.counterexamples[0].findings[0].summary


@pytest.mark.real_broker
def test_a_pool_that_is_made_in_the_service_serves_it(db):
    def on_order(order: dict):
        connections = pool.ThreadedConnectionPool(1, 3, DSN)
        for suffix in ("a", "b"):
            connection = connections.getconn()
            try:
                with connection, connection.cursor() as cursor:
                    new = "INSERT INTO orders VALUES (%s, %s)"
                    cursor.execute(new, (order["id"] + suffix, order["cents"]))
            finally:
                connections.putconn(connection)
        connections.closeall()

    assert len(rows(shop(on_order, db).run())) == 4


@pytest.mark.real_broker
def test_after_an_outage_the_connection_is_closed_as_psycopg2_says_it(db):
    seen = []

    def on_order(order: dict):
        connection = psycopg2.connect(DSN)
        try:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO orders VALUES (%s, %s)", (order["id"], order["cents"]))
            connection.commit()
        except psycopg2.OperationalError as error:
            seen.append((type(error), bool(connection.closed)))
            raise

    outage = StoreOutage(Site("orders.on_order/db.insert orders"), lasting=5_000)
    shop(on_order, db).run(PLACED[:1], Schedule([outage]))
    assert (psycopg2.OperationalError, True) in seen


@pytest.mark.real_broker
def test_a_connection_that_nobody_holds_any_more_is_closed(db):
    def on_order(order: dict):
        for _ in range(150):  # more than a server lets in
            connection = psycopg2.connect(DSN)
            connection.cursor().execute("INSERT INTO orders VALUES ('left', 1)")
        connection.cursor().execute("INSERT INTO orders VALUES ('kept', 1)")
        connection.commit()

    assert [row["id"] for row in rows(shop(on_order, db).run(PLACED[:1]))] == ["kept", "left"]


@pytest.mark.real_broker
@pytest.mark.parametrize("name", ["poll", "lobject", "tpc_begin", "notifies"])
def test_what_is_not_modelled_says_so_with_its_line(name, db):
    def on_order(order: dict):
        found = getattr(psycopg2.connect(DSN), name)
        found()

    with pytest.raises(InvalidDefinition) as refused:
        shop(on_order, db).run()
    assert f"psycopg2: connection.{name} is not modelled (at tests/" in str(refused.value)


SAME = """
from tests.adapters.databases.test_psycopg2_itself import *
db = PostgreSQL("db", SCHEMA, server=SERVER)
for handler in (merge, adds("FOR UPDATE")):
    for faults in ([], [FailedCommit(COMMIT)], [Crash(COMMIT)]):
        print(shop(handler, db).run(None, Schedule(faults)).digest())
"""


@pytest.mark.slow
@pytest.mark.real_broker
def test_a_history_is_the_same_in_every_process(db):
    assert len(set(printed_everywhere(SAME))) == 6


def nowhere_in_particular(order):
    """It connects to what its environment says, and catches whatever comes."""
    try:
        psycopg2.connect("user=app")
    except Exception:
        return


def nowhere_by_name(order):
    connection = psycopg2.connect("dbname=stock user=app")
    connection.close()


@pytest.mark.real_broker
def test_an_address_that_may_mean_two_stores_is_asked_about_and_not_guessed(db):
    system = shop(nowhere_in_particular, db)
    stock = "postgresql://app@db.shop.example/stock"
    system.add(PostgreSQL("stock", "CREATE TABLE stock (id text)", server=SERVER, url=stock))
    words = (
        r"connection to its default may mean 'db' and 'stock' \(at .*itself.py:\d+\): say with url="
    )
    with pytest.raises(InvalidDefinition, match=words):
        system.run()
    assert shop(nowhere_in_particular, db).run().ending.verdict == "quiet"


@pytest.mark.real_broker
def test_a_name_that_none_of_the_stores_has_is_told_with_what_to_add():
    orders = PostgreSQL("db", SCHEMA, server=SERVER, url="postgresql://app@db.shop.example/orders")
    words = r'connects to its default/stock by psycopg2 .*url="postgresql://HOST/stock"\)'
    with pytest.raises(InvalidDefinition, match=words):
        shop(nowhere_by_name, orders).run()
