"""DynamoDB on ports: what is stored, what is refused, and what a fault does to either."""

from decimal import Decimal

import pytest

from chaosharness import (
    SQS,
    Crash,
    Delay,
    DynamoDB,
    DynamoError,
    DynamoTable,
    ErrorReply,
    External,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    System,
    smallest,
)
from chaosharness.errors import InvalidDefinition, UnserialisablePayload

TABLES = {"stock": "book", "lines": DynamoTable("order", sort="nth")}


def said_by(handler, *faults):
    """Return what a handler made of one order, and the run."""
    found = []
    shop = System("shop")
    db = shop.add(DynamoDB("db", TABLES))

    @shop.service("worker")
    def worker(env):
        tables = env.connect(db)
        env.main(lambda: found.append(handler(tables)))

    shop.entry(examples=[1])(lambda env, item: None)
    run = shop.run([], Schedule(faults))
    assert not run.unused
    return found, run


def at(operation, phase="after", **more):
    return Site(f"worker.<lambda>/db.{operation}", phase, entity=0, **more)


def test_what_is_stored_comes_back_as_it_was():
    value = {
        "book": "b1",
        "left": 3,
        "price": Decimal("1.5"),
        "tags": {"a", "b"},
        "more": {"list": [1, None, True, b"x"]},
    }

    def handler(db):
        assert db.get("stock", {"book": "b1"}) is None
        db.put("stock", value)
        return db.get("stock", {"book": "b1"}, consistent=True)

    found, run = said_by(handler)
    assert found == [value]
    [state] = run.history.of("state")
    assert state.data["items"]["stock/b1"]["price"] == "1.5"


def test_conditions_updates_queries_and_transactions():
    def handler(db):
        for nth in (2, 10, 1):
            db.put("lines", {"order": "o1", "nth": nth, "cents": 5})
        changed = db.update(
            "lines",
            {"order": "o1", "nth": 1},
            "SET cents = cents + :more",
            condition="attribute_exists(#order)",
            values={":more": 2},
            names={"#order": "order"},
        )
        with pytest.raises(DynamoError) as refused:
            db.delete(
                "lines", {"order": "o1", "nth": 1}, condition="cents > :c", values={":c": 100}
            )
        assert refused.value.code == "ConditionalCheckFailedException"
        put = {"Put": {"TableName": "stock", "Item": {"book": {"S": "b1"}}}}
        never = {
            "ConditionCheck": {
                "TableName": "stock",
                "Key": {"book": {"S": "b2"}},
                "ConditionExpression": "attribute_exists(book)",
            }
        }
        with pytest.raises(DynamoError, match="ConditionalCheckFailed") as cancelled:
            db.transact([put, never])
        assert len(cancelled.value.response["CancellationReasons"]) == 2
        assert db.scan("stock") == []
        names = {"#order": "order"}
        lines = db.query("lines", "#order = :o", values={":o": "o1"}, names=names)
        return changed["cents"], [one["nth"] for one in lines]

    assert said_by(handler)[0] == [(7, [1, 2, 10])]


def put(db):
    db.put("stock", {"book": "b1", "left": 1})
    return db.get("stock", {"book": "b1"})


@pytest.mark.parametrize(
    ("fault", "error", "stored"),
    [
        (LostReply(at("put stock")), TimeoutError, 1),
        (LostRequest(at("put stock", "before")), TimeoutError, 0),
        (ErrorReply(at("put stock", "before")), ConnectionError, 0),
    ],
)
def test_what_the_caller_sees(fault, error, stored):
    def handler(db):
        with pytest.raises(error):
            put(db)
        return len(db.scan("stock", consistent=True))

    assert said_by(handler, fault)[0] == [stored]


def test_a_crash_leaves_what_was_stored():
    found, run = said_by(put, Crash(at("put stock")))
    assert found == [{"book": "b1", "left": 1}]
    assert sum(one.kind == "commit" for one in run.history) == 1  # the second changed nothing


def test_a_copy_that_is_behind_is_seen_unless_asked_for_consistency():
    behind = Delay(Site("db.stock/copy", entity=0), lasting=1_000)
    assert said_by(put, behind)[0] == [None]
    assert said_by(lambda db: (put(db), db.get("stock", {"book": "b1"}, consistent=True)), behind)[
        0
    ] == [(None, {"book": "b1", "left": 1})]


def oversold(*, consistent, guarded):
    """A shop that looks before it sells: two orders of the last book, one after the other."""

    class Depot:
        def __init__(self):
            self.sent = []

        def ship(self, order: str, key: str):
            self.sent.append(order)

    shop = System("shop", arrival_ms=1_000)
    bus = shop.add(SQS("bus", ["orders"]))
    db = shop.add(DynamoDB("db", {"stock": "book"}))
    depot = shop.add(External("depot", Depot))

    @shop.service("sales")
    def sales(env):
        tables = env.connect(db)
        send = env.client(depot)

        def on_order(order: dict):
            found = tables.get("stock", {"book": "b1"}, consistent=consistent)
            if found is not None and found["order"] != order["id"]:
                return
            kept = {"book": "b1", "order": order["id"]}
            first = {
                "condition": "attribute_not_exists(book) OR #order = :order",
                "values": {":order": order["id"]},
                "names": {"#order": "order"},
            }
            try:
                tables.put("stock", kept, **(first if guarded else {}))
            except DynamoError:
                return
            send.ship(order["id"], key="b1")

        env.consume(bus, "orders", on_order)

    @shop.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return shop


def test_a_read_that_is_behind_is_found_and_a_condition_cures_it():
    shop = oversold(consistent=False, guarded=False)
    behind = Delay(Site("db.stock/copy"), lasting=60_000)
    shipped = [
        sum(one.kind == "effect" for one in made.run(None, Schedule([behind])).history)
        for made in (
            shop,
            oversold(consistent=True, guarded=False),
            oversold(consistent=False, guarded=True),
        )
    ]
    assert shipped == [2, 1, 1]
    assert smallest(shop, faults_max=1) is not None


def test_what_cannot_be_is_said():
    for tables in ({}, ["stock"]):
        with pytest.raises(InvalidDefinition, match="tables with their keys"):
            DynamoDB("db", tables)
    with pytest.raises(InvalidDefinition, match=r"db has no table 'absent'; it has: lines, stock"):
        said_by(lambda db: db.scan("absent"))
    with pytest.raises(UnserialisablePayload, match=r"DynamoDB has no type for 1\.5"):
        said_by(lambda db: db.put("stock", {"book": "b1", "price": 1.5}))
