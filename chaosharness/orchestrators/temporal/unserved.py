"""Names that no worker knows: of workflows, activities and signals, mistyped mostly.

A real server tells nobody. The worker fails the task (`Workflow class Ordr is not registered on
this worker`), which is tried again for ever; a signal without a handler is kept, and never read.
Here the run ends with one sentence, if no fault has struck: who asked, for what, what there is,
what was meant. Every worker counts that a task queue ever had: one that is down, or has left, may
come back.

*Source*: temporalio 1.35.0: `worker/_workflow.py` (`_create_workflow_instance`),
`worker/_activity.py` (`_execute_activity`, `assert_activity_valid`), `_workflow_instance.py`
(`_apply_signal_workflow`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import attrs

from chaosharness.kernel.allowed import listed, meant
from chaosharness.kernel.world import World
from chaosharness.orchestrators.temporal.run import Run
from chaosharness.orchestrators.temporal.server import Server

__all__ = ["DYNAMIC", "Registry", "abandoned", "missing", "not_registered"]

DYNAMIC: Final = ""
"""The name under which a worker has the workflow, and the activity, that takes any name."""

LIMITS_OF_WAITING: Final = ("scheduleToStartTimeout", "scheduleToCloseTimeout")

FOR_EVER: Final = "A real server has its task tried again for ever, and tells nobody"


def not_registered(kind: str, name: str, all: str, known: Iterable[str]) -> str:
    """Say that a worker does not have something, in the words of the library."""
    words = f"{kind} {name} is not registered on this worker, available {all}: "
    return words + ", ".join(sorted(one for one in known if one))


@attrs.define(eq=False)
class Registry:
    """What the workers of each task queue have, or had; and what was asked of them in vain."""

    workflows: dict[str, dict[str, str]] = attrs.field(factory=dict)
    """By task queue, the names, and the service that has each."""
    activities: dict[str, dict[str, str]] = attrs.field(factory=dict)
    in_vain: dict[tuple[str, str], str] = attrs.field(factory=dict)
    """Task queue and name of activities that a worker did not have, and who asked for them."""
    unheard: dict[str, tuple[Run, Collection[str], Collection[str]]] = attrs.field(factory=dict)
    """By run: its signals that nobody has read, and the names that it has handlers for."""
    lines: dict[str, str] = attrs.field(factory=dict)
    """The user's line that started a workflow which nobody had at that time, by workflow id."""

    def add(
        self, queue: str, service: str, workflows: Iterable[str], activities: Iterable[str]
    ) -> None:
        """Learn of a worker."""
        self.workflows.setdefault(queue, {}).update(dict.fromkeys(workflows, service))
        self.activities.setdefault(queue, {}).update(dict.fromkeys(activities, service))

    def runs(self, queue: str, name: str) -> bool:
        """Whether a worker of the queue has, or had, this workflow, or one that takes any name."""
        known = self.workflows.get(queue, {})
        return name in known or DYNAMIC in known

    def does(self, queue: str, name: str) -> bool:
        """Whether a worker of the queue has, or had, this activity, or one that takes any name."""
        known = self.activities.get(queue, {})
        return name in known or DYNAMIC in known

    def started_at(self, workflow_id: str, queue: str, name: str, line: Callable[[], str]) -> None:
        """Keep the user's line, where nobody has this workflow so far."""
        if not self.runs(queue, name):
            self.lines[workflow_id] = line()


class Served(Protocol):
    """The server in a run, as far as it is asked here."""

    world: World
    server: Server
    registry: Registry


def missing(engine: Served) -> str:
    """Return the sentence about the first name that nobody knows, or nothing."""
    return next(_missing(engine), "")


def _missing(engine: Served) -> Iterator[str]:
    registry = engine.registry
    for runs in engine.server.runs.values():
        for run in runs:
            if run.queue in registry.workflows and not registry.runs(run.queue, run.type):
                yield _no_workflow(engine, run)
    for run in engine.server.latest():
        if run.status == "RUNNING":
            yield from _waits(engine, run)
    for (queue, name), who in registry.in_vain.items():
        if not registry.does(queue, name):
            yield _no_activity(registry, queue, name, who)
    for run, unheard, known in registry.unheard.values():
        for name in sorted(unheard):
            if run.status == "RUNNING" or meant(name, known):
                yield _no_handler(engine, run, name, known)


def _waits(engine: Served, run: Run) -> Iterator[str]:
    """What a run waits for on a queue that nobody polls, or for whom nobody there is."""
    registry = engine.registry
    polled = registry.workflows
    if run.task and run.queue not in polled:
        yield _no_queue(registry, f"workflow {run.type!r} ({run.workflow_id})", run.queue)
    for activity in run.activities.values():
        if activity.started:
            continue
        what, queue = f"activity {activity.type!r} of {run.workflow_id}", activity.queue
        if queue in polled and not registry.does(queue, activity.type):
            yield _no_activity(registry, queue, activity.type, _called(run))
        elif queue not in polled and not any(map(activity.limit, LIMITS_OF_WAITING)):
            yield _no_queue(registry, what, queue)


