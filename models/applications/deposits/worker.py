"""The worker: each deposit is charged, told of, and only then deleted from its queue."""

from __future__ import annotations

import json
from typing import Any

import boto3  # type: ignore[import-untyped]
import requests

ORDERS = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders"
PAID = "https://sqs.eu-central-1.amazonaws.com/123456789012/paid"
BANK = "https://api.bank.example/charges"

sqs = boto3.client("sqs", region_name="eu-central-1")


def run() -> None:
    while True:
        for message in taken():
            deposit = deposit_of(message)
            if deposit is not None:
                try:
                    charge(deposit)
                except requests.RequestException:
                    continue  # it comes again when its visibility timeout is over
                tell(message)
            delete(message)


def taken() -> list[dict[str, Any]]:
    answer = sqs.receive_message(QueueUrl=ORDERS, MaxNumberOfMessages=10, WaitTimeSeconds=20)
    found: list[dict[str, Any]] = answer.get("Messages", [])
    return found


def deposit_of(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return the deposit in a message; None if it is none, which nobody can mend here."""
    try:
        deposit = json.loads(message["Body"])
    except ValueError:
        return None
    return deposit if "id" in deposit and "cents" in deposit else None


def charge(deposit: dict[str, Any]) -> None:
    body = {"order": deposit["id"], "cents": deposit["cents"]}
    key = {"Idempotency-Key": deposit["id"]}
    requests.post(BANK, json=body, headers=key, timeout=5).raise_for_status()


def tell(message: dict[str, Any]) -> None:
    sqs.send_message(QueueUrl=PAID, MessageBody=message["Body"])


def delete(message: dict[str, Any]) -> None:
    sqs.delete_message(QueueUrl=ORDERS, ReceiptHandle=message["ReceiptHandle"])
