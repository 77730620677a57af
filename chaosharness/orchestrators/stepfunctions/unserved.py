"""What a state asks for and nobody does, or nobody asks for: a mistyped name, mostly.

A function that there is not fails the state in AWS (`Lambda.ResourceNotFoundException`), which is
told at once. An activity that no worker asks for waits as long as `TimeoutSeconds` says, and for
ever where it says nothing (99,999,999 s); nobody is told.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from chaosharness.kernel.allowed import listed, meant
from chaosharness.kernel.world import Waiting
from chaosharness.orchestrators.stepfunctions.execution import Execution
from chaosharness.orchestrators.stepfunctions.machine import Asked

__all__ = ["no_function", "no_machine", "no_worker", "unanswered"]


def no_function(asked: Asked, name: str, known: Collection[str]) -> str:
    """Say that no service has the function that a state runs."""
    return (
        f"{_where(asked)} runs the function {name!r}, which no service has: "
        f"env.function(..., {name!r}, handler); there are: {_list(known)}"
        f"{_near(name, known)}"
    )


def no_machine(
    service: str, strange: Iterable[str], known: Collection[str], lacked: Collection[str]
) -> str:
    """Say that a service has a function which may be meant for another one; or nothing.

    A function that no state machine runs is nobody's mistake by itself: services have others.

    Args:
        service: The name of Step Functions in the system.
        strange: Functions that no state machine runs.
        known: Those that state machines run.
        lacked: Those of them that no service has.
    """
    for name in strange:
        if near := _near(name, lacked):
            words = f"no state machine of {service!r} runs a function {name!r}; they run: "
            return f"{words}{_list(known)}{near}"
    return ""


def no_worker(waiting: Mapping[str, Iterable[Asked]], polled: Collection[str]) -> str:
    """Say which activity no worker has ever asked for, though a state waits for it; or nothing.

    One with a timeout comes to an end, and the execution goes on as that says.
    """
    for name, queue in sorted(waiting.items()):
        for asked in queue:
            work = asked.work
            if name not in polled and work.timeout_ms is None and work.heartbeat_ms is None:
                return (
                    f"{_where(asked)} waits for the activity {name!r}, "
                    "which no worker asks for with get_activity_task; asked for are: "
                    f"{_list(polled)}{_near(name, polled)}"
                )
    return ""


def unanswered(executions: Iterable[Execution]) -> Iterator[Waiting]:
    """Yield what a state waits for by its token, without a timeout, and nobody has brought back."""
    for execution in executions:
        for pending in execution.pending.values():
            if not pending.work.callback and pending.work.kind != "activity":
                continue
            if pending.deadline_ms is None and pending.heartbeat_ms is None:
                yield (
                    (str(pending.branch.state), execution.machine),
                    f"state {pending.branch.state!r} of execution {execution.name!r} "
                    f"({execution.machine}) waits for its token, and nobody has brought it back; "
                    "it has no TimeoutSeconds, so it waits for a year",
                )


def _where(asked: Asked) -> str:
    return f"state {asked.state!r} of {asked.execution.machine!r}"


def _list(names: Collection[str]) -> str:
    return listed(sorted(names)) or "none"


def _near(name: str, known: Collection[str]) -> str:
    near = meant(name, known)
    return f".{near}" if near else ""
