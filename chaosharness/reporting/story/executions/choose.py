"""Which executions a report shows: those of the items that the finding is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.kernel.history import History
from chaosharness.reporting.story.executions import dag_runs, journals, states, tasks, workflows
from chaosharness.reporting.story.executions.execution import Execution
from chaosharness.reporting.story.legible import clip

EXECUTIONS_MAX: Final = 3
ROWS_MAX: Final = 60
CELL_MAX: Final = 140

_FORMS: Final[tuple[Callable[[str, Mapping[str, Any]], Execution | None], ...]] = (
    journals.read,
    workflows.read,
    states.read,
    tasks.read,
    dag_runs.read,
)


def executions(found: Counterexample, items: frozenset[int]) -> tuple[Execution, ...]:
    """Return the executions of some items, as their users know them, or else the first ones.

    Args:
        found: The counterexample.
        items: Those that the finding is about.
    """
    names = [*found.event_histories]
    about = [name for name in names if _items_of(name, found.history) & items]
    shown = (_read(name, found.event_histories[name]) for name in about or names)
    return tuple(one for one in shown if one is not None and one.rows)[:EXECUTIONS_MAX]


def _items_of(name: str, history: History) -> frozenset[int]:
    """Return the items that an execution was noted for: `name` may say its definition first."""
    ids = {name, name.rpartition(" run ")[0], *_endings(name)}
    notes = history.of("note")
    return frozenset(one.entity for one in notes if one.data.get("saga") in ids)


def _endings(name: str) -> list[str]:
    words = name.split(":")
    return [":".join(words[at:]) for at in range(1, len(words))]


def _read(name: str, text: str) -> Execution | None:
    value = json.loads(text)
    for read in _FORMS:
        if (found := read(name, value)) is not None:
            return _clipped(found)
    return None


def _clipped(found: Execution) -> Execution:
    rows = tuple(
        attrs.evolve(row, cells=tuple(clip(cell, CELL_MAX) for cell in row.cells))
        for row in found.rows[:ROWS_MAX]
    )
    more = len(found.rows) - len(rows)
    what, name = clip(found.what, CELL_MAX), clip(found.name, CELL_MAX)
    return attrs.evolve(found, name=name, what=what, rows=rows, left_out=more)
