"""What goes wrong with such a worker: each function is one with one slip."""

from __future__ import annotations

from contextlib import suppress

import requests

from models.applications.deposits.worker import (
    BANK,
    PAID,
    charge,
    delete,
    deposit_of,
    sqs,
    taken,
    tell,
)


def deletes_first() -> None:
    """Delete before the work: a process that dies in between has lost the deposit."""
    while True:
        for message in taken():
            delete(message)
            deposit = deposit_of(message)
            if deposit is not None:
                with suppress(requests.RequestException):
                    charge(deposit)
                    tell(message)


def deletes_what_failed() -> None:
    """Log what the bank refuses, and go on as if it had been done."""
    while True:
        for message in taken():
            deposit = deposit_of(message)
            if deposit is not None:
                with suppress(requests.RequestException):
                    charge(deposit)
                    tell(message)
            delete(message)


def keyless() -> None:
    """Charge without a key: a deposit that comes again is charged again."""
    while True:
        for message in taken():
            deposit = deposit_of(message)
            if deposit is not None:
                body = {"order": deposit["id"], "cents": deposit["cents"]}
                try:
                    requests.post(BANK, json=body, timeout=5).raise_for_status()
                except requests.RequestException:
                    continue
                tell(message)
            delete(message)


def entries_unread() -> None:
    """Tell by a batch, and take its answer for success: an entry may have failed alone."""
    while True:
        for message in taken():
            deposit = deposit_of(message)
            if deposit is not None:
                try:
                    charge(deposit)
                except requests.RequestException:
                    continue
                entry = {"Id": "one", "MessageBody": message["Body"]}
                sqs.send_message_batch(QueueUrl=PAID, Entries=[entry])
            delete(message)
