"""Who asks what time it is, and which durations it then reckons with.

Code that reads a clock may act when a time has come: no fingerprint can tell that it never
will. So it is run on past every duration that it has shown: lengths of time among the
constants of its code and what it holds, times among the parameters of its statements, and
modifiers of SQL's own date functions.

Not modelled:
    Durations that code computes from numbers which it does not name, or gets from modules
    that it does not import, and those that SQL computes from numbers in rows: such a loop is
    run on for a few rounds only.
"""

from __future__ import annotations

import dis
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from chaosharness.handlers.fingerprint import LIBRARIES, OURS, is_own
from chaosharness.handlers.shapes import attributes
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.kernel.spans import DAY_MS, from_now

MILLISECONDS: Final = 1
SECONDS: Final = 1_000
"""The unit of a clock, in milliseconds: what a number beside it is taken for."""

MIXED: Final = 0
"""The unit where code turns seconds or nanoseconds into milliseconds: large numbers are those."""

_DAYS: Final = frozenset(
    {
        *("today", "date", "day", "weekday", "isoweekday", "isocalendar", "toordinal", "hour"),
        *("tm_mday", "tm_yday", "tm_wday", "tm_hour"),
    }
)
"""Names in code that asks for the time which look at the calendar: it may wait for a day."""

_MANY: Final = 1_000
_FACTORS: Final = frozenset({1_000, 1_000_000})
_SHIFTS: Final = frozenset({"+", "-", "+=", "-="})

DURATION_MS_MIN: Final = 1_000
CALLERS_MAX: Final = 3
"""Frames whose constants count: whoever reads a clock may be a small function for others."""

DEPTH_MAX: Final = 3

_UNITS: Final = {
    "milliseconds": 1,
    "seconds": 1_000,
    "minutes": 60_000,
    "hours": 3_600_000,
    "days": DAY_MS,
}
_MODIFIER: Final = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(second|minute|hour|day)s?", re.IGNORECASE)
_SHORT_UNITS: Final = {
    **dict.fromkeys(("ms", "msec", "millisecond"), 1),
    **dict.fromkeys(("s", "sec", "second"), 1_000),
    **dict.fromkeys(("m", "min", "minute"), 60_000),
    **dict.fromkeys(("h", "hr", "hour"), 3_600_000),
    **dict.fromkeys(("d", "day"), DAY_MS),
    **dict.fromkeys(("w", "week"), 7 * DAY_MS),
}
_UNIT: Final = "|".join(sorted(_SHORT_UNITS, key=len, reverse=True))
_LENGTH: Final = re.compile(rf"(?<![\w.])(\d+(?:\.\d+)?)\s*({_UNIT})s?(?![\w])", re.IGNORECASE)
_MADE: Final = re.compile(rf"\b({_UNIT})s?\s*(?:=>|:=)\s*(\d+(?:\.\d+)?)", re.IGNORECASE)
_CLOCK_LENGTH: Final = re.compile(r"(?<![\d:T -])(\d{1,2}):(\d\d):(\d\d)(?![\d:])")
_INTERVAL_MAX: Final = 40
"""Characters of a parameter that may be an interval; longer ones are data."""

_NUMBER: Final = re.compile(r"(?<![\w.])\d{1,5}(?![\w.])")

_SILENT: Final = frozenset(
    {
        *("logging", "random", "uuid", "warnings", "email", "tempfile", "secrets"),
        *("structlog", "loguru", "opentelemetry", "prometheus_client", "statsd"),
        *("time_machine", *LIBRARIES),
    }
)
"""Modules that ask for the time, and whose users do not act on it."""