def abandoned(runs: Iterable[Run], deciding: Collection[str], working: Collection[str]) -> str:
    """Say what waits for a worker, and none polls any more; or nothing.

    Args:
        runs: The latest of each workflow id.
        deciding: Task queues that are polled for workflow tasks, now that nothing is down.
        working: Those that are polled for activities.
    """
    for run in runs:
        if run.status != "RUNNING":
            continue
        if run.task and run.queue not in deciding:
            return _nobody_polls(_called(run), run.queue, deciding)
        for one in run.activities.values():
            is_limited = one.started or any(map(one.limit, LIMITS_OF_WAITING))
            if one.queue not in working and not is_limited:
                what = f"activity {one.type!r} of {run.workflow_id}"
                return _nobody_polls(what, one.queue, working)
    return ""


def _nobody_polls(what: str, queue: str, polled: Collection[str]) -> str:
    names = listed(map(repr, sorted(polled))) or "none"
    words = f"{what} waits on the task queue {queue!r}, and no worker polls it any more"
    return f"{words}; polled are: {names}"


def _no_queue(registry: Registry, what: str, queue: str) -> str:
    polled = listed(map(repr, sorted(registry.workflows))) or "none"
    words = f"{what} waits on the task queue {queue!r}, which no worker polls"
    near = meant(queue, registry.workflows)
    return f"{words}; polled are: {polled}" + (f".{near}" if near else "")


def _no_workflow(engine: Served, run: Run) -> str:
    registry = engine.registry
    known = registry.workflows[run.queue]
    asked = f"{run.workflow_id!r}, {_starter(engine, run)}"
    asked += registry.lines.get(run.workflow_id, "")
    return (
        f"no worker of the task queue {run.queue!r} has the workflow {run.type!r} ({asked})."
        f"{meant(run.type, known)} {_there(known)}"
        f"{_elsewhere(run.type, run.queue, registry.workflows)}. {FOR_EVER}"
    )


def _no_activity(registry: Registry, queue: str, name: str, who: str) -> str:
    known = registry.activities[queue]
    return (
        f"no worker of the task queue {queue!r} has the activity {name!r}, which {who} asks for."
        f"{meant(name, known)} {_there(known)}{_elsewhere(name, queue, registry.activities)}. A "
        "real server has it tried again, and tells nobody"
    )


def _no_handler(engine: Served, run: Run, name: str, known: Collection[str]) -> str:
    handled = listed(map(repr, sorted(known))) or "none"
    return (
        f"{_called(run)} has no handler for the signal {name!r}, {_sender(engine, run, name)}."
        f"{meant(name, known)} It handles: {handled}. A real server takes the signal, and nobody "
        "ever reads it"
    )


def _there(known: Mapping[str, str]) -> str:
    names = listed(map(repr, sorted(one for one in known if one)))
    services = listed(map(repr, sorted(set(known.values()))))
    return (
        f"Registered there: {names} (service {services})" if names else "None is registered there"
    )


def _elsewhere(name: str, queue: str, registered: Mapping[str, Mapping[str, str]]) -> str:
    """Say on which other queue a name is registered: then that is the mistake."""
    others = sorted(one for one, known in registered.items() if one != queue and name in known)
    return f"; {name!r} is registered on the task queue {others[0]!r}" if others else ""


def _called(run: Run) -> str:
    return f"workflow {run.type!r} ({run.workflow_id})"


def _starter(engine: Served, run: Run) -> str:
    """Say who has started a run."""
    if run.parent is not None:
        return f"a child of {_called(engine.server.find(run.parent[0]))}"
    if "continuedExecutionRunId" in run.begun_with:
        return "what a workflow of this id continues as"
    if run.timetable:
        return f"of the schedule {run.timetable!r}"
    place = _asker(engine, "workflow", run.type, run.workflow_id)
    return f"started by {place}" if place else "started"


def _sender(engine: Served, run: Run, name: str) -> str:
    place = _asker(engine, "signal_name", name, run.workflow_id)
    return f"which {place} sends" if place else "which it is sent"


def _asker(engine: Served, word: str, name: str, workflow_id: str) -> str:
    """The place of the first call of a client's that named this of a workflow."""
    for event in engine.world.history.of("call"):
        told: Any = event.data
        if told.get(word) == name and told.get("workflow_id") == workflow_id:
            return event.operation.partition("/")[0]
    return ""
