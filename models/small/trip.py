"""A trip, in plain code with its own main loop: a flight, a room, and then the money.

chaosharness run models.small.trip:trip
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from chaosharness import (
    Declined,
    Delivery,
    Env,
    External,
    Gateway,
    Kafka,
    System,
    compensation_complete,
    compensation_in_reverse,
    idempotent,
    never_charged_twice,
    never_compensates_what_did_not_happen,
    never_stuck,
    nothing_acknowledged_lost,
)
from models.small.once import Known, Once

UNDONE_BY = {
    "airline.book": "airline.cancel",
    "hotel.book": "hotel.cancel",
    "bank.charge": "bank.refund",
}


class Trip(Struct, frozen=True):
    """Who wants to go."""

    order: str
    cents: int


class Agency(Once):
    """An airline or a hotel. Never books what was cancelled."""

    def book(self, order: str) -> None:
        """Book."""
        if ("cancel", order) in self.done:
            raise Known(order)
        self.once("book", order)

    def cancel(self, order: str) -> None:
        """Cancel what was booked."""
        self.once("cancel", order)


class TripService:
    """Books step by step; if the customer cannot pay, cancels, last things first.

    What goes wrong for a moment ends the process, and the message comes again.
    """

    def __init__(self, trips: Any, airline: Any, hotel: Any, bank: Any) -> None:
        self.trips = trips
        self.agencies = [airline, hotel]
        self.bank = bank

    def main(self) -> None:
        """Poll, work and commit, for ever."""
        while True:
            for delivery in self.trips.poll():
                self.work(delivery)

    def work(self, delivery: Delivery) -> None:
        """Work, and then commit. What cannot be read is passed over."""
        with suppress(msgspec.DecodeError):
            self.travel(msgspec.json.decode(delivery.value, type=Trip))
        self.trips.commit(delivery)

    def travel(self, trip: Trip) -> None:
        """Book a trip, or none of it."""
        for agency in self.agencies:
            with suppress(Known):
                agency.book(trip.order)
        try:
            self.bank.charge(trip.order, trip.cents, key=trip.order)
        except Declined:
            self.undo(trip)

    def undo(self, trip: Trip) -> None:
        """Cancel what was booked, in reverse."""
        for agency in reversed(self.agencies):
            with suppress(Known):
                agency.cancel(trip.order)


EXAMPLES = (Trip("t1", 80_000), Trip("t2", 1_000_000))


def trip(
    *, service: type[TripService] = TripService, examples: Sequence[Trip] = EXAMPLES
) -> System:
    """Build the travel agent; the second customer cannot pay."""
    shop = System("trip")
    bus = shop.add(Kafka("bus", {"trips": 1}))
    airline = shop.add(External("airline", Agency))
    hotel = shop.add(External("hotel", Agency))
    bank = shop.add(Gateway("bank", declines=lambda order, cents: cents > 100_000))

    @shop.service("agent")
    def agent(env: Env) -> None:
        thirds = [env.client(one) for one in (airline, hotel, bank)]
        env.main(service(env.consumer(bus, "trips", read_as=bytes), *thirds).main)

    @shop.entry(examples=examples)
    def go(env: Env, trip: Trip) -> None:
        env.publisher(bus)("trips", trip, key=trip.order)

    shop.claim(
        never_charged_twice(bank),
        compensation_complete(UNDONE_BY),
        compensation_in_reverse(UNDONE_BY),
        never_compensates_what_did_not_happen(UNDONE_BY),
        nothing_acknowledged_lost(),
        never_stuck(),
        idempotent(),
    )
    return shop


def undoes_in_the_order_of_doing() -> System:
    """The flight is cancelled while the room still depends on it."""

    class Forwards(TripService):
        def undo(self, trip: Trip) -> None:
            for agency in self.agencies:
                with suppress(Known):
                    agency.cancel(trip.order)

    return trip(service=Forwards, examples=EXAMPLES[1:])


def commits_before_it_works() -> System:
    """The offset is committed first, and a crash in the middle of the work loses the rest."""

    class First(TripService):
        def work(self, delivery: Delivery) -> None:
            self.trips.commit(delivery)
            with suppress(msgspec.DecodeError):
                self.travel(msgspec.json.decode(delivery.value, type=Trip))

    return trip(service=First, examples=EXAMPLES[:1])
