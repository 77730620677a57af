"""A Lambda function that keeps in DynamoDB what it has done, so that it does nothing twice.

chaosharness run models.aws.keeper:keeper

The pattern is that of AWS Lambda Powertools: a record for each order, written on a condition, which
says `INPROGRESS` until the work is done, and expires.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
)

from chaosharness import (
    AWS,
    SQS,
    DynamoDB,
    DynamoTable,
    Env,
    Gateway,
    Lambda,
    SQSQueue,
    System,
)

TABLE = "idempotency"
KEPT_S = 3_600
FREE = (
    "attribute_not_exists(id) OR expires < :now OR (#state = :begun AND in_progress_until < :now)"
)
STATE = {"#state": "state"}

db = boto3.client("dynamodb", region_name="eu-central-1")
Once = Callable[[str, Any, Callable[[], Any]], None]


class AlreadyInProgress(Exception):
    """Somebody else does it just now, or died while doing it: try again later."""


def keeper() -> System:
    """The right one: who died leaves a record that another may take over."""
    return _system("keeper", once)


def own_write_taken_for_another() -> System:
    """A condition that fails means "done already", also where the own first write is there."""
    return _system("keeper-hasty", first_come)


def in_progress_for_ever() -> System:
    """A record that says `INPROGRESS` is believed until it expires, an hour later."""
    return _system("keeper-patient", lambda name, context, work: once(name, None, work))


def once(name: str, context: Any, work: Callable[[], Any]) -> None:
    """Do some work unless it was done.

    Raises:
        AlreadyInProgress: Somebody does it, or died while doing it.
    """
    now = int(time.time())
    left_s = KEPT_S if context is None else context.get_remaining_time_in_millis() / 1_000
    record = {
        "id": {"S": name},
        "state": {"S": "INPROGRESS"},
        "expires": {"N": str(now + KEPT_S)},
        "in_progress_until": {"N": str(int(now + left_s))},
    }
    values = {":now": {"N": str(now)}, ":begun": {"S": "INPROGRESS"}}
    try:
        db.put_item(
            TableName=TABLE,
            Item=record,
            ConditionExpression=FREE,
            ExpressionAttributeNames=STATE,
            ExpressionAttributeValues=values,
        )
    except db.exceptions.ConditionalCheckFailedException:
        found = db.get_item(TableName=TABLE, Key={"id": {"S": name}}, ConsistentRead=True)
        if found.get("Item", {}).get("state") == {"S": "COMPLETED"}:
            return
        raise AlreadyInProgress(name) from None
    try:
        work()
    except Exception:
        db.delete_item(TableName=TABLE, Key={"id": {"S": name}})
        raise
    db.update_item(
        TableName=TABLE,
        Key={"id": {"S": name}},
        UpdateExpression="SET #state = :done, expires = :late",
        ExpressionAttributeNames=STATE,
        ExpressionAttributeValues={":done": {"S": "COMPLETED"}, ":late": record["expires"]},
    )


def first_come(name: str, context: Any, work: Callable[[], Any]) -> None:
    """Do some work, if the name was not there yet."""
    try:
        db.put_item(
            TableName=TABLE,
            Item={"id": {"S": name}},
            ConditionExpression="attribute_not_exists(id)",
        )
    except db.exceptions.ConditionalCheckFailedException:
        return
    work()


def charging(bank: Any, keep: Once) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """Return the function, as it would be deployed."""

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        failed = []
        for record in event["Records"]:
            try:
                order = json.loads(record["body"])
                name, cents = order["order"], order["cents"]
                keep(name, context, partial(bank.charge, name, cents, key=name))
            except (OSError, ValueError, KeyError, BotoCoreError, ClientError, AlreadyInProgress):
                failed.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failed}

    return handler


def _system(name: str, keep: Once) -> System:
    system = System(name, arrival_ms=1)
    queues = {"orders": SQSQueue(dead_letter="dead", receives_max=10), "dead": SQSQueue()}
    bus = system.add(SQS("bus", queues))
    tables = system.add(DynamoDB("db", {TABLE: DynamoTable("id", ttl="expires")}))
    system.add(AWS(tables))
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("till")
    def serve(env: Env) -> None:
        handler = charging(env.client(bank), keep)
        env.consume(bus, "orders", Lambda(handler, batch=5, partial=True, timeout_ms=10_000))

    @system.entry(examples=[{"order": "o1", "cents": 500}])
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["order"])

    return system
