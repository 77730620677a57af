"""Times in data: how far what is stored or sent lies from the clock of the run.

A number is taken for a time where it is one in milliseconds since the start of the run, or in
seconds or milliseconds of Unix time; a text, where it is a date of ISO 8601.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import CodeType
from typing import Any, Final

EPOCH_MS: Final = 1_893_456_000_000
"""Where virtual time begins: 2030-01-01T00:00:00Z, in milliseconds of Unix time."""

DAY_MS: Final = 86_400_000
"""The longest time that is taken for a duration of the system."""

AHEAD_MS_MIN: Final = 1_000
"""Less is reached by any loop; and small numbers are amounts more often than times."""

RENEWED_WITHIN_MS: Final = 50
"""By how much the distance of a time to the clock may differ where it is the same once more."""

_ASIDE_MS: Final = 977
"""How far beside the clock a time is looked at: 0 is what is no time."""

_UNIX_MS: Final = 10**12
_UNIX_S: Final = 10**9
_DATE: Final = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_TOKEN: Final = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|(?=[0-9]*[a-fA-F])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{16,}"
)
"""What nobody counts on with: a UUID, or some 64 bits and more in hexadecimal."""

_OTHERS: Final = frozenset({type(None), bool, bytes, CodeType})
_IN_JSON: Final = re.compile(
    rb"20\d\d-\d\d-\d\d[T ]\d\d:\d\d[^\"\s]*|(?<![\w.-])\d{4,16}(?:\.\d+)?(?![\w.])"
)
_HOLDING: Final = {"publish": ("value", "headers"), "commit": ("value",), "write": ("params",)}
"""Kinds of event that store or send something, and which of their words hold it."""


def from_now(value: Any, now_ms: int) -> int:
    """Return how far ahead of a moment of the run a value lies, in ms; negative: behind.

    0 where it is no time, or more than a day away.
    """
    kind = type(value)
    if kind is int or kind is float:
        if not abs(value) < 1e16:  # also: is no number
            return 0
        if value > _UNIX_MS:
            far = value - EPOCH_MS - now_ms
        elif value > _UNIX_S:
            far = value * 1000 - EPOCH_MS - now_ms
        else:
            far = value - now_ms
    elif kind is str and (found := _DATE.match(value)):
        try:
            moment = datetime.fromisoformat(found[0])
        except ValueError:
            return 0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        far = round(moment.timestamp() * 1000) - EPOCH_MS - now_ms
    elif kind is datetime:
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        far = round(moment.timestamp() * 1000) - EPOCH_MS - now_ms
    else:
        return 0
    return int(far) if -DAY_MS <= far <= DAY_MS else 0


def is_the_same_later(
    value: Any, now_ms: int, former: Any, then_ms: int, *, goes_on: bool = False
) -> bool:
    """Say whether a value is what it was, but for times, which keep their distance to the clock.

    A lease that is renewed, for instance: `{"by": "w-1", "until": now + 30}`. And but for tokens
    that are drawn anew each time, such as that of a lock. Where it `goes_on`, times may
    have gone on by any length, and not back.
    """
    if value == former:
        return True
    if isinstance(value, Mapping) and isinstance(former, Mapping):
        return value.keys() == former.keys() and all(
            is_the_same_later(one, now_ms, former[name], then_ms, goes_on=goes_on)
            for name, one in value.items()
        )
    if isinstance(value, list | tuple) and isinstance(former, list | tuple):
        return len(value) == len(former) and all(
            is_the_same_later(one, now_ms, other, then_ms, goes_on=goes_on)
            for one, other in zip(value, former, strict=True)
        )
    if type(value) is not type(former) or isinstance(value, bool):
        return False
    if isinstance(value, str) and _TOKEN.fullmatch(value) and _TOKEN.fullmatch(former):
        return True
    far_ms = from_now(value, now_ms - _ASIDE_MS)
    before_ms = from_now(former, then_ms - _ASIDE_MS)
    if not (far_ms and before_ms):
        return False
    return bool(value > former) if goes_on else abs(far_ms - before_ms) <= RENEWED_WITHIN_MS


def look_through(
    state: Any, now_ms: int, woke_ms: int, *, small: bool
) -> tuple[int, int, Hashable, tuple[int, ...]]:
    """Return the latest times ahead of the clock in a fingerprint, and the rest of it.

    Args:
        state: What was found in memory: values in tuples and frozensets.
        now_ms: The moment of the run.
        woke_ms: Since when what shows the time is the clock itself.
        small: Whether numbers may be milliseconds since the start of the run.

    Returns:
        The latest time that is one for sure, the latest small number, both in ms of the run
        and 0 if there is none; the fingerprint with words in place of such times and of the
        clock; and all these times.
    """
    through = _Through(now_ms, woke_ms - now_ms, small)
    known = through.walk(state)
    return through.sure, through.guessed, known, tuple(through.due_at)


class _Through:
    """What is found on the way through a fingerprint: see `look_through`.

    A function inside of it would know itself: a circle for each.
    """

    __slots__ = ("due_at", "guessed", "now_ms", "since", "small", "sure")

    def __init__(self, now_ms: int, since: int, small: bool) -> None:
        self.now_ms = now_ms
        self.since = since
        self.small = small
        self.sure = self.guessed = 0
        self.due_at: dict[int, None] = {}

    def walk(self, value: Any) -> Any:
        """Return a value with words in place of what is ahead, and of the clock."""
        kind = type(value)
        if kind is tuple:
            walk = self.walk
            return tuple([one if type(one) in _OTHERS else walk(one) for one in value])
        if kind is frozenset:
            return frozenset(map(self.walk, value))
        if kind is int or kind is float:
            if not (self.small or value > _UNIX_S):
                return value
        elif kind is str:
            if value[:2] != "20":
                return value
        elif kind is not datetime:
            return value
        now_ms = self.now_ms
        far = from_now(value, now_ms)
        if far >= AHEAD_MS_MIN:
            self.due_at[now_ms + far] = None
            if kind in (int, float) and value <= _UNIX_S:
                self.guessed = max(self.guessed, now_ms + far)
            else:
                self.sure = max(self.sure, now_ms + far)
            return "ahead"
        return "now" if self.since - 1 <= far and (far or value) else value


def ahead_in(event: Any) -> Sequence[int]:
    """Return the moments of the run, in ms, that an event has in store."""
    words = _HOLDING.get(event[1])
    data = event[7]
    if words is None or type(data) is not dict:
        return ()
    return [at_ms for word in words for at_ms in ahead_of(data.get(word), event[0])]


def ahead_of(data: Any, now_ms: int) -> list[int]:
    """Return the times ahead of a moment in data: in containers, and in text that may be JSON."""
    far = [from_now(value, now_ms) for value in _values(data)]
    return [now_ms + one for one in far if one >= AHEAD_MS_MIN]


def _values(value: Any) -> Iterator[Any]:
    kind = type(value)
    if kind is bytes:
        for one in _IN_JSON.findall(value[:10_000]):
            text = one.decode()
            yield text if "-" in text else float(text)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _values(one)
    elif isinstance(value, Iterable) and kind is not str:
        for one in value:
            yield from _values(one)
    elif kind is str and value[:1] in "{[":
        yield from _values(value.encode())
    else:
        yield value
