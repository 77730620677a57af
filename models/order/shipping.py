"""The shipping service, and the courier it calls. It keeps nothing: the courier remembers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from models.order.events import Confirmed, Shipped
from models.order.messages import Publish


class Known(Exception):
    """The third party has had this request before, and does nothing (HTTP 409)."""


class Courier:
    """A third party that takes one booking per reference."""

    def __init__(self) -> None:
        self.references: set[str] = set()

    def book(self, reference: str) -> None:
        """Have a parcel collected.

        Raises:
            Known: There is a booking for this reference.
        """
        if reference in self.references:
            raise Known(reference)
        self.references.add(reference)


class ShippingService:
    """Asks the courier until it is sure that the parcel is collected, and then says so."""

    def __init__(self, courier: Any, publish: Publish) -> None:
        self.courier = courier
        self.publish = publish

    def on_confirmed(self, event: Confirmed) -> None:
        """Ship an order."""
        with suppress(Known):  # booked before, by somebody who was cut off
            self.courier.book(event.order)
        self.publish("shipped", Shipped(event.order), key=event.order)
