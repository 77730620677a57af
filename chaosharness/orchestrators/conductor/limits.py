"""Tasks that are not handed out yet, and which domain's workers get one.

*Source*: conductor-oss/conductor, `service/ExecutionService.java` (`poll`),
`AsyncSystemTaskExecutor.java`; `PostgresExecutionDAO.java` (`exceedsLimit`),
`RedisRateLimitingDAO.java`; `WorkflowExecutorOps.java` (`setTaskDomains`, `getActiveDomain`),
`ConductorProperties.java` (rules C20, C21).
*Not modelled*: newer servers on PostgreSQL, which hand a postponed task out as soon as another has
ended, and all on PostgreSQL, which know no rate limits. On Redis, that what goes out in one
millisecond counts as one: here many things happen in one.
"""

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from chaosharness.orchestrators.conductor.records import IN_PROGRESS, Task
from chaosharness.orchestrators.conductor.store import Store

__all__ = ["ACTIVE_MS", "NO_DOMAIN", "POSTPONED_MS", "Limits", "domain_of"]

POSTPONED_MS: Final = 60_000
"""When a task that was over a limit is there again: `taskExecutionPostponeDuration`."""
ACTIVE_MS: Final = 10_000
"""For how long a worker is there after its last poll: `activeWorkerLastPollTimeout`."""
NO_DOMAIN: Final = "NO_DOMAIN"


@attrs.define
class Limits:
    """What was handed out lately, by task name, where a rate is limited."""

    windows: dict[str, list[int]] = attrs.field(factory=dict)

    def exceeded(self, store: Store, task: Task, now: int) -> bool:
        """Say whether a task is over a limit of its definition; one that is not counts from now on.

        As many are in progress as may be; or others have waited for longer. A task that was given
        up counts no more, even if its worker goes on (C5).
        """
        found = task.step.task_def
        if found is None:
            return False
        if found.at_once:
            there = [
                one for one in store.tasks.values()
                if one.step.name == task.step.name and not one.terminal
            ]  # fmt: skip
            if sum(one.status == IN_PROGRESS for one in there) >= found.at_once:
                return True
            if all(one.id != task.id for one in there[: found.at_once]):
                return True
        if found.in_window and found.window_s:
            since = now - found.window_s * 1000
            lately = [at for at in self.windows.get(task.step.name, ()) if at > since]
            self.windows[task.step.name] = lately
            if len(lately) >= found.in_window:
                return True
            lately.append(now)
        return False


def domain_of(kind: str, domains: Mapping[str, str], polled: Callable[[str], bool]) -> str | None:
    """Return the domain of a task: the first of those asked for that somebody polls, or the last.

    Args:
        kind: The name that workers poll.
        domains: taskToDomain: by task, or for all (`*`), domains with commas between.
        polled: Whether anybody has polled a queue lately.
    """
    asked = domains.get(kind) or domains.get("*") or ""
    names = [name.strip() for name in asked.split(",")] if asked.strip() else []
    for name in names:
        if name.upper() != NO_DOMAIN and polled(f"{name}:{kind}"):
            return name
    return None if not names or names[-1].upper() == NO_DOMAIN else names[-1]
