"""Pins: while user code runs, clocks and chance are functions of the run.

User modules say `from time import time` and `from datetime import datetime` before we are
there, so replacing module attributes is not enough. time-machine replaces the C functions
inside `time` and `datetime`; its replacement of `time.time` is put into `monotonic` and
`perf_counter` as well, which it leaves alone. Chance is replaced at its two springs: the
generator behind the functions of `random`, and the operating system's bytes.
"""

from __future__ import annotations

import ctypes
import operator
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from types import MethodType
from typing import Any, Final

from chaosharness.errors import InternalError
from chaosharness.handlers.clocks import pinned_clock_read
from chaosharness.handlers.insides import words_of
from chaosharness.handlers.travel import time_machine
from chaosharness.kernel.spans import EPOCH_MS

READS_MAX: Final = 200_000
"""How often clocks may be read at one instant: more than code does that works."""

Entropy = Callable[[int], bytes]

_NODE: Final = 0x0242AC110002  # a locally administered address: uuid1 must not show the machine
_HEADER: Final = object.__basicsize__  # what every object begins with: count and type


def _no_entropy(size: int) -> bytes:
    raise InternalError(f"{size} random bytes were drawn through the pins, outside a run")


_entropy: Entropy = _no_entropy


class _Bytes(dict[Any, bytes]):
    """What `os.urandom` meets during a run.

    Assigning `os.urandom` would miss `from os import urandom`. So the built-in function object
    itself is made to be `_Bytes().__getitem__`, for a while: that takes one argument too, and asks
    this.
    """

    def __missing__(self, size: Any) -> bytes:
        size = operator.index(size)
        if size < 0:
            raise ValueError("negative argument not allowed")
        return _entropy(size)


def _getrandom(size: int, flags: int = 0) -> bytes:
    return _entropy(size)


class _Pinned(random.Random):
    """The class of the global generator during a run: it draws from the scope.

    `random.randint`, `choice`, `uniform` and the rest are methods bound to one instance
    that ask its class for bits, so that changing the class reaches those too which a
    user module imported by name.
    """

    def random(self) -> float:
        return (int.from_bytes(_entropy(7), "big") >> 3) * 2.0**-53

    def getrandbits(self, k: int, /) -> int:
        if k < 0:
            raise ValueError("number of bits must be non-negative")
        size = (k + 7) // 8
        return int.from_bytes(_entropy(size), "big") >> (size * 8 - k)


def _twister(generator: random.Random) -> memoryview:
    """Return the state of a generator as its 2,500 bytes in memory.

    `getstate` and `setstate` cost 16 µs together, a copy of these bytes 0.4 µs.
    """
    words = ctypes.c_char * (4 + 624 * 4)
    return memoryview(words.from_address(id(generator) + _HEADER)).cast("B")


def _first_state() -> bytes:
    """Return the state in which every run finds the global generator."""
    pattern, copy = random.Random(2030), random.Random(0)
    state = bytes(_twister(pattern))
    if copy.getstate()[1][:-1] != tuple(memoryview(_twister(copy))[4:].cast("I")):
        raise InternalError("this Python keeps the state of its random generators elsewhere")
    _twister(copy)[:] = state
    assert copy.getstate() == pattern.getstate()
    return state


_ctime_of: Final = time.ctime
_asctime_of: Final = time.asctime


def _ctime(seconds: float | None = None, /) -> str:
    return _ctime_of(time.time() if seconds is None else seconds)


def _asctime(*moment: Any) -> str:
    return _asctime_of(*(moment or (time.localtime(),)))


_KEPT_CLOCKS: Final = frozenset(
    getattr(time, f"CLOCK_{name}", -1)
    for name in ("REALTIME", "MONOTONIC", "MONOTONIC_RAW", "BOOTTIME", "UPTIME_RAW", "TAI")
)
"""Clocks that show how time passes, and not how much of a processor was used."""
_gettime_of: Final = getattr(time, "clock_gettime", None)
_gettime_ns_of: Final = getattr(time, "clock_gettime_ns", None)


def _clock_gettime(clock: int, /) -> float:
    return time.time() if clock in _KEPT_CLOCKS else _gettime_of(clock)  # type: ignore[misc]


def _clock_gettime_ns(clock: int, /) -> int:
    return time.time_ns() if clock in _KEPT_CLOCKS else _gettime_ns_of(clock)  # type: ignore[misc]


_GLOBAL: Final[random.Random] = random._inst
_GLOBAL_STATE: Final = _twister(_GLOBAL)
_FIRST_STATE: Final = _first_state()

