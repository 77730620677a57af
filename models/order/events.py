"""What the services tell each other. Each order has each of these events once."""

from __future__ import annotations

from msgspec import Struct


class Order(Struct, frozen=True):
    """What a customer wants, as the web shop sends it."""

    id: str
    sku: str
    cents: int


class Placed(Struct, frozen=True, tag="placed"):
    """There is a new order: take the money, take it from stock."""

    order: str
    sku: str
    cents: int


class Cancelled(Struct, frozen=True, tag="cancelled"):
    """The order will not be delivered: undo what was done for it."""

    order: str
    why: str


class Paid(Struct, frozen=True):
    """The customer was charged."""

    order: str
    cents: int


class Reserved(Struct, frozen=True):
    """The goods were taken from stock."""

    order: str
    sku: str


class Rejected(Struct, frozen=True):
    """It cannot be paid, or is out of stock."""

    order: str
    why: str


class Confirmed(Struct, frozen=True):
    """Paid and reserved."""

    order: str


class Shipped(Struct, frozen=True):
    """The courier has it."""

    order: str