MEASURING: Final = frozenset(
    {
        *("redis.client", "redis.connection", "redis.asyncio.client", "redis.asyncio.connection"),
        *("fakeredis._clients._async", "fakeredis._socket._base", "fakeredis._core._server"),
        *("fakeredis.model._client_info", "aiormq.tools", "aiormq.connection"),
        *("sqlalchemy.sql.compiler", "sqlalchemy.engine.default", "sqlalchemy.pool.base"),
        *("httpx._client", "requests.sessions", "http.cookiejar", "requests.cookies"),
        *("psycopg.connection", "psycopg.connection_async", "asyncpg.connection", "asyncpg.pool"),
        *("psycopg.waiting", "pika.compat", "urllib3.util.timeout"),
        *("aiohttp.helpers", "aiohttp.client", "aiohttp.connector"),
    }
)
"""The same, where other modules of the library do act on it: redis-py times each command, a
reply of fakeredis is there when it is waited for, and aiormq counts down what it waits for.
SQLAlchemy times what it compiles, httpx and requests each answer. What expires in a server of
fakeredis's is told by the store; a connection that a pool makes anew after so long (`pool_recycle`)
and a cookie that is too old are no business of the system's. psycopg counts down what it waits for
when it connects, which takes no time here, asyncpg what a statement may take and how long its pool
keeps a connection."""

_NOBODYS: Final = frozenset({"fakeredis", "apscheduler", *LIBRARIES})
"""Whose numbers are no durations: those of an in-memory server are codes and sizes, those of a
scheduler kinds of event. When its jobs are due, it holds as dates."""

_CLOSED: Final = frozenset({"chaosharness", "sqlite3", "builtins", *LIBRARIES})
"""Where no object holds a duration of the user's."""


def clock_read(frame: FrameType | None, unit: int) -> None:
    """Take note that user code has asked what time it is.

    Args:
        frame: Who asks.
        unit: That of the clock: `MILLISECONDS` or `SECONDS`.
    """
    scope = SCOPE.get()
    if scope is None:
        return
    rest = scope.world.rest
    scope.clock += 1
    if rest.tick_ms:
        scope.incarnation.skew_ms += rest.tick_ms
    rest.read_at.add(scope.world.now)
    if unit == MILLISECONDS:
        rest.asked_ms = True
    if scope.incarnation.skew_ms < -rest.behind_ms:
        rest.behind_ms = -scope.incarnation.skew_ms
    if frame is None or (key := (frame.f_code, scope.place)) in rest.looked:
        return
    if scope.background or scope in scope.world.in_flight:
        return  # no loop that sleeps: the times that it stores are found there
    rest.looked.add(key)
    for _ in range(CALLERS_MAX):
        if frame is None or is_ours(frame):
            break
        if _name_of(frame).partition(".")[0] not in _NOBODYS:
            if unit == SECONDS and _converts(frame.f_code):
                unit = MIXED
            if not _DAYS.isdisjoint(frame.f_code.co_names):
                scope.reckons_ms = DAY_MS
            scope.reckons_ms = max(scope.reckons_ms, _longest(frame, unit))
        frame = frame.f_back


def pinned_clock_read(frame: FrameType) -> int:
    """Take note that a pinned clock was asked; return by how many ms that has moved it."""
    name = frame.f_globals.get("__name__", "")
    unheeded = _UNHEEDED.get(name)
    if unheeded is None:
        unheeded = _UNHEEDED[name] = _is_unheeded(str(name))
    if unheeded:
        return 0
    clock_read(frame, SECONDS)
    scope = SCOPE.get()
    return 0 if scope is None else scope.world.rest.tick_ms


_UNHEEDED: Final[dict[object, bool]] = {}


def _is_unheeded(name: str) -> bool:
    """Say whether nobody acts on what time a module has asked for."""
    return name.startswith(OURS) or name in MEASURING or name.partition(".")[0] in _SILENT


def _name_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def is_ours(frame: FrameType) -> bool:
    """Say whether a frame is the harness's."""
    return _name_of(frame).startswith(OURS)


# ---- numbers of the code


def _longest(frame: FrameType, unit: int) -> int:
    """Return the longest duration among the numbers that code names, in ms."""
    code = frame.f_code
    held = frame.f_locals
    longest = 0
    for one in _durations_of(code, frame.f_globals, unit, DEPTH_MAX):
        longest = max(longest, one)
    given = {*code.co_freevars, *code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}
    words = _words(code)
    for name, value in held.items():
        if name in given:
            longest = max(longest, _as_duration(value, unit))
        longest = max(longest, *_held(value, words, unit, DEPTH_MAX), 0)
    return longest


