"""DO_WHILE: an iteration after the other, until its condition says no or its items are over.

*Source*: conductor-oss/conductor, `core/execution/tasks/DoWhile.java` (rule C15).
*Not modelled*: keepLastN.
"""

from typing import Any, Final, Literal

import attrs

from chaosharness.orchestrators.conductor.context import context_of, input_of
from chaosharness.orchestrators.conductor.expressions import fill
from chaosharness.orchestrators.conductor.records import (
    COMPLETED,
    FAILED,
    FATAL,
    Task,
    Workflow,
    plain_ref,
)

__all__ = ["Loop"]

Verdict = Literal["wait", "over", "next"]
WAIT: Final = "wait"


@attrs.frozen
class Loop:
    """One DO_WHILE task, and where it stands."""

    workflow: Workflow
    task: Task

    def look(self) -> Verdict:
        """Go to the next iteration, or end, if this one is over; say which it was."""
        task = self.task
        current = self._current()
        if not current:
            if self.items is not None and not self.items:
                task.output = {**task.output, "iteration": 0}
                task.status = COMPLETED
                return "over"
            return self._next(1)
        output: dict[str, Any] = {}
        for one in current.values():
            output[plain_ref(one.ref)] = one.output
            if not one.successful:
                task.output = {**task.output, str(task.iteration): output}
                task.status = FAILED
                task.reason = f"{one.reason} "
                return "over"
        task.output = {**task.output, str(task.iteration): output}
        if not self._is_complete(current):
            return "wait"
        try:
            more = self._goes_on()
        except (TypeError, ValueError) as error:
            task.status = FATAL
            condition = task.step.fields.get("loopCondition")
            task.reason = f"Unable to evaluate condition {condition}, exception {error}"
            return "over"
        if more:
            return self._next(task.iteration + 1)
        task.status = COMPLETED
        return "over"

    def _next(self, iteration: int) -> Verdict:
        task = self.task
        task.iteration = iteration
        task.output = {**task.output, "iteration": iteration}
        items = self.items
        if items is not None and iteration <= len(items):
            task.output |= {"loopIndex": iteration - 1, "loopItem": items[iteration - 1]}
        return "next"

    def _current(self) -> dict[str, Task]:
        """The last attempt of each task of this iteration."""
        found: dict[str, Task] = {}
        for one in self.workflow.tasks:
            if one.iteration != self.task.iteration or one.iteration == 0:
                continue
            inside = one is not self.task and one.ref != self.task.ref
            if inside and self.task.step.has(plain_ref(one.ref)):
                known = found.get(one.ref)
                if known is None or one.retry_count > known.retry_count:
                    found[one.ref] = one
        return found

    def _is_complete(self, current: dict[str, Task]) -> bool:
        """Whether each task is over, and each that follows one has been there."""
        step, iteration = self.task.step, self.task.iteration
        body = {f"{one.ref}__{iteration}" for one in step.lists[0]}
        if not body <= current.keys() or not all(one.terminal for one in current.values()):
            return False
        for one in current.values():
            following = step.after(plain_ref(one.ref))
            if following is None or following is step:
                continue
            if f"{following.ref}__{iteration}" not in current:
                return False
        return True

    @property
    def items(self) -> list[Any] | None:
        """What there is one iteration for each of; None where a condition decides."""
        given = self.task.step.fields.get("items") or self.task.step.parameters.get("_items")
        if given is None:
            return None
        found = fill(given, context_of(self.workflow), self.task.id)
        if found is None:
            return []
        return list(found) if isinstance(found, list) else [found]

    def _goes_on(self) -> bool:
        items, script = self.items, self.task.step.script
        if items is not None:
            if self.task.iteration >= len(items):
                return False
            if script is None:
                return True
        if script is None:
            return False
        given = input_of(self.task.step.parameters, self.workflow, task_id=self.task.id)
        given[self.task.ref] = self.task.output
        for one in self.workflow.tasks:
            if one is not self.task and self.task.step.has(plain_ref(one.ref)):
                given[plain_ref(one.ref)] = one.output
        if items is not None:
            given |= {"loopIndex": self.task.iteration - 1}
            given |= {"loopItem": items[self.task.iteration - 1]}
        return bool(script(given))
