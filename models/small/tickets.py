"""Tickets, in asyncio: the seat and the money are asked for at the same time.

chaosharness run models.small.tickets:tickets
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from chaosharness import (
    Declined,
    Env,
    External,
    Gateway,
    Kafka,
    System,
    compensation_complete,
    every_saga_settles,
    idempotent,
    never_charged_twice,
    never_compensates_what_did_not_happen,
    never_stuck,
    nothing_acknowledged_lost,
)
from models.small import PATIENT
from models.small.once import Known, Once

UNDONE_BY = {"charge": "refund", "reserve": "release"}


class Booking(Struct, frozen=True):
    """Who wants to come."""

    order: str
    cents: int


class BoxOffice(Once):
    """Has seats for everybody."""

    def reserve(self, order: str) -> None:
        """Set a seat aside; not for an order whose seat was given back."""
        if ("release", order) in self.done:
            raise Known(order)
        self.once("reserve", order)

    def release(self, order: str) -> None:
        """Give the seat back."""
        self.once("release", order)


class TicketService:
    """Waits for both answers, and undoes what went well where the other did not."""

    def __init__(self, bank: Any, office: Any, note: Callable[..., None]) -> None:
        self.bank = bank
        self.office = office
        self.note = note

    async def on_booking(self, booking: Booking) -> None:
        """Sell a ticket. What has no answer yet comes again, with the message."""
        self.note("saga started", saga=booking.order)
        charged, reserved = await asyncio.gather(
            self.charge(booking), self.reserve(booking), return_exceptions=True
        )
        for answer in (charged, reserved):
            if isinstance(answer, BaseException) and not isinstance(answer, Declined):
                raise answer
        if isinstance(charged, Declined):
            await self.release(booking)
        else:
            self.note("saga completed", saga=booking.order)

    async def charge(self, booking: Booking) -> None:
        """Take the money."""
        await self.bank.charge(booking.order, booking.cents, key=booking.order)

    async def reserve(self, booking: Booking) -> None:
        """Take the seat."""
        with suppress(Known):
            await self.office.reserve(booking.order)

    async def release(self, booking: Booking) -> None:
        """Give the seat back."""
        with suppress(Known):
            await self.office.release(booking.order)
        self.note("saga compensated", saga=booking.order)


class Cancelling(TicketService):
    """Gives up as soon as one of them says no: the other one is cancelled, and so is its seat?"""

    async def on_booking(self, booking: Booking) -> None:
        """Sell a ticket."""
        self.note("saga started", saga=booking.order)
        seat = None
        try:
            async with asyncio.TaskGroup() as both:
                seat = both.create_task(self.reserve(booking))
                both.create_task(self.charge(booking))
        except* Declined:
            if seat is not None and not seat.cancelled():
                await self.release(booking)
            else:
                self.note("saga compensated", saga=booking.order)
        else:
            self.note("saga completed", saga=booking.order)


EXAMPLES = (Booking("t1", 4_000), Booking("t2", 1_000_000))


def tickets(
    *, service: type[TicketService] = TicketService, examples: Sequence[Booking] = EXAMPLES
) -> System:
    """Build the ticket shop; the second customer cannot pay."""
    shop = System("tickets")
    bus = shop.add(Kafka("bus", {"bookings": 2}))
    bank = shop.add(Gateway("bank", declines=lambda order, cents: cents > 100_000))
    office = shop.add(External("office", BoxOffice, latency_ms=10))

    @shop.service("tickets")
    def sales(env: Env) -> None:
        one = service(env.client(bank), env.client(office), env.note)
        env.consume(bus, "bookings", one.on_booking, **PATIENT)

    @shop.entry(examples=examples)
    def book(env: Env, booking: Booking) -> None:
        env.publisher(bus)("bookings", booking, key=booking.order)

    shop.claim(
        never_charged_twice(bank),
        compensation_complete(UNDONE_BY),
        never_compensates_what_did_not_happen(UNDONE_BY),
        every_saga_settles(),
        nothing_acknowledged_lost(),
        never_stuck(),
        idempotent(),
    )
    return shop


def cancelled_is_not_undone() -> System:
    """A request that was cancelled had been sent: the seat is taken, and nobody gives it back."""
    return tickets(service=Cancelling, examples=EXAMPLES[1:])
