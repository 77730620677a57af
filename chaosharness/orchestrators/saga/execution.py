"""What a saga's journal says: how far each of its steps is. Folded from records, and nothing else.

*Source*: rules N1 to N14.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import attrs

from chaosharness.orchestrators.saga.records import Phase, Record

__all__ = ["ENDED", "Execution", "Task"]

State = Literal["asked", "waiting", "done", "refused", "given up", "parked"]
Status = Literal["new", "running", "compensating", "parked", "completed", "compensated"]
ENDED: Final = frozenset({"completed", "compensated"})
SETTLED: Final = frozenset({"done", "refused", "given up"})


@attrs.define
class Task:
    """One step, being done or being undone.

    Attributes:
        action: What was asked for last: a fallback's, after the first provider failed.
        unsure: Whether an attempt may have happened that nobody has confirmed (N5).
        until_ms: When time acts next; None for never.
        asked: The number of the record that asked for it first: what it is asked with is what was
            known then, at every attempt (N3).
        settled: The number of the record that settled it: the order in which things happened.
    """

    step: str
    phase: Phase
    action: str = ""
    attempt: int = 0
    state: State = "waiting"
    unsure: bool = False
    until_ms: int | None = None
    value: Any = None
    why: str = ""
    asked: int = 0
    settled: int = 0

    def __repr__(self) -> str:
        return f"{self.phase} {self.step}: {self.state}"


@attrs.define
class Execution:
    """One saga, as its journal has it.

    Attributes:
        version: How many records there are.
        tasks: By step and phase.
        stuck: Why its code cannot go on; "" if it can.
    """

    id: str
    version: int = 0
    input: Any = None
    going: Literal["new", "running", "compensating", "completed", "compensated"] = "new"
    value: Any = None
    why: str = ""
    stuck: str = ""
    tasks: dict[tuple[str, Phase], Task] = attrs.field(factory=dict)

    @property
    def status(self) -> Status:
        """How far it is: `parked` where nothing goes on before a person has looked."""
        if self.going in ENDED or self.going == "new":
            return self.going
        states = {task.state for task in self.tasks.values()}
        waits = self.stuck or ("parked" in states and not states & {"asked", "waiting"})
        return "parked" if waits else self.going

    def of(self, phase: Phase) -> dict[str, Task]:
        """Return the tasks of one phase, by step, in the order in which they were asked for."""
        return {step: task for (step, way), task in self.tasks.items() if way == phase}

    def results(self, task: Task) -> dict[str, Any]:
        """Return what the steps that were done before one was asked for have returned."""
        done = (one for one in self.of("do").values() if one.state == "done")
        return {one.step: one.value for one in done if one.settled < task.asked}

    def read(self, records: Iterable[Record]) -> Execution:
        """Take records in, in order; return itself."""
        for record in records:
            self.fold(record)
        return self

    def fold(self, record: Record) -> None:
        """Take one record in."""
        self.version += 1
        if record.kind.startswith("saga "):
            self._fold_saga(record)
        elif not record.step:  # a person has looked at code that was stuck
            self.stuck = ""
        else:
            self._fold_step(record)

    def _fold_saga(self, record: Record) -> None:
        match record.kind:
            case "saga taken over":
                pass
            case "saga started":
                self.going, self.input = "running", record.value
            case "saga compensating":
                self.going, self.why = "compensating", record.why
            case "saga completed":
                self.going, self.value = "completed", record.value
            case "saga compensated":
                self.going = "compensated"
            case "saga parked" if record.step:
                task = self._task(record)
                task.state, task.until_ms, task.why = "parked", record.until_ms, record.why
            case "saga parked":
                self.stuck = record.why

    def _fold_step(self, record: Record) -> None:
        task = self._task(record)
        task.until_ms = record.until_ms
        match record.kind:
            case "asked":
                task.action, task.attempt, task.state = record.action, record.attempt, "asked"
                task.asked = task.asked or self.version
            case "failed" | "unknown":
                task.state, task.why = "waiting", record.why
                task.unsure |= record.kind == "unknown"
            case "fell back":
                task.action, task.attempt, task.state = record.action, 0, "waiting"
            case "resolved":  # it is to be asked for again
                task.attempt, task.state = 0, "waiting"
            case "done" | "refused" | "given up":
                task.state, task.settled = record.kind, self.version
                task.value, task.why = record.value, record.why

    def _task(self, record: Record) -> Task:
        key = (record.step, record.phase)
        task = self.tasks.get(key)
        if task is None:
            task = self.tasks[key] = Task(record.step, record.phase)
        return task
