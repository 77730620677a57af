"""Clean runs as columns: every value by its place and path, and which of them are others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from chaosharness.checkers.outcomes.outcome import Place, Reader
from chaosharness.checkers.outcomes.plan import Family, Plan
from chaosharness.checkers.outcomes.values import Path, leaves
from chaosharness.kernel.history import History

Column = list[tuple[int, Any]]
"""The values at one place, each with its owner."""

Columns = dict[tuple[Place, Path], Column]
"""Every value of a run by place and path."""


def columns(reader: Reader, history: History) -> Columns:
    """Return every value that a run left."""
    found: Columns = {}
    for place, owner, value in reader.pieces(history):
        for path, leaf in leaves(value):
            found.setdefault((place, path), []).append((owner, leaf))
    return found


def values(column: Sequence[tuple[int, Any]]) -> list[Any]:
    """Return the values of a column without their owners."""
    return [value for _, value in column]


def counted(column: Sequence[tuple[int, Any]]) -> Counter[str]:
    """Count the values of a column, each as it is spelled."""
    return Counter(repr(value) for _, value in column)


def compared(
    reader: Reader, family: Family, usual: Columns, plan: Plan
) -> Iterator[tuple[tuple[Place, Path], Column, Column]]:
    """Yield the columns that differ between the calm run and another, as long in both."""
    run = family.run(plan)
    if run is None:
        return
    other = columns(reader, run.history)
    for where, mine in usual.items():
        theirs = other.get(where, [])
        if len(mine) == len(theirs) and mine != theirs:
            yield where, mine, theirs


__all__ = ["Column", "Columns", "columns", "compared", "counted", "values"]