_REPLACED: Final[tuple[tuple[dict[str, Any], str, Any], ...]] = (
    (time.__dict__, "ctime", _ctime),  # time-machine leaves these two alone
    (time.__dict__, "asctime", _asctime),
    *([(time.__dict__, "clock_gettime", _clock_gettime)] if _gettime_of else ()),  # not on Windows
    *([(time.__dict__, "clock_gettime_ns", _clock_gettime_ns)] if _gettime_ns_of else ()),
    *([(os.__dict__, "getrandom", _getrandom)] if hasattr(os, "getrandom") else ()),  # on Linux
    (random.__dict__, "random", MethodType(_Pinned.random, _GLOBAL)),
    (random.__dict__, "getrandbits", MethodType(_Pinned.getrandbits, _GLOBAL)),
    (uuid.__dict__, "_node", _NODE),
    (uuid.__dict__, "_last_timestamp", None),
)

_BY_MODULE: Final = tuple(
    (module.__dict__, tuple(values), values)
    for module in (time, os, random, uuid)
    if (values := {name: value for names, name, value in _REPLACED if names is module.__dict__})
)
"""The same, a module at a time: its names, which of them, and what they become."""


def _method(function: Any) -> int:
    """Return the address of the C definition (name, code, flags, text) of a built-in."""
    address = ctypes.c_void_p.from_address(id(function) + _HEADER).value
    assert address is not None
    return address


def _code(function: Any) -> ctypes.c_void_p:
    """Return the cell that holds the C function of a built-in; writing it replaces it."""
    return ctypes.c_void_p.from_address(_method(function) + ctypes.sizeof(ctypes.c_void_p))


_BYTES: Final[Any] = _Bytes().__getitem__
_URANDOM: Final = words_of(os.urandom)  # uuid4 asks here, random.SystemRandom and secrets do
_URANDOM_PINNED: Final = tuple(words_of(_BYTES))

_TIME: Final = _code(time.time)
_TIME_NS: Final = _code(time.time_ns)
_CLOCKS: Final = (  # all four take no argument, as the two above: the same C signature
    (_code(time.monotonic), _TIME),
    (_code(time.perf_counter), _TIME),
    (_code(time.monotonic_ns), _TIME_NS),
    (_code(time.perf_counter_ns), _TIME_NS),
)

_POINTERS: Final = tuple(clock for clock, _ in _CLOCKS)
_VALUE: Final = attrgetter("value")

_seed: Final = random.Random.seed
_TRAVELS: Final[list[Any]] = time_machine.traveller_stack
_TRAVEL: Final = time_machine.travel(0, tick=False)


def _pinned_seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    if a is None and _entropy is not _no_entropy:
        a = _entropy(32)
    _seed(self, a, version)


_Zone = tuple[str | None] | None


class _Counting(time_machine.Traveller):
    """Where time-machine gets the time from during a run: notes who asks, and who only asks."""

    reads: int
    reads_max: int
    spun: Callable[[int], None] | None

    def time_ns(self) -> int:
        tick_ms = pinned_clock_read(sys._getframe(1))
        if tick_ms:
            self._destination_timestamp_ns += tick_ms * 1_000_000
        self.reads += 1
        if self.reads > self.reads_max and self.spun is not None:
            self.spun(self.reads)
        return self._destination_timestamp_ns


class _Saved:
    """What one `start` found, to be put back by its `stop`."""

    __slots__ = ("clocks", "drawn", "entropy", "gauss", "kind", "names", "state", "travels", "zone")

    clocks: list[int | None]
    drawn: tuple[int | None, ...]
    entropy: Entropy
    gauss: float | None
    kind: type[random.Random]
    names: list[list[Any]]
    state: bytes
    travels: int
    zone: _Zone


