"""Workflows that wait at the end of a run, with nothing due any more: for whom, if for anybody.

One that nobody can wake waits for ever. One that has had no signal and no update may be meant to:
that is said, and not accused. One that has had some lives on as entities do, and nothing is said.
One that catches its cancellation, or of which others are cancelled, may be meant to go on until
then; so may one that has waited for its timers so often that no run goes on with it. That is said,
too, and accused only where the run without faults has none such.

*Not modelled*: which of its signals a workflow waits for: that is known to its code alone.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from chaosharness.kernel.allowed import listed
from chaosharness.kernel.world import Waiting
from chaosharness.orchestrators.temporal.instances import (
    definition_of,
    looks_for_cancellation,
    sets_handlers,
)
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["for_ever", "for_somebody", "until_ended"]

HEARD: Final = (
    "EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED",
    "EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
)

ClassOf = Callable[[Run], type | None]


def _rests(run: Run) -> bool:
    """Whether nothing is due, nothing is on its way, and nobody else ends it."""
    pending = run.task or run.activities or run.timers or run.children or run.buffer
    return run.status == "RUNNING" and not pending and run.due_ms is None and not run.not_before_ms


def _names(workflow: type) -> list[str]:
    """What it has handlers for, as it stands in its class."""
    found = definition_of(workflow)
    return sorted(one or "any" for one in (*found.signals, *found.updates))


def _handles_nothing(workflow: type) -> bool:
    """Whether nobody can tell it anything: but for a cancellation."""
    return not _names(workflow) and not sets_handlers(workflow)


def for_ever(
    runs: Iterable[Run],
    class_of: ClassOf,
    is_open: Callable[[str], bool],
    is_meant: Callable[[Run], bool],
    is_in_vain: Callable[[Run], bool],
) -> str:
    """Say which workflow nobody can wake: nothing is due, and it handles nothing; or nothing.

    Args:
        runs: The latest of each workflow id.
        class_of: The class of a run's workflow; None where no worker has it any more.
        is_open: Whether the run of a workflow id goes on: a child may live as long as its parent.
        is_meant: Whether a run is known to be ended from outside.
        is_in_vain: Whether a run goes round by its timers, and looks for what nothing can bring.
    """
    for run in runs:
        workflow = class_of(run)
        in_vain = run.status == "RUNNING" and is_in_vain(run)
        if workflow is None or not (in_vain or _rests(run)):
            continue
        if run.parent and is_open(run.parent[0]):
            continue
        if _handles_nothing(workflow) and not (looks_for_cancellation(workflow) or is_meant(run)):
            why = "it looks at each timer for what never changes" if in_vain else (
                "nothing is due any more"
            )  # fmt: skip
            return (
                f"workflow {run.type!r} ({run.workflow_id}) waits for ever: {why}, and it has no "
                "handler for a signal or an update, so that nobody can wake it, and who cancels it "
                "ends it where it stands. If that is meant: "
                f"System(..., may_wait=[{run.type!r}])"
            )
    return ""


def until_ended(
    runs: Iterable[Run],
    class_of: ClassOf,
    above: Callable[[Run], Iterable[Run]],
    goes_round: Callable[[Run], bool],
) -> Iterator[Waiting]:
    """Yield what goes on until somebody outside ends it: it waits, or its timers go on and on.

    Args:
        runs: The latest of each workflow id.
        class_of: As for `for_ever`.
        above: Yields a run, its parent, and so on: one that begins children for ever is meant.
        goes_round: Whether the timers of a run bring nothing new.
    """
    for run in runs:
        who = f"workflow {run.type!r} ({run.workflow_id})"
        workflow = class_of(run)
        left = any(timer.beyond for timer in run.timers.values())
        if run.status == "RUNNING" and (left or goes_round(run)):
            names = tuple(one.type for one in above(run))
            yield names, f"{who} goes on for ever by its timers, and nobody has ended it"
        elif workflow is not None and not run.parent and _rests(run) and _handles_nothing(workflow):
            yield (run.type,), f"{who} waits until it is cancelled, and nobody has cancelled it"


def waited_for_in_vain(run: Run) -> str:
    """Say that somebody waits for the end of a run that nothing moves any more; or nothing."""
    if not _rests(run):
        return ""
    return (
        f". Somebody waits for the end of workflow {run.type!r} ({run.workflow_id}), which waits "
        "for a signal, an update or a cancellation, and nobody is there to send one"
    )


def for_somebody(runs: Iterable[list[Run]], class_of: ClassOf) -> Iterator[Waiting]:
    """Yield what waits for a signal or an update, and has never had any.

    Args:
        runs: All runs of each workflow id, in order.
        class_of: As for `for_ever`.
    """
    for chain in runs:
        workflow = class_of(chain[-1])
        if workflow is None or not _rests(chain[-1]):
            continue
        if any(event["eventType"] in HEARD for run in chain for event in run.events):
            continue
        names = _names(workflow)
        if names or sets_handlers(workflow):
            yield (
                (chain[-1].type,),
                f"workflow {chain[-1].type!r} ({chain[-1].workflow_id}) waits for a signal or an "
                f"update ({listed(names) if names else 'it sets its handlers itself'}), and nobody "
                "has sent it any",
            )
