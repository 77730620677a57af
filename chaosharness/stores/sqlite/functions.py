"""SQLite's own clock and chance, made functions of the run.

`CURRENT_TIMESTAMP`, `datetime('now')` and `random()` ask the operating system from inside
C, where no pin reaches. So each connection gets functions of the same names: they take
time and random bits from Python, where both are pinned while a run lasts, and leave the
arithmetic to SQLite.

Source:
    SQLite documentation, "Date And Time Functions" (lang_datefunc.html) and "Built-In
    Scalar SQL Functions" (lang_corefunc.html).
"""

from __future__ import annotations

import atexit
import random  # noqa: TID251  (pinned while a run lasts: see handlers.pins)
import sqlite3
import time  # noqa: TID251  (likewise)
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from chaosharness.handlers.clocks import show_modifiers
from chaosharness.kernel.spans import EPOCH_MS

_TIMES: Final = {"date": 0, "time": 0, "datetime": 0, "julianday": 0, "strftime": 1}
"""Functions of a time, and which of their arguments is the time; without one it is now."""

_CURRENT: Final = {"current_date": "date", "current_time": "time", "current_timestamp": "datetime"}
_INT64: Final = 1 << 63

_original: Final = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
"""Where the functions are still SQLite's."""
atexit.register(_original.close)  # or Python 3.13 warns, where somebody asked for warnings


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def pin(connection: sqlite3.Connection) -> None:
    """Have a connection's SQL ask the clock and the chance of the run."""
    _install(connection, _now_ms, random.getrandbits)


def pin_to_the_beginning(connection: sqlite3.Connection) -> None:
    """Have a connection's SQL see virtual time 0, and the same random numbers every time."""
    _install(connection, lambda: EPOCH_MS, random.Random(0).getrandbits)


def _install(
    connection: sqlite3.Connection, now_ms: Callable[[], int], bits: Callable[[int], int]
) -> None:
    create = partial(sqlite3.Connection.create_function, connection)
    times = dict(_TIMES)
    if sqlite3.sqlite_version_info >= (3, 38):
        times["unixepoch"] = 0
    for name, place in times.items():
        create(name, -1, partial(_compute, now_ms, name, place), deterministic=True)
    for name, plain in _CURRENT.items():
        create(name, 0, partial(_compute, now_ms, plain, 0), deterministic=True)
    create("random", 0, lambda: bits(64) - _INT64)
    create("randomblob", 1, lambda size: bits(8 * max(size, 1)).to_bytes(max(size, 1), "big"))


def _compute(now_ms: Callable[[], int], name: str, place: int, *arguments: Any) -> Any:
    """Call SQLite's function of this name, with `now` spelled out."""
    if len(arguments) <= place:
        arguments = (*arguments, "now")
    when = arguments[place] if len(arguments) > place else None
    if isinstance(when, str) and when.lower() == "now":
        show_modifiers(arguments)
        moment = datetime.fromtimestamp(now_ms() / 1000, UTC).replace(tzinfo=None)
        now = moment.isoformat(" ", "milliseconds")
        arguments = (*arguments[:place], now, *arguments[place + 1 :])
    holes = ", ".join("?" * len(arguments))
    return _original.execute(f"SELECT {name}({holes})", arguments).fetchone()[0]
