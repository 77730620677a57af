"""One execution as a table: an event history, or how each step stands."""

from __future__ import annotations

import attrs

__all__ = ["Execution", "Row"]


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        at_ms: Virtual time; None where nothing has begun.
        cells: One for each column but the time.
        trouble: Whether it did not go well.
    """

    at_ms: int | None
    cells: tuple[str, ...]
    trouble: bool = False


@attrs.frozen
class Execution:
    """What an orchestrator keeps of one workflow, saga, execution or DAG run.

    Attributes:
        name: Its id.
        form: What its users call the table: `event history`, `states`, `journal`, `tasks`.
        what: Of which definition it is, and how it stands: `OrderSaga COMPLETED`.
        head: Names of the columns, without the time.
        rows: Oldest first.
        left_out: How many rows are not shown.
    """

    name: str
    form: str
    what: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int = 0

    @property
    def columns(self) -> tuple[int, ...]:
        """Which columns say anything at all."""
        return tuple(
            at for at, _ in enumerate(self.head) if any(row.cells[at] for row in self.rows)
        )
