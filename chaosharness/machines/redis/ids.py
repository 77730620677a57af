"""Ids of entries: a time in milliseconds, and a number within it. They only grow.

Source:
    redis.io, "Redis Streams", "Entry IDs"; XADD, "Specifying a Stream ID as an argument".
"""

from __future__ import annotations

import re
from typing import Final

StreamId = tuple[int, int]

ZERO: Final[StreamId] = (0, 0)
TOP: Final = 2**64 - 1
LAST: Final[StreamId] = (TOP, TOP)
_ID: Final = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?")


def text(one: StreamId) -> str:
    """Return an id as Redis writes it."""
    return f"{one[0]}-{one[1]}"


def read(words: str, missing: int = 0) -> StreamId | None:
    """Return what a text says, or None if it is no id.

    Args:
        words: `5-1`, or `5` alone.
        missing: The number within the millisecond where only the time is given.
    """
    found = _ID.fullmatch(words)
    if found is None:
        return None
    one = int(found[1]), missing if found[2] is None else int(found[2])
    return None if max(one) > TOP else one


def after(one: StreamId) -> StreamId:
    """Return the id right behind another."""
    time, number = one
    return (time, number + 1) if number < TOP else (time + 1, 0)


def next_id(words: str, last: StreamId, now: int) -> StreamId | None:
    """Return the id that a new entry gets, or None if what is asked for is no id.

    It may be one that a stream refuses: whoever asks compares it with `last`.

    Args:
        words: `*`, `5-*`, `5-1` or `5`.
        last: The highest id that the stream has ever had.
        now: The time at the server.
    """
    if words == "*":
        return after(last) if last[0] >= now else (now, 0)
    if words.endswith("-*"):
        time = read(words[:-2])
        if time is None or "-" in words[:-2]:
            return None
        return after(last) if time[0] == last[0] else (time[0], 0)
    return read(words)


def bounds(start: str, end: str) -> tuple[StreamId, StreamId] | None:
    """Return the lowest and the highest id of a range, or None if an end of it is no id.

    Args:
        start: `-`, an id, or `(` and an id, which is left out then.
        end: `+`, an id, or `(` and an id.

    Source:
        redis.io, XRANGE: "Exclusive ranges", "Incomplete IDs".
    """
    low = ZERO if start == "-" else LAST if start == "+" else read(start.removeprefix("("))
    high = LAST if end == "+" else ZERO if end == "-" else read(end.removeprefix("("), TOP)
    if low is None or high is None:
        return None
    if start.startswith("("):
        low = after(low)
    if end.startswith("("):
        time, number = high
        high = (time, number - 1) if number else (time - 1, TOP)
    return low, high