class Pins:
    """Clocks and chance of one kernel, pinned between `start` and `stop`.

    Pinned, also for modules that imported these by name: `time.time`, `monotonic`,
    `perf_counter`, `clock_gettime`, their `_ns` twins, `gmtime`, `localtime`, `strftime`,
    `datetime.now`, `utcnow`, `today`, `date.today`; `random.randint`, `choice` and the
    other functions of `random`, `random.SystemRandom`, `random.Random()` without a seed;
    `os.urandom`, `uuid.uuid1`, `uuid4`; all of `secrets`. The monotonic clocks show Unix time,
    which their contract allows. The local time zone is UTC.

    Calls may be nested: an inner `stop` puts back what its `start` found.

    Args:
        entropy: Returns that many bytes, a function of the scope that asks. It must not
            itself read a clock or draw, and must not return the same bytes for ever: `randint`
            and others draw until a value fits.
        spun: Called with their number when a clock was read more than `reads_max` times
            without a `move`: code waits for time to pass, and it does not. May raise.

    Attributes:
        reads_max: How often clocks may be read between two moves.

    Source:
        time-machine 3.6, `Traveller`; CPython 3.11 to 3.13, `Modules/timemodule.c`,
        `Modules/_randommodule.c`, `Lib/random.py`, `Lib/uuid.py`.

    Not modelled:
        `from time import ctime` or `asctime` (`time.ctime`, `time.asctime` are pinned), nor
        `from time import clock_gettime` for clocks other than CLOCK_REALTIME.
        `from random import random` or `getrandbits` draws from a stream that is the same in
        every run, but shared by all handlers of the run. `random.seed` moves that stream only.
        Generators that were made before the run (Faker's, numpy's) and `numpy.random`: seed
        them in the function that builds the service. Clocks that count what a processor did:
        `process_time`, `thread_time`, and these by `time.clock_gettime`. Date functions called
        from C. Other threads see virtual time too while a run lasts.
    """

    __slots__ = ("_entropy", "_epoch_ms", "_saved", "_spun", "_traveller", "reads_max")

    def __init__(self, *, entropy: Entropy, spun: Callable[[int], None] | None = None) -> None:
        self._entropy = entropy
        self._spun = spun
        self.reads_max = READS_MAX
        self._epoch_ms = EPOCH_MS
        self._traveller: Any = None
        self._saved: list[tuple[_Saved, int, Any]] = []

    def start(self, epoch_ms: int = EPOCH_MS) -> None:
        """Pin everything, at virtual time 0.

        Args:
            epoch_ms: The Unix time of virtual time 0, in milliseconds.

        Raises:
            RuntimeError: freezegun is active; time-machine cannot work inside it.
        """
        global _entropy  # noqa: PLW0603  (one word that the replaced functions read)
        saved = _Saved()
        saved.travels = len(_TRAVELS)
        saved.names = [[*map(names.__getitem__, which)] for names, which, _ in _BY_MODULE]
        saved.zone = _enter_utc()
        traveller: Any = _TRAVEL.start()
        self._saved.append((saved, self._epoch_ms, self._traveller))
        self._epoch_ms = epoch_ms
        self._traveller = traveller
        traveller.__class__ = _Counting
        traveller.reads = 0
        traveller.reads_max = self.reads_max
        traveller.spun = self._spun
        traveller._destination_timestamp_ns = epoch_ms * 1_000_000
        saved.clocks = [*map(_VALUE, _POINTERS)]
        for clock, source in _CLOCKS:  # where time-machine's are by now
            clock.value = source.value
        saved.drawn = tuple(_URANDOM)
        _URANDOM[:] = _URANDOM_PINNED
        saved.entropy = _entropy
        _entropy = self._entropy
        if random.Random.seed is not _pinned_seed:
            # Stays for good and passes straight through outside runs: from Python 3.13 a
            # class that is changed more than 1,000 times loses its method cache.
            random.Random.seed = _pinned_seed  # type: ignore[method-assign]
        saved.state = bytes(_GLOBAL_STATE)
        _GLOBAL_STATE[:] = _FIRST_STATE
        saved.gauss = _GLOBAL.gauss_next  # type: ignore[attr-defined]
        _GLOBAL.gauss_next = None  # type: ignore[attr-defined]
        saved.kind = _GLOBAL.__class__
        _GLOBAL.__class__ = _Pinned
        for names, _, values in _BY_MODULE:
            names.update(values)

    def move(self, now_ms: int) -> None:
        """Set the clocks to a virtual time, in milliseconds since `start`; back is allowed."""
        traveller = self._traveller
        traveller._destination_timestamp_ns = (self._epoch_ms + now_ms) * 1_000_000
        traveller.reads = 0

    def read(self) -> None:
        """Count that a clock was read which is not among those that are pinned here."""
        self._traveller.time_ns()

    def stop(self) -> None:
        """Put back what the last `start` found."""
        global _entropy  # noqa: PLW0603
        saved, self._epoch_ms, self._traveller = self._saved.pop()
        # A crashed handler may have left a time-machine of its own behind.
        del _TRAVELS[saved.travels + 1 :]
        for clock, value in zip(_POINTERS, saved.clocks, strict=True):
            clock.value = value
        _TRAVEL.stop()
        _leave_utc(saved.zone)
        _URANDOM[:] = saved.drawn
        _entropy = saved.entropy
        _GLOBAL.__class__ = saved.kind
        _GLOBAL.gauss_next = saved.gauss  # type: ignore[attr-defined]
        _GLOBAL_STATE[:] = saved.state
        for (names, which, _), found in zip(_BY_MODULE, saved.names, strict=True):
            names.update(zip(which, found, strict=True))


def _enter_utc() -> _Zone:
    """Make UTC the local time zone; return what to undo, which is nothing if it was."""
    if time.tzname == ("UTC", "UTC") or not hasattr(time, "tzset"):
        return None
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC0"  # this spelling reads no file
    time.tzset()
    return (zone,)


def _leave_utc(undo: _Zone) -> None:
    if undo is None:
        return
    if undo[0] is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = undo[0]
    time.tzset()


@contextmanager
def utc_zone() -> Iterator[None]:
    """Make UTC the local time zone of the process; for a campaign.

    Where the machine has another zone, `start` and `stop` change it each time (15 µs).
    Around many runs this changes it once.
    """
    undo = _enter_utc()
    try:
        yield
    finally:
        _leave_utc(undo)
