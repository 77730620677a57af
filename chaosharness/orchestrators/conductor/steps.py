"""What an operation of the server is made of: writes, one after the other, and what they tell.

An operation is a generator that yields after each of its writes. Who drives it may stop there:
then the server has died between two writes, and what it had not written is lost. Before a write
that may fail it asks whether it does.
"""

from collections.abc import Generator
from typing import Any, Literal, TypeVar

import attrs

__all__ = [
    "Called",
    "Ended",
    "Failed",
    "Published",
    "Scheduled",
    "Started",
    "Steps",
    "Trial",
    "Write",
    "run",
]

T = TypeVar("T")


@attrs.frozen
class Write:
    """Something is durable now: `what` of a workflow."""

    workflow: str
    what: str


@attrs.frozen
class Trial:
    """A write is about to be made that may fail: who drives it answers how, or not at all."""

    workflow: str
    what: str


Failed = Literal["rolled-back", "committed"] | None
"""How a write failed: it was not made, or it was and nobody was told."""

Steps = Generator[Write | Trial, Failed, T]


def run(steps: Steps[T]) -> T:
    """Carry an operation out to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


# ---- what whoever drives the server learns


@attrs.frozen
class Started:
    """A workflow has begun, by itself or because of another one."""

    workflow: str
    because_of: str | None = None


@attrs.frozen
class Ended:
    """A workflow has ended."""

    workflow: str


@attrs.frozen
class Scheduled:
    """Tasks of a workflow were made."""

    workflow: str
    refs: tuple[str, ...]


@attrs.frozen
class Published:
    """An EVENT task has published to its sink."""

    workflow: str
    task: str
    ref: str
    sink: str
    payload: dict[str, Any]


@attrs.frozen
class Called:
    """An HTTP task makes its request: the answer goes to `Server.answer`."""

    workflow: str
    task: str
    ref: str
    request: dict[str, Any]
