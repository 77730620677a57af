"""What operations have published so far in a run: how messages come by their names."""

from __future__ import annotations

from collections.abc import Hashable

from chaosharness.kernel.message_names import copy_of, named, poison_at


class Publications:
    """Numbers messages for each operation, workload item and message in hand.

    What has the content of an earlier one is a copy of that, and takes no number: a retry, or
    a handler that begins anew, moves no names.

    Attributes:
        poisoned: Whether a fault has published what nobody can read.
    """

    __slots__ = ("_copies", "_numbers", "poisoned")

    def __init__(self) -> None:
        self.poisoned = False
        self._numbers: dict[tuple[str, int, str], dict[Hashable, int]] = {}
        self._copies: dict[Hashable, int] = {}

    def name(self, operation: str, entity: int, in_hand: str, body: Hashable) -> str:
        """Return what a message is called that is stored now."""
        place = (operation, entity, in_hand)
        if place not in self._numbers:  # so it is nearly always
            self._numbers[place] = {body: 1}
            return f"1 of {operation} from {in_hand}" if in_hand else f"1 of {operation}"
        numbers = self._numbers[place]
        if body not in numbers:
            numbers[body] = len(numbers) + 1
            return named(len(numbers), operation, in_hand)
        copy = (*place, body)
        self._copies[copy] = copies = self._copies.get(copy, 1) + 1
        return copy_of(named(numbers[body], operation, in_hand), copies)

    def name_to_be(self, operation: str, entity: int, in_hand: str, body: Hashable) -> str:
        """Return what a message would be called, leaving out which copy it is."""
        numbers = self._numbers.get((operation, entity, in_hand), {})
        return named(numbers.get(body, len(numbers) + 1), operation, in_hand)

    def poison_at(self, name: str) -> str:
        """Return what a message is called that nobody can read, just ahead of another."""
        self.poisoned = True
        return poison_at(name)