_CONVERTS: Final[dict[CodeType, bool]] = {}


def _converts(code: CodeType) -> bool:
    """Say whether code multiplies or divides by a thousand, and does not just compare or add."""
    found = _CONVERTS.get(code)
    if found is None:
        found = False
        if not _FACTORS.isdisjoint(one for one in code.co_consts if type(one) in (int, float)):
            steps = [one for one in dis.get_instructions(code) if one.opname != "CACHE"]
            for one, after in pairwise(steps):
                if one.opname == "LOAD_CONST" and one.argval in _FACTORS:
                    compared = after.opname == "COMPARE_OP" or after.argrepr in _SHIFTS
                    found = found or not compared
        _CONVERTS[code] = found
    return found


def _words(code: CodeType) -> frozenset[str]:
    """Return what a piece of code may look up by name: attributes and keys."""
    return frozenset({*code.co_names, *(one for one in code.co_consts if type(one) is str)})


def _as_duration(value: Any, unit: int) -> int:
    kind = type(value)
    if kind is int or kind is float:
        length_ms = value * unit
        if unit == MIXED:
            length_ms = value if value >= _MANY else value * SECONDS
        if length_ms > DAY_MS:  # so it is none in this unit; perhaps in the next smaller ones
            length_ms = value if value <= DAY_MS else value / 1e6
        return int(length_ms) if DURATION_MS_MIN <= length_ms <= DAY_MS else 0
    if kind is timedelta:
        return min(int(value.total_seconds() * 1000), DAY_MS)
    return 0


def _durations_of(code: CodeType, names: Mapping[str, Any], unit: int, depth: int) -> Iterator[int]:
    """Yield the durations among the constants of code, of globals, and of what it calls."""
    units = [_UNITS[w] for one in code.co_consts if type(one) is tuple for w in one if w in _UNITS]
    for one in code.co_consts:
        if type(one) is CodeType:
            yield from _durations_of(one, names, unit, depth)
        elif one not in _FACTORS or not _converts(code):
            yield _as_duration(one, max(units, default=unit))
    words = _words(code)
    for name in code.co_names:
        value = names.get(name)
        yield _as_duration(value, unit)
        if not depth:
            continue
        if type(value) is FunctionType and is_own(value.__module__):
            yield from _durations_of(value.__code__, value.__globals__, unit, depth - 1)
        else:
            yield from _held(value, words, unit, depth - 1)


def _held(value: Any, words: frozenset[str], unit: int, depth: int) -> Iterator[int]:
    """Yield the durations in what an object, a module or a dict holds under these names."""
    kind = type(value)
    if depth <= 0 or kind in (int, float, str, bytes, bool, type(None)):
        return
    if kind is ModuleType:
        if not is_own(value.__name__):
            return
        inside: Any = vars(value).items()
    elif issubclass(kind, type):
        if not is_own(value.__module__):
            return
        inside = vars(value).items()
    elif kind is MethodType:
        yield from _held(value.__self__, words, unit, depth)
        return
    elif kind is dict:
        inside = value.items()
    elif kind.__module__.partition(".")[0] not in _CLOSED:
        inside = attributes(value)
        yield from _of_methods(kind, words, unit, depth)
    else:
        return
    for name, one in inside:
        if name in words:
            yield _as_duration(one, unit)
            yield from _held(one, words, unit, depth - 1)


def _of_methods(kind: type, words: frozenset[str], unit: int, depth: int) -> Iterator[int]:
    for base in kind.__mro__:
        for name, one in vars(base).items():
            if name in words:
                yield _as_duration(one, unit)
                if type(one) is FunctionType:
                    yield from _durations_of(one.__code__, one.__globals__, unit, depth - 1)


# ---- times in statements


