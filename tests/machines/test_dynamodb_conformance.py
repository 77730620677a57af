"""Random operations on the machine and on moto: what a client observes is the same.

moto is no reference. Where it deviates from AWS's documents the alphabet leaves the case out, and
`DEVIATIONS` says which.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from chaosharness.machines.dynamodb import DynamoMachine, TableSettings
from chaosharness.machines.dynamodb.machine import ACTIONS
from chaosharness.machines.dynamodb.values import plain
from chaosharness.machines.machine import Refusal

moto = pytest.importorskip("moto", reason="moto is not installed: nothing to compare DynamoDB with")
boto3 = pytest.importorskip("boto3")

SEQUENCES = int(os.environ.get("CHAOSHARNESS_DYNAMODB_SEQUENCES", "60"))
STEPS = 14
DEVIATIONS = {
    "error texts": "moto words some otherwise; codes are compared",
    "scan order": "moto scans in the order of arrival; sets are compared",
    "numbers": "moto keeps '1.0' as it was sent; numbers are compared by value",
    "BOOL": "moto takes the number 1 for true, and 0 for false; it is left out",
    "NULL": "moto takes it for an attribute that is not there; it is left out",
    "LastEvaluatedKey": "moto leaves it out where nothing more is there; AWS does not look ahead",
}
"""What is known of moto, and how it is compared."""

NUMBERS = ("0", "1", "2", "-3", "10")
TEXTS = ("", "a", "ab", "b")
PATHS = ("n", "s", "l", "m", "m.x", "l[0]", "l[5]", "tags", "absent")


def value(chance):
    return chance.choice(
        [
            {"N": chance.choice(NUMBERS)},
            {"S": chance.choice(TEXTS)},
            {"L": [{"N": "1"}, {"S": "a"}][: chance.randrange(3)]},
            {"M": {"x": {"N": chance.choice(NUMBERS)}}},
            {"SS": ["a", "b"][: chance.randrange(1, 3)]},
        ]
    )


def key(chance):
    return {"id": {"S": chance.choice("pq")}, "at": {"N": chance.choice("123")}}


def item(chance):
    names = chance.sample(["n", "s", "l", "m", "tags"], chance.randrange(4))
    made = {
        "n": {"N": chance.choice(NUMBERS)},
        "s": {"S": chance.choice(TEXTS)},
        "l": {"L": [{"N": "1"}, {"N": "2"}, {"S": "a"}][: chance.randrange(4)]},
        "m": {"M": {"x": value(chance)}},
        "tags": {"SS": ["a", "b", "c"][: chance.randrange(1, 4)]},
    }
    return {**key(chance), **{name: made[name] for name in names}}


class Words:
    """Makes expressions, and the names and values that they need."""

    def __init__(self, chance):
        self.chance = chance
        self.values = {}

    def value(self, made=None):
        name = f":v{len(self.values)}"
        self.values[name] = value(self.chance) if made is None else made
        return name

    def condition(self, depth=0):
        chance = self.chance
        kind = chance.randrange(9 if depth < 2 else 6)
        path = chance.choice(PATHS)
        match kind:
            case 0:
                return f"attribute_exists({path})"
            case 1:
                return f"attribute_not_exists({path})"
            case 2:
                return f"{path} {chance.choice(['=', '<>'])} {self.value()}"
            case 3:
                number = {"N": chance.choice(NUMBERS)}
                return f"n {chance.choice(['<', '<=', '>', '>='])} {self.value(number)}"
            case 4:
                low, high = sorted(chance.sample(NUMBERS, 2), key=int)
                return f"n BETWEEN {self.value({'N': low})} AND {self.value({'N': high})}"
            case 5:
                return f"s IN ({self.value()}, {self.value()})"
            case 6:
                return f"NOT ({self.condition(depth + 1)})"
            case 7:
                return f"({self.condition(depth + 1)}) AND ({self.condition(depth + 1)})"
        return f"({self.condition(depth + 1)}) OR ({self.condition(depth + 1)})"

    def update(self):
        number = {"N": self.chance.choice(NUMBERS)}
        return self.chance.choice(
            [
                lambda: f"SET n = if_not_exists(n, {self.value(number)}) + {self.value(number)}",
                lambda: f"SET n = n - {self.value(number)}",
                lambda: f"SET s = {self.value()}, l = {self.value()}",
                lambda: f"SET l = list_append(l, {self.value({'L': [number]})})",
                lambda: f"SET m.x = {self.value()}",
                lambda: f"SET s = n REMOVE {self.chance.choice(['l', 'tags', 'absent'])}",
                lambda: f"ADD n {self.value(number)}",
                lambda: f"ADD absent {self.value(number)}",
                lambda: f"REMOVE n SET s = {self.value()}",
            ]
        )()


def request(chance):
    """Return an action and its parameters."""
    words = Words(chance)
    given = {"TableName": "orders"}
    action = chance.choice(
        ["PutItem"] * 3
        + ["UpdateItem"] * 4
        + ["DeleteItem", "GetItem", "Query", "Query", "Scan"]
        + ["TransactWriteItems", "BatchWriteItem"]
    )
    match action:
        case "PutItem":
            given["Item"] = item(chance)
        case "Query":
            sign = chance.choice(["=", "<", ">=", None])
            text = f"id = {words.value({'S': chance.choice('pq')})}"
            if sign:
                text += f" AND at {sign} {words.value({'N': chance.choice('123')})}"
            given["KeyConditionExpression"] = text
            given["ScanIndexForward"] = chance.random() < 0.7
            if chance.random() < 0.4:
                given["FilterExpression"] = words.condition()
        case "Scan":
            if chance.random() < 0.7:
                given["FilterExpression"] = words.condition()
        case "TransactWriteItems":
            del given["TableName"]
            given["TransactItems"] = transaction(chance)
            return action, given
        case "BatchWriteItem":
            keys = {str(one): one for one in (key(chance) for _ in range(3))}
            requests = [
                {"DeleteRequest": {"Key": one}}
                if chance.random() < 0.3
                else {"PutRequest": {"Item": {**item(chance), **one}}}
                for one in keys.values()
            ]
            return action, {"RequestItems": {"orders": requests}}
        case _:
            given["Key"] = key(chance)
    if action == "UpdateItem":
        given["UpdateExpression"] = words.update()
        given["ReturnValues"] = chance.choice(["NONE", "ALL_OLD", "ALL_NEW"])
    if action in ("PutItem", "UpdateItem", "DeleteItem") and chance.random() < 0.6:
        given["ConditionExpression"] = words.condition()
    if action in ("PutItem", "DeleteItem"):
        given["ReturnValues"] = chance.choice(["NONE", "ALL_OLD"])
    if words.values:
        given["ExpressionAttributeValues"] = words.values
    return action, given


def transaction(chance):
    made = []
    for one in {str(one): one for one in (key(chance) for _ in range(3))}.values():
        words = Words(chance)
        condition = words.condition()
        more = {"ConditionExpression": condition, "TableName": "orders"}
        if words.values:
            more["ExpressionAttributeValues"] = words.values
        kind = chance.choice(["Put", "Delete", "ConditionCheck"])
        what = {"Item": {**item(chance), **one}} if kind == "Put" else {"Key": one}
        made.append({kind: {**what, **more}})
    return made


def alike(action, answer):
    """Return what is compared of an answer."""
    if isinstance(answer, Refusal):
        return answer.code
    found = {name: one for name, one in answer.items() if name in ("Item", "Attributes")}
    found = {name: plain({"M": one}) for name, one in found.items() if one}
    if "Items" in answer:
        items = [plain({"M": one}) for one in answer["Items"]]
        found["Items"] = sorted(items, key=repr) if action == "Scan" else items
        found["Count"] = answer["Count"]
    return found


def ask(client, action, given):
    method = "".join(f"_{one.lower()}" if one.isupper() else one for one in action).strip("_")
    try:
        return getattr(client, method)(**given)
    except client.exceptions.ClientError as error:
        return Refusal(error.response["Error"]["Code"], "")


def peer():
    client = boto3.client(
        "dynamodb", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_table(
        TableName="orders",
        KeySchema=[
            {"AttributeName": "id", "KeyType": "HASH"},
            {"AttributeName": "at", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "at", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


def ours():
    machine = DynamoMachine()
    machine.create("orders", TableSettings(key="id", sort="at"))
    return machine


def difference(client, machine, chance, seen):
    """Return the first difference in a random sequence of operations."""
    for nth in range(STEPS):
        action, given = request(chance)
        expected = alike(action, ask(client, action, given))
        found = alike(action, machine.call(action, given, nth))
        seen[action, expected if isinstance(expected, str) else "ok"] += 1
        if found != expected:
            return action, given, expected, found
    return None


def empty(client):
    for one in client.scan(TableName="orders")["Items"]:
        client.delete_item(TableName="orders", Key={"id": one["id"], "at": one["at"]})


def differences(sequences=SEQUENCES):
    seen = Counter()
    found = []
    with moto.mock_aws():
        client = peer()
        for number in range(sequences):
            empty(client)
            one = difference(client, ours(), random.Random(number), seen)
            found += [one] if one is not None else []
    return found, seen


def test_random_sequences_are_answered_alike():
    found, seen = differences()
    assert not found, found[0]
    assert seen["UpdateItem", "ConditionalCheckFailedException"] > 5
    assert seen["UpdateItem", "ValidationException"] > 5
    assert seen["TransactWriteItems", "TransactionCanceledException"] > 5
    assert seen["TransactWriteItems", "ok"] and seen["Query", "ok"] and seen["BatchWriteItem", "ok"]


def without_condition(machine, given, now):
    """Put an item, whatever its condition says."""
    left = {"ConditionExpression", "ExpressionAttributeValues"}
    return PUT(machine, {name: one for name, one in given.items() if name not in left}, now)


def always_the_new_one(machine, given, now):
    """Answer an update with the item as it is, whatever was asked for."""
    wanted = given["ReturnValues"]
    return UPDATE(
        machine, {**given, "ReturnValues": "ALL_NEW" if wanted != "NONE" else wanted}, now
    )


PUT, UPDATE = ACTIONS["PutItem"], ACTIONS["UpdateItem"]
WRONG = [("PutItem", without_condition), ("UpdateItem", always_the_new_one)]


@pytest.mark.parametrize(("action", "wrong"), WRONG)
def test_a_wrong_machine_is_caught(monkeypatch, action, wrong):
    monkeypatch.setitem(ACTIONS, action, wrong)
    assert differences(sequences=20)[0]
