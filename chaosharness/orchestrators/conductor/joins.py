"""JOIN: over when all that it waits for is over, failed as soon as one of them has failed.

*Source*: conductor-oss/conductor, `core/execution/tasks/Join.java` (rule C14).
*Not modelled*: joins of agents.
"""

from typing import Final

from chaosharness.orchestrators.conductor.records import (
    CANCELED,
    COMPLETED,
    FAILED,
    WITH_ERRORS,
    Task,
    Workflow,
)

__all__ = ["join", "join_poll_ms"]

POLL_MS: Final = 50
EAGER_MS: Final = 10_000
"""How long a join is looked at again and again: 200 looks, one each 50 ms."""
LATEST_S: Final = 30


def join(workflow: Workflow, task: Task) -> bool:
    """End a join if it can end; say whether it has."""
    refs = [str(ref) for ref in task.input.get("joinOn", ())]
    if task.in_loop:
        refs = [f"{ref}__{task.iteration}" for ref in refs]
    waited = {ref: workflow.task(ref) for ref in refs}
    there = [one for one in waited.values() if one is not None]
    over = len(there) == len(waited) and all(one.terminal for one in there)
    output = dict(task.output)
    for ref, one in waited.items():
        if one is None:
            continue
        if one.output:
            output[ref] = one.output
        allowed = one.step.optional or (one.step.permissive and not over)
        if not one.successful and not allowed:
            return _fail(task, there)
    if not over:
        return False
    task.output = output
    faulty = [one for one in there if one.step.optional and one.status == WITH_ERRORS]
    task.status = WITH_ERRORS if faulty else COMPLETED
    if faulty:
        named = " ".join(f"{one.step.name}/{one.id}" for one in faulty)
        task.reason = f"{named} completed with errors"
    return True


def _fail(task: Task, there: list[Task]) -> bool:
    failed = [one for one in there if not one.successful]
    task.reason = " ".join(one.reason for one in failed if one.reason)
    genuine = any(one.status != CANCELED for one in failed if not one.step.optional)
    task.status = FAILED if genuine else CANCELED
    return True


def join_poll_ms(made_ms: int, now: int) -> int:
    """Return when a join is looked at next: often at first, then less and less (C14)."""
    at = made_ms
    if now <= made_ms + EAGER_MS:
        return at + -(-(now - at) // POLL_MS) * POLL_MS
    at, looks = made_ms + EAGER_MS, 0
    while at < now:
        looks += 1
        wait_s = int(1.2**looks)
        if wait_s >= LATEST_S:  # as far apart from here on: a join may wait for months
            return at + -(-(now - at) // (LATEST_S * 1000)) * LATEST_S * 1000
        at += max(wait_s * 1000, POLL_MS)
    return at
