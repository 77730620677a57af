"""DynamoDB as a machine: what no comparison with a peer shows."""

import pytest

from chaosharness.machines.dynamodb import DynamoMachine, TableSettings
from chaosharness.machines.dynamodb.machine import LATE_MS, TOKEN_MS
from chaosharness.machines.machine import Refusal

NOW_S = 1_700_000_000


@pytest.fixture
def machine():
    made = DynamoMachine(NOW_S * 1_000)
    made.create("seen", TableSettings(key="id", ttl="until"))
    return made


def put(machine, name, now=0, **more):
    item = {"id": {"S": name}, **{key: {"N": str(value)} for key, value in more.items()}}
    return machine.call("PutItem", {"TableName": "seen", "Item": item}, now)


def there(machine, name, now=0, **more):
    given = {"TableName": "seen", "Key": {"id": {"S": name}}, **more}
    return machine.call("GetItem", given, now).get("Item")


def test_what_is_expired_stays_for_days(machine):
    put(machine, "a", until=NOW_S + 60)
    assert there(machine, "a", 60_000 + LATE_MS)
    machine.take()
    assert there(machine, "a", 60_001 + LATE_MS) is None
    assert [one.why for one in machine.take()] == ["expired"]


def test_a_copy_is_behind_until_it_catches_up_and_in_order(machine):
    put(machine, "a", n=1)
    [first] = machine.take()
    put(machine, "a", n=2)
    [second] = machine.take()
    machine.lag("seen", second.key, second.before, 50)
    put(machine, "a", n=3)
    assert there(machine, "a", 49)["n"] == {"N": "1"}
    assert there(machine, "a", 49, ConsistentRead=True)["n"] == {"N": "3"}
    assert there(machine, "a", 50)["n"] == {"N": "3"}
    assert first.before is None


def test_numbers_are_kept_without_zeros_that_say_nothing(machine):
    item = {"id": {"S": "a"}, "n": {"N": "1.500"}, "m": {"N": "1E3"}}
    machine.call("PutItem", {"TableName": "seen", "Item": item}, 0)
    assert there(machine, "a") == {"id": {"S": "a"}, "n": {"N": "1.5"}, "m": {"N": "1000"}}


def test_a_token_is_known_for_ten_minutes(machine):
    add = {
        "TableName": "seen",
        "Key": {"id": {"S": "a"}},
        "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    given = {"TransactItems": [{"Update": add}], "ClientRequestToken": "t"}
    for now in (0, TOKEN_MS - 1, TOKEN_MS):
        assert machine.call("TransactWriteItems", given, now) == {}
    assert there(machine, "a", TOKEN_MS)["n"] == {"N": "2"}
    other = {"TransactItems": [{"Delete": {"TableName": "seen", "Key": {"id": {"S": "a"}}}}]}
    refused = machine.call("TransactWriteItems", {**other, "ClientRequestToken": "t"}, TOKEN_MS)
    assert refused.code == "IdempotentParameterMismatchException"


@pytest.mark.parametrize(
    ("action", "given", "words"),
    [
        ("PutItem", {"Item": {"n": {"N": "1"}}}, "Missing the key id in the item"),
        ("GetItem", {"Key": {"other": {"S": "a"}}}, "does not match the schema"),
        ("PutItem", {"Item": {"id": {"S": ""}}}, "cannot contain an empty string value"),
        ("PutItem", {"Item": {"id": {"S": "a"}, "s": {"S": "x" * 409_600}}}, "Item size has"),
        ("PutItem", {"ConditionExpression": "a = :b"}, "not defined; attribute value: :b"),
        ("PutItem", {"ConditionExpression": "#a = b"}, "not defined; attribute name: #a"),
        ("PutItem", {"ConditionExpression": "((a = b))"}, "redundant parentheses"),
        ("PutItem", {"ConditionExpression": "a = "}, 'Syntax error; token: "<EOF>", near: "="'),
        ("PutItem", {"ConditionExpression": "exists(a)"}, "Invalid function name"),
        ("PutItem", {"ExpressionAttributeValues": {":b": {"N": "1"}}}, "unused in expressions"),
        ("UpdateItem", {"UpdateExpression": "SET id = n"}, "This attribute is part of the key"),
        ("UpdateItem", {"UpdateExpression": "SET m.a = n REMOVE m"}, "paths overlap"),
        ("UpdateItem", {"UpdateExpression": "SET a = b SET c = d"}, "can only be used once"),
        ("UpdateItem", {"UpdateExpression": "SET a = b"}, "does not exist in the item"),
        ("Query", {"KeyConditionExpression": "n = id"}, "Query key condition not supported"),
    ],
)
def test_what_makes_no_sense_is_refused_in_its_words(machine, action, given, words):
    own = {"PutItem": {"Item": {"id": {"S": "a"}}}, "Query": {}}
    base = own.get(action, {"Key": {"id": {"S": "a"}}})
    answer = machine.call(action, {"TableName": "seen", **base, **given}, 0)
    assert isinstance(answer, Refusal)
    assert answer.code == "ValidationException" and words in answer.text


def test_a_table_that_is_not_there(machine):
    answer = machine.call("Scan", {"TableName": "absent"}, 0)
    assert answer == Refusal("ResourceNotFoundException", "Requested resource not found")
