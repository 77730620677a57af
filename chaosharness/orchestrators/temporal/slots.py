"""How much a worker has in hand at once: workflow tasks, activities, local activities.

A slot is held from when the server hands a task out until its end is reported: an attempt that the
server has given up holds its slot until its code comes back. Where none is free the worker does
not poll, and what waits, waits at the server, or goes to another worker.

*Source*: temporalio 1.35.0, `worker/_worker.py`, `_tuning.py` (100 of each by default); sdk-core,
`core/src/worker/mod.rs`, `activities/local_activities.rs` (rule T36).
*Not modelled*: slots that depend on memory and processors (the most that they allow is the limit),
suppliers of one's own (they limit nothing), rates (`max_activities_per_second`), the threads of an
`activity_executor`, tasks that are handed out eagerly; a worker that stops an attempt by itself,
some seconds after its timeout.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import is_whole, spelled

__all__ = ["LIMITS", "Slots", "slots_of"]

USUAL: Final = 100
LIMITS: Final = (
    "max_concurrent_workflow_tasks",
    "max_concurrent_activities",
    "max_concurrent_local_activities",
)


@attrs.define(eq=False)
class Slots:
    """The slots of one worker, and who holds them. None is no limit."""

    decisions_max: int | None = USUAL
    activities_max: int | None = USUAL
    local_max: int | None = USUAL
    deciding: set[str] = attrs.field(factory=set)  # by run
    working: set[str] = attrs.field(factory=set)  # by task
    local: int = 0
    waiting: deque[Callable[[], None]] = attrs.field(factory=deque)

    @property
    def may_decide(self) -> bool:
        """Say whether a slot for a workflow task is free."""
        return self.decisions_max is None or len(self.deciding) < self.decisions_max

    @property
    def may_work(self) -> bool:
        """Say whether a slot for an activity is free."""
        return self.activities_max is None or len(self.working) < self.activities_max

    def take_local(self, go: Callable[[], None]) -> bool:
        """Take a slot for a local activity; where none is free, `go` is called once one is."""
        if self.local_max is not None and self.local >= self.local_max:
            self.waiting.append(go)
            return False
        self.local += 1
        return True

    def give_local(self) -> None:
        """Give a slot back: to who has waited longest."""
        self.local -= 1
        if self.waiting:
            self.waiting.popleft()()


def slots_of(config: Mapping[str, Any], cache_max: int, who: str) -> Slots:
    """Return the slots that the options of a worker say.

    Raises:
        InvalidDefinition: They are none, or temporalio refuses them.
    """
    given = [config.get(name) for name in LIMITS]
    for name, value in zip(LIMITS, given, strict=True):
        if value is not None and not is_whole(value, 1):
            raise InvalidDefinition(f"{who}: {name} is 1 or more, not {spelled(value)}")
    tuner = config.get("tuner")
    if tuner is not None:
        if any(value is not None for value in given):
            raise InvalidDefinition(f"{who}: a worker has {', '.join(LIMITS)} or a tuner, not both")
        return Slots(
            _most(tuner._get_workflow_task_slot_supplier()),
            _most(tuner._get_activity_task_slot_supplier()),
            _most(tuner._get_local_activity_task_slot_supplier()),
        )
    if given[0] == 1 and cache_max:
        raise InvalidDefinition(
            f"{who}: max_concurrent_workflow_tasks must be at least 2 where max_cached_workflows "
            "is not 0: temporalio refuses it"
        )
    decisions, activities, local = (USUAL if value is None else value for value in given)
    return Slots(decisions, activities, local)


def _most(supplier: Any) -> int | None:
    number = getattr(supplier, "num_slots", None)
    if number is None:
        number = getattr(getattr(supplier, "slot_config", None), "maximum_slots", None)
    return number if isinstance(number, int) else None
