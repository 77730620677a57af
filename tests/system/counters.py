"""A module of a service that keeps what it knows to itself: state that no local shows."""

import itertools

polls = 0
seen: list[int] = []
numbers = itertools.count(1)


def tick() -> int:
    """Count in a global of this module."""
    global polls  # noqa: PLW0603
    polls += 1
    return polls


def reset() -> None:
    """Begin anew: a module outlives the runs of a test."""
    global polls, numbers  # noqa: PLW0603
    polls = 0
    seen.clear()
    numbers = itertools.count(1)
