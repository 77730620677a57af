"""What the orchestrator and its workers say to each other."""

from __future__ import annotations

from typing import Literal

import attrs

STEPS = ("charge", "reserve", "book")
UNDO = {"charge": "refund", "reserve": "release"}
QUEUE = {
    "charge": "payment",
    "refund": "payment",
    "reserve": "stock",
    "release": "stock",
    "book": "courier",
}


@attrs.frozen
class Order:
    """What a customer wants."""

    id: str
    item: str
    cents: int


@attrs.frozen
class Command:
    """Do this for that saga. Asking twice for the same action is asking once.

    `id` is that of the command: the same when an orchestrator asks again, another when two
    of them ask for the same. The workers go by saga and action, and need not know it.
    """

    saga: str
    action: str
    item: str
    cents: int
    id: str


@attrs.frozen
class Reply:
    """How an action came out."""

    saga: str
    action: str
    outcome: Literal["done", "refused"]
