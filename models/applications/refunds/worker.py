"""The worker: each claim is refunded, told of, and only then done with."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import requests
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import CommitFailedError, KafkaTimeoutError

SERVERS = ["kafka:9092"]
BANK = "https://api.bank.example/refunds"

producer = KafkaProducer(bootstrap_servers=SERVERS)


def consumer_of(**options: Any) -> Any:
    return KafkaConsumer(
        "claims",
        bootstrap_servers=SERVERS,
        group_id="refunds",
        auto_offset_reset="earliest",
        **options,
    )


def run() -> None:
    consumer = consumer_of(enable_auto_commit=False)
    for message in consumer:
        handle(message)
        place = TopicPartition(message.topic, message.partition)
        with suppress(CommitFailedError, KafkaTimeoutError):  # then it comes again
            consumer.commit({place: OffsetAndMetadata(message.offset + 1)})


def handle(message: Any) -> None:
    claim = claim_of(message)
    if claim is None:
        return
    refund(claim)
    producer.send("refunded", message.value, key=message.key).get()


def claim_of(message: Any) -> dict[str, Any] | None:
    """Return the claim in a message; None if it is none, which nobody can mend here."""
    try:
        claim = json.loads(message.value or b"")
    except ValueError:
        return None
    return claim if "id" in claim and "cents" in claim else None


def refund(claim: dict[str, Any]) -> None:
    body = {"order": claim["id"], "cents": claim["cents"]}
    key = {"Idempotency-Key": claim["id"]}
    requests.post(BANK, json=body, headers=key, timeout=5).raise_for_status()
