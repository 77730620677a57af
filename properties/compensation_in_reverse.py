"""What was done last is undone first: nobody may be left with a room and no flight."""

from __future__ import annotations

from chaosharness import Schedule, compensation_in_reverse
from models.small import trip
from properties import broken_by, kept_by

REVERSED = compensation_in_reverse(trip.UNDONE_BY)


def test_undone_in_the_order_of_doing() -> None:
    """No fault is needed, only a customer who cannot pay."""
    assert broken_by(trip.undoes_in_the_order_of_doing(), REVERSED) == Schedule()


def test_the_right_trip_is_undone_in_reverse() -> None:
    assert kept_by(trip.trip(), REVERSED)
