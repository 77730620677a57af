"""DynamoDB through boto3: the client and the resource, its errors, and what its retries do."""

import time
from decimal import Decimal

import boto3
import pytest
from boto3.dynamodb.conditions import Attr, Key
from botocore.config import Config
from botocore.exceptions import ClientError

from chaosharness import (
    AWS,
    Delay,
    DynamoDB,
    DynamoTable,
    ErrorReply,
    LostReply,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.digests import printed_everywhere

PUT = "worker.outer/db.put_item orders"
TABLES = {
    "orders": "id",
    "lines": DynamoTable("order", sort="nth", indexes={"by-book": "book"}),
    "seen": DynamoTable("id", ttl="until"),
}


def system_of(main):
    shop = System("shop")
    db = shop.add(DynamoDB("db", TABLES))
    shop.add(AWS(db))
    shop.service("worker")(lambda env: env.main(main))
    shop.entry(examples=[1])(lambda env, item: None)
    return shop


def said_by(main, *faults):
    """Return what `main()` returned or raised, and the run."""
    found = []

    def outer():
        try:
            found.append(main())
        except ClientError as error:
            found.append(error)

    run = system_of(outer).run([], Schedule(faults))
    assert run.ending.verdict == "quiet", run.ending
    assert not run.unused
    [one] = found
    return one, run


def at(operation, phase="before", **more):
    return Site(operation, phase, entity=0, **more)


def test_the_resource_stores_and_finds_what_python_has():
    def main():
        table = boto3.resource("dynamodb").Table("lines")
        with table.batch_writer() as batch:
            for nth in (3, 1, 2):
                batch.put_item(
                    Item={
                        "order": "o1",
                        "nth": nth,
                        "book": f"b{nth % 2}",
                        "price": Decimal("1.50"),
                    }
                )
        table.update_item(
            Key={"order": "o1", "nth": 2},
            UpdateExpression="SET price = price + :more",
            ExpressionAttributeValues={":more": Decimal("0.50")},
        )
        found = table.query(
            KeyConditionExpression=Key("order").eq("o1") & Key("nth").gt(1),
            FilterExpression=Attr("price").gte(1),
            ScanIndexForward=False,
        )["Items"]
        by_book = table.query(IndexName="by-book", KeyConditionExpression=Key("book").eq("b1"))
        page = table.query(KeyConditionExpression=Key("order").eq("o1"), Limit=2)
        rest = table.query(
            KeyConditionExpression=Key("order").eq("o1"), ExclusiveStartKey=page["LastEvaluatedKey"]
        )
        assert [one["nth"] for one in page["Items"] + rest["Items"]] == [1, 2, 3]
        assert table.scan(FilterExpression=Attr("nth").eq(2))["Count"] == 1
        return [(one["nth"], one["price"]) for one in found], by_book["Count"]

    assert said_by(main)[0] == ([(3, Decimal("1.5")), (2, Decimal("2"))], 2)


def test_conditions_and_errors_are_those_of_the_client():
    def main():
        db = boto3.client("dynamodb")
        item = {"id": {"S": "o1"}, "state": {"S": "new"}}
        once = {"ConditionExpression": "attribute_not_exists(id)"}
        db.put_item(TableName="orders", Item=item, **once)
        with pytest.raises(db.exceptions.ConditionalCheckFailedException) as failed:
            db.put_item(
                TableName="orders",
                Item=item,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **once,
            )
        assert failed.value.response["Item"] == item
        with pytest.raises(db.exceptions.ResourceNotFoundException):
            db.get_item(TableName="absent", Key={"id": {"S": "o1"}})
        with pytest.raises(ClientError, match="Syntax error") as wrong:
            db.put_item(TableName="orders", Item=item, ConditionExpression="id ==")
        assert wrong.value.response["Error"]["Code"] == "ValidationException"
        with pytest.raises(ClientError, match="Missing the key id in the item"):
            db.put_item(TableName="orders", Item={"state": {"S": "new"}})
        with pytest.raises(db.exceptions.TransactionCanceledException) as cancelled:
            db.transact_write_items(
                TransactItems=[
                    {"Put": {"TableName": "orders", "Item": {"id": {"S": "o2"}}}},
                    {"Put": {"TableName": "orders", "Item": item, **once}},
                ]
            )
        reasons = [one["Code"] for one in cancelled.value.response["CancellationReasons"]]
        assert reasons == ["None", "ConditionalCheckFailed"]
        pages = db.get_paginator("scan").paginate(
            TableName="orders", PaginationConfig={"PageSize": 1}
        )
        db.get_waiter("table_exists").wait(TableName="orders")
        return sum(page["Count"] for page in pages)

    assert said_by(main)[0] == 1


# ---- what the library's retries do


def put_once():
    db = boto3.client("dynamodb", config=Config(read_timeout=2))
    db.put_item(
        TableName="orders",
        Item={"id": {"S": "o1"}},
        ConditionExpression="attribute_not_exists(id)",
    )


def test_a_lost_answer_has_a_condition_fail_on_the_own_first_write():
    found, run = said_by(put_once, LostReply(at(PUT, "after")))
    assert found.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert sum(one.kind == "commit" for one in run.history) == 1


def test_a_transaction_that_is_repeated_is_done_once():
    def main():
        add = {
            "TableName": "orders",
            "Key": {"id": {"S": "o1"}},
            "UpdateExpression": "ADD cents :more",
            "ExpressionAttributeValues": {":more": {"N": "5"}},
        }
        db = boto3.client("dynamodb", config=Config(read_timeout=2))
        db.transact_write_items(TransactItems=[{"Update": add}])
        return db.get_item(TableName="orders", Key=add["Key"])["Item"]["cents"]

    lost = LostReply(at("worker.outer/db.transact_write_items orders", "after"))
    assert said_by(main, lost)[0] == {"N": "5"}  # botocore gives both the same token


def test_an_update_that_adds_is_repeated_and_adds_twice():
    def main():
        table = boto3.resource("dynamodb", config=Config(read_timeout=2)).Table("orders")
        table.update_item(
            Key={"id": "o1"},
            UpdateExpression="ADD cents :more",
            ExpressionAttributeValues={":more": 5},
        )
        return table.get_item(Key={"id": "o1"}, ConsistentRead=True)["Item"]["cents"]

    assert said_by(main)[0] == 5
    assert said_by(main, LostReply(at("worker.outer/db.update_item orders", "after")))[0] == 10


def test_too_much_is_tried_again_and_a_conflict_is_not():
    assert said_by(put_once, ErrorReply(at(PUT)))[0] is None

    def transact():
        put = {"TableName": "orders", "Item": {"id": {"S": "o1"}}}
        boto3.client("dynamodb").transact_write_items(TransactItems=[{"Put": put}])

    refused = ErrorReply(at("worker.outer/db.transact_write_items orders"))
    found, _ = said_by(transact, refused)
    assert found.response["CancellationReasons"][0]["Code"] == "TransactionConflict"


def test_writes_of_a_batch_that_were_left_undone():
    def main():
        db = boto3.client("dynamodb")
        puts = [{"PutRequest": {"Item": {"id": {"S": name}}}} for name in "abc"]
        left = db.batch_write_item(RequestItems={"orders": puts})["UnprocessedItems"]
        return left, db.scan(TableName="orders")["Count"]

    second = ErrorReply(at("db.orders/write of a batch", attempt=2))
    assert said_by(main, second)[0] == (
        {"orders": [{"PutRequest": {"Item": {"id": {"S": "b"}}}}]},
        2,
    )


# ---- reads that are behind


def test_a_read_may_be_behind_unless_it_is_consistent():
    def main():
        table = boto3.resource("dynamodb").Table("orders")
        table.put_item(Item={"id": "o1", "state": "new"})
        table.put_item(Item={"id": "o1", "state": "paid"})
        states = [
            table.get_item(Key={"id": "o1"}, ConsistentRead=consistent)["Item"]["state"]
            for consistent in (False, True)
        ]
        states.append(table.scan()["Items"][0]["state"])
        time.sleep(10)
        return [*states, table.get_item(Key={"id": "o1"})["Item"]["state"]]

    assert said_by(main)[0] == ["paid"] * 4
    behind = Delay(at("db.orders/copy", attempt=2), lasting=5_000)
    assert said_by(main, behind)[0] == ["new", "paid", "new", "paid"]


# ---- what is not there


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda db: db.execute_statement(Statement="SELECT * FROM orders"),
            r"dynamodb.execute_statement is not modelled \(at .*test_dynamodb.py:\d+\)",
        ),
        (
            lambda db: db.put_item(TableName="orders", Item={"id": {"S": "a"}}, Expected={}),
            r"dynamodb.put_item with Expected is not modelled \(at .*test_dynamodb.py:\d+\)",
        ),
    ],
)
def test_what_is_not_modelled_is_named_with_the_users_line(call, words):
    with pytest.raises(InvalidDefinition, match=words):
        said_by(lambda: call(boto3.client("dynamodb")))


