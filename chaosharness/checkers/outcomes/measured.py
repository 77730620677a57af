"""Durations: numbers that say how long something took, and may be others each time.

Learned from clean runs in which calls take longer, and in which clocks go on whenever they
are asked: what code measures between two looks at a clock is another number there, and
nothing else is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from chaosharness.checkers.outcomes.outcome import Place, Reader
from chaosharness.checkers.outcomes.plan import Family, Plan
from chaosharness.checkers.outcomes.read_as_columns import Columns, columns, compared, values
from chaosharness.checkers.outcomes.values import Path, is_number

LEAST_STEP_MS: Final = 3
"""What a number must grow by, at least, when calls take longer, to be a duration."""

TICKS_MS: Final = (7, 1_700)
"""By how much a clock goes on when it is asked: for those who count in ms, or in seconds."""

NUMBER: Final = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


def by_latency(reader: Reader, family: Family, usual: Columns) -> None:
    """Numbers that grow in step with how long calls take."""
    if not any(is_number(value) for column in usual.values() for _, value in column):
        return
    if not any(raw[1] == "call" for raw in family.calm().history.raw):
        return
    slowest = compared(reader, family, usual, Plan(latency=3))
    if not any(is_number(value) for _, mine, _ in slowest for value in values(mine)):
        return
    runs = [family.run(Plan(latency=factor)) for factor in (2, 3)]
    if any(run is None for run in runs):
        return
    twice, thrice = (columns(reader, run.history) for run in runs if run is not None)
    for where, column in usual.items():
        first = values(column)
        second, third = values(twice.get(where, [])), values(thrice.get(where, []))
        if not len(first) == len(second) == len(third) or first == second:
            continue
        if not all(map(is_number, (*first, *second, *third))):
            continue
        steps = [(y - x, z - y) for x, y, z in zip(first, second, third, strict=True)]
        in_step = all(one >= 0 and abs(one - next_) <= 2 for one, next_ in steps)
        if in_step and max(one for one, _ in steps) >= LEAST_STEP_MS:
            reader.masked.add(where)


def by_ticking(reader: Reader, family: Family, usual: Columns) -> None:
    """Numbers that grow when clocks go on between two looks at them."""
    if not family.calm().reads_clock:
        return
    for tick_ms in TICKS_MS:
        reader.masked.update(_grown(reader, family, usual, tick_ms))


def _grown(
    reader: Reader, family: Family, usual: Columns, tick_ms: int
) -> Iterator[tuple[Place, Path]]:
    """Yield the columns in which nothing but numbers has grown; none where more is different.

    A clock that goes on by seconds may let a time come sooner: then something was decided.
    """
    open_ = {
        where: column
        for where, column in usual.items()
        if where not in reader.masked and any(_has_number(value) for _, value in column)
    }
    if not open_:
        return
    found = []
    for where, mine, theirs in compared(reader, family, usual, Plan(tick_ms=tick_ms)):
        if where in reader.masked or where in reader.partly:
            continue
        if where not in open_ or not _is_grown(values(mine), values(theirs)):
            return
        found.append(where)
    yield from found


def _has_number(value: Any) -> bool:
    return is_number(value) or (isinstance(value, str) and NUMBER.search(value) is not None)


def _is_grown(mine: Sequence[Any], theirs: Sequence[Any]) -> bool:
    for one, other in zip(mine, theirs, strict=True):
        if is_number(one) and is_number(other):
            if other < one:
                return False
        elif isinstance(one, str) and isinstance(other, str):
            if NUMBER.sub("0", one) != NUMBER.sub("0", other):
                return False
        elif one != other:
            return False
    return True
