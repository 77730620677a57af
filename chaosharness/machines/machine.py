"""What every machine is: operations and time in, answers and facts out.

A machine is the product and nothing else. Runs, laws and the comparison with the real product
drive the same object. It asks nobody for the time, draws nothing and records nothing: whoever
drives it says what time it is, and takes the facts.

machine.apply(operation, now)   what a client asked for: an answer, or a `Refusal`
machine.due()                   when time will change something that a client could see
machine.tick(now)               let time act up to now
machine.take()                  what happened since this was asked last, in order

Facts and operations are values: nobody changes one. They are not frozen, since making a frozen one
takes three times the bytecodes, and a delivery makes a dozen.
"""

from __future__ import annotations

from typing import Any, Protocol

import attrs


@attrs.frozen
class Refusal:
    """What the product answers where it refuses.

    Attributes:
        code: The product's own name of the error.
        text: Its words.
        sender_fault: Whether the client is to blame: repeating it as it is will not help.
    """

    code: str
    text: str
    sender_fault: bool = True

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


# ---- facts: `message` is what the machine was given to keep, as it was given


@attrs.define(unsafe_hash=True)
class Stored:
    """A message is kept in a place: a queue, or a log partition.

    Attributes:
        places: Who reads it there, where that is not the place itself: the consumers of a stream.
    """

    message: Any
    place: str
    places: tuple[str, ...] | None = None


@attrs.define(unsafe_hash=True)
class Recognised:
    """A message was accepted and not stored: it is `first`, sent again."""

    message: Any
    place: str
    first: Any


@attrs.define(unsafe_hash=True)
class HandedOut:
    """A message was handed to a holder.

    Attributes:
        times: How often it has been handed out from here, with this time.
        again: Whether the product says so to the holder.
        receipt: What settling it takes.
    """

    message: Any
    place: str
    holder: Any
    times: int
    again: bool
    receipt: Any


@attrs.define(unsafe_hash=True)
class Settled:
    """A message is done with: this one, or (`up_to`) all of its place up to it."""

    message: Any
    place: str
    holder: Any
    up_to: bool = False


@attrs.define(unsafe_hash=True)
class Ignored:
    """A settlement was accepted and changed nothing."""

    message: Any
    place: str
    why: str


@attrs.define(unsafe_hash=True)
class Extended:
    """A holder may keep a message until another moment."""

    message: Any
    place: str
    until: int


@attrs.define(unsafe_hash=True)
class CameBack:
    """A message that was held can be handed out again."""

    message: Any
    place: str
    holder: Any
    why: str


@attrs.define(unsafe_hash=True)
class Buried:
    """A message was put aside, in the place `to`, or dropped (None).

    Attributes:
        letter: What lies there in its stead, where that is another message: a notice.
        places: Who reads it there, where that is not the place itself.
    """

    message: Any
    place: str
    to: str | None
    reason: str
    times: int = 0
    letter: Any = None
    places: tuple[str, ...] | None = None


@attrs.define(unsafe_hash=True)
class Moved:
    """A message, or a whole place, has gone from one owner or place to another."""

    message: Any
    place: str
    to: str


Fact = Stored | Recognised | HandedOut | Settled | Ignored | Extended | CameBack | Buried | Moved


class Machine(Protocol):
    """What every machine is."""

    def apply(self, operation: Any, now: int) -> Any:
        """Do what a client asks for, at `now` in milliseconds; return an answer, or a `Refusal`."""

    def due(self) -> int | None:
        """Return when time will change something that a client could see; None for never."""

    def tick(self, now: int) -> None:
        """Let time act, up to `now`."""

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
