"""The deliveries that a main loop asked for at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from chaosharness.brokers.message import Delivery, Message
from chaosharness.handlers.attribution import adopt
from chaosharness.kernel.scope import Scope

Taken = tuple[Delivery, Message, int]
"""What a loop gets of a message, the message, and the event of its delivery."""


class Batch(Sequence[Delivery]):
    """The deliveries of one poll. Going to one says on whose behalf code runs from then on."""

    __slots__ = ("_scope", "_taken")

    def __init__(self, scope: Scope, taken: list[Taken]) -> None:
        self._scope = scope
        self._taken = taken

    def __repr__(self) -> str:
        return repr([one for one, _, _ in self._taken])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Batch | list):
            return NotImplemented
        theirs = [one for one, _, _ in other._taken] if isinstance(other, Batch) else other
        return [one for one, _, _ in self._taken] == theirs

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._taken)

    @overload
    def __getitem__(self, index: int) -> Delivery: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> Delivery | Batch:
        if isinstance(index, slice):
            return Batch(self._scope, self._taken[index])
        return self._go_to(self._taken[index])

    def __iter__(self) -> Iterator[Delivery]:
        for taken in self._taken:
            yield self._go_to(taken)

    def unopened(self) -> list[Delivery]:
        """Return the deliveries without going to any: code runs on nobody's behalf yet."""
        return [one for one, _, _ in self._taken]

    def _go_to(self, taken: Taken) -> Delivery:
        """Act on behalf of a record from now on."""
        one, message, cause = taken
        adopt(
            self._scope, entity=message.entity, message=message.name, cause=cause, hops=message.hops
        )
        return one