def show_parameters(scope: Scope, sql: str, parameters: Any) -> None:
    """Learn from the parameters of a statement how far back its scope looks.

    A time behind the clock shows a duration where it keeps its distance: it is made from the
    clock each time. One that was stored falls back. (Times ahead are found in what is stored.)
    """
    rest = scope.world.rest
    now_ms = scope.world.now + scope.incarnation.skew_ms
    for place, value in enumerate(_plain(parameters)):
        far_ms = -from_now(value, now_ms)
        if far_ms < DURATION_MS_MIN or far_ms <= rest.shown_ms:
            continue
        known = rest.spots.get((sql, place))
        if known is not None and known[1] != now_ms and abs(known[0] - far_ms) <= SECONDS:
            rest.show(far_ms)
            scope.world.know_duration(far_ms)
        rest.spots[sql, place] = (far_ms, now_ms)


def _plain(parameters: Any) -> Iterable[Any]:
    kind = type(parameters)
    if kind is dict:
        return tuple(parameters.values())
    return parameters if kind is tuple or kind is list else ()


def show_modifiers(arguments: tuple[Any, ...]) -> None:
    """Learn that SQL has asked for the time, and how far from it it looks: `'-10 minutes'`."""
    scope = SCOPE.get()
    if scope is None:
        return
    rest = scope.world.rest
    scope.clock += 1
    rest.read_at.add(scope.world.now)
    for one in arguments:
        if isinstance(one, str) and (found := _MODIFIER.search(one)):
            duration_ms = int(abs(float(found[1])) * _UNITS[f"{found[2].lower()}s"])
            rest.show(duration_ms)
            scope.world.know_duration(duration_ms)


def show_intervals(scope: Scope, sql: str, parameters: Any) -> None:
    """Learn that a statement has asked the server for the time, and which lengths stand beside it.

    `now() - interval '10 minutes'`, `make_interval(secs => 30)`, a `timedelta` as a parameter.
    """
    rest = scope.world.rest
    scope.clock += 1
    rest.read_at.add(scope.world.now)
    given = _plain(parameters)
    for value in given:
        if type(value) is str and len(value) < _INTERVAL_MAX:
            _show_lengths(scope, _lengths_in(value))
        elif type(value) is timedelta:
            _show_lengths(scope, (_as_duration(value, SECONDS),))
    _show_lengths(scope, _lengths_in(sql))


def _show_lengths(scope: Scope, lengths_ms: Iterable[int]) -> None:
    for length_ms in lengths_ms:
        if length_ms > 0:
            scope.world.rest.show(length_ms)
            scope.world.know_duration(length_ms)


@lru_cache(maxsize=4_096)
def _lengths_in(text: str) -> tuple[int, ...]:
    """Return the lengths of time that a text names as PostgreSQL reads them, in ms."""
    found: list[float] = []
    end = -1
    for one in _LENGTH.finditer(text):
        length = float(one[1]) * _SHORT_UNITS[one[2].lower()]
        if found and not text[end : one.start()].strip():
            found[-1] += length  # 1 min 40 sec
        else:
            found.append(length)
        end = one.end()
    found += [float(one[2]) * _SHORT_UNITS[one[1].lower()] for one in _MADE.finditer(text)]
    for hours, minutes, seconds in _CLOCK_LENGTH.findall(text):
        found.append(int(hours) * 3_600_000 + int(minutes) * 60_000 + int(seconds) * 1_000)
    return tuple(int(one) for one in found)


def guess_from_text(
    scope: Scope, sql: str, parameters: Any, beside: Callable[[str], Iterable[str]] | None = None
) -> None:
    """Take numbers beside SQL's clock for seconds: `strftime('%s', 'now') - 600`.

    Args:
        scope: Whose statement it is.
        sql: Its text.
        parameters: Its parameters.
        beside: Returns the texts of what a text reaches by name: views, for instance.
    """
    rest = scope.world.rest
    if (sql, scope.place) in rest.looked:
        return
    rest.looked.add((sql, scope.place))
    texts = (sql,) if beside is None else (sql, *beside(sql))
    numbers = (int(one) for text in texts for one in _NUMBER.findall(text))
    for value in (*numbers, *_plain(parameters)):
        scope.reckons_ms = max(scope.reckons_ms, _as_duration(value, SECONDS))


__all__ = [
    "MEASURING",
    "MILLISECONDS",
    "SECONDS",
    "clock_read",
    "guess_from_text",
    "pinned_clock_read",
    "show_intervals",
    "show_modifiers",
    "show_parameters",
]