SAME = """
from chaosharness import Delay, ErrorReply, LostReply
from tests.adapters.test_dynamodb import PUT, at, put_once, said_by
for faults in ([], [LostReply(at(PUT, "after"))], [ErrorReply(at(PUT))], [Delay(at(PUT))]):
    for _ in range(2):
        print(len(faults), said_by(put_once, *faults)[1].digest())
"""


def test_a_history_is_the_same_everywhere():
    lines = printed_everywhere(SAME)
    assert lines[::2] == lines[1::2] and len(set(lines)) == 4


TOKENS = """
import boto3
from tests.adapters.test_dynamodb import said_by

def main():
    put = {"TableName": "orders", "Item": {"id": {"S": "o1"}}}
    boto3.client("dynamodb").transact_write_items(TransactItems=[{"Put": put}])

for _ in range(2):
    print(said_by(main)[1].digest())
"""


def test_the_tokens_that_botocore_makes_are_those_of_the_run():
    assert len(set(printed_everywhere(TOKENS))) == 1


def test_a_lock_that_is_taken_and_given_back_for_ever_changes_nothing():
    def main():
        table = boto3.resource("dynamodb").Table("orders")
        while True:
            try:
                lock = {"id": "lock", "until": int(time.time()) + 30}
                table.put_item(Item=lock, ConditionExpression=Attr("id").not_exists())
                table.delete_item(Key={"id": "lock"})
            except ClientError:
                pass
            time.sleep(10)

    run = system_of(main).run([])
    assert run.ending.verdict == "quiet", run.ending
    assert len(run.history) < 2_000
