"""SQL as sites see it: verb and table, whatever the spelling."""

import pytest

from chaosharness.stores.sqlite.statement import Statement, split


@pytest.mark.parametrize(
    ("sql", "action", "kind"),
    [
        ("SELECT 1", "db.select", "read"),
        ("select * from orders where id = ?", "db.select orders", "read"),
        ("SELECT count(*) FROM (SELECT id FROM orders)", "db.select orders", "read"),
        ('SELECT "orders".id FROM "orders" JOIN charges USING (id)', "db.select orders", "read"),
        ("VALUES (1)", "db.values", "read"),
        ("EXPLAIN SELECT 1", "db.explain", "read"),
        ("INSERT INTO charges VALUES (?, ?)", "db.insert charges", "write"),
        ("insert or ignore into main.charges (id) values (1)", "db.insert charges", "write"),
        ("REPLACE INTO [charges] VALUES (1)", "db.replace charges", "write"),
        ("UPDATE OR FAIL `charges` SET cents = 1", "db.update charges", "write"),
        ("DELETE FROM charges", "db.delete charges", "write"),
        ("-- why\n/* and how */ DELETE\nFROM charges", "db.delete charges", "write"),
        ("CREATE TABLE IF NOT EXISTS charges (id)", "db.create charges", "write"),
        ("CREATE UNIQUE INDEX by_id ON charges (id)", "db.create by_id", "write"),
        ("DROP TABLE charges", "db.drop charges", "write"),
        ("ALTER TABLE charges ADD COLUMN x", "db.alter charges", "write"),
        ("VACUUM", "db.vacuum", "write"),
        ("PRAGMA foreign_keys = ON", "db.pragma foreign_keys", "pragma"),
        ("BEGIN IMMEDIATE", "db.begin", "begin"),
        ("END TRANSACTION", "db.end", "commit"),
        ("ROLLBACK", "db.rollback", "rollback"),
        ("ROLLBACK TO SAVEPOINT inner", "db.rollback to", "savepoint"),
        ("SAVEPOINT inner", "db.savepoint", "savepoint"),
        ("RELEASE SAVEPOINT inner", "db.release", "release"),
        ("WITH a AS (SELECT 1 FROM b) SELECT * FROM a", "db.select b", "read"),
        ("WITH a AS (SELECT 1) INSERT INTO charges SELECT * FROM a", "db.insert charges", "write"),
        ("WITH a AS (SELECT 1) UPDATE charges SET cents = 1", "db.update charges", "write"),
        ("WITH a AS (SELECT 1) DELETE FROM charges", "db.delete charges", "write"),
        ("", "db.execute", "read"),
        ("-- nothing", "db.execute", "read"),
    ],
)
def test_a_statement_is_named_by_verb_and_table(sql, action, kind):
    statement = Statement("db", sql)
    assert (statement.action, statement.kind) == (action, kind)


@pytest.mark.parametrize(
    ("sql", "implicit", "touches", "private"),
    [
        ("INSERT INTO t VALUES (1)", True, False, False),
        ("INSERT INTO t VALUES (1) RETURNING id", True, True, False),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", False, True, False),
        ("CREATE TABLE t (id)", False, True, False),
        ("CREATE TEMP TABLE t (id)", False, True, True),
        ("ATTACH ':memory:' AS other", False, True, True),
        ("SELECT 1", False, False, False),
    ],
)
def test_what_python_and_sqlite_do_with_a_statement(sql, implicit, touches, private):
    statement = Statement("db", sql)
    assert (statement.implicit, statement.touches, statement.private) == (
        implicit,
        touches,
        private,
    )


def test_a_script_is_split_where_statements_end():
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;"
    script = f"SELECT ';'; -- one; two\n{trigger}\n;;SELECT 3 -- no semicolon"
    assert list(split(script)) == [
        "SELECT ';';",
        f"-- one; two\n{trigger}",
        "SELECT 3 -- no semicolon",
    ]
