"""What goes wrong with such a worker: each function is one with one slip."""

from __future__ import annotations

from contextlib import suppress

import requests
from kafka.errors import CommitFailedError, KafkaTimeoutError

from models.applications.refunds.worker import (
    BANK,
    claim_of,
    consumer_of,
    handle,
    producer,
    refund,
)


def closes_behind_an_error() -> None:
    """Leave commits to the client: on the way out it commits the claim that failed."""
    with consumer_of() as consumer:
        for message in consumer:
            handle(message)


def commits_the_batch() -> None:
    """Commit in the middle of a batch: that speaks for all of it."""
    consumer = consumer_of(enable_auto_commit=False)
    while True:
        for messages in consumer.poll(timeout_ms=1_000).values():
            for message in messages:
                handle(message)
                with suppress(CommitFailedError, KafkaTimeoutError):
                    consumer.commit()


def not_waited_for() -> None:
    """Take `send` for sent: it returns a future, and the commit comes first."""
    consumer = consumer_of(enable_auto_commit=False)
    for message in consumer:
        claim = claim_of(message)
        if claim is not None:
            refund(claim)
            producer.send("refunded", message.value, key=message.key)
        with suppress(CommitFailedError, KafkaTimeoutError):
            consumer.commit()


def keyless() -> None:
    """Refund without a key: a claim that comes again is refunded again."""
    consumer = consumer_of(enable_auto_commit=False)
    for message in consumer:
        claim = claim_of(message)
        if claim is not None:
            body = {"order": claim["id"], "cents": claim["cents"]}
            requests.post(BANK, json=body, timeout=5).raise_for_status()
            producer.send("refunded", message.value, key=message.key).get()
        with suppress(CommitFailedError, KafkaTimeoutError):
            consumer.commit()
