"""What was not committed, and nobody minded."""

from __future__ import annotations

from typing import Any

from chaosharness.kernel.history import Event, History
from chaosharness.reporting.story.causes.case import Case, Cause, table
from chaosharness.reporting.story.legible import listed


def minded_no_failed_commit(case: Case) -> Cause | None:
    """Find code whose commit failed, and which returned as if it had not."""
    if case.excess or case.repeated or case.passing is None:
        return None
    for commit in case.history.of("commit"):
        if "error" not in commit.data or not case.concerns(commit.entity):
            continue
        handed = case.handed(commit)
        if handed is None or not _went_on(case, commit):
            continue
        lost = {
            table(write)
            for write in case.wrote(case.work(commit), lasting=False)
            if write.data.get("store") == commit.data.get("store") and write.index < commit.index
        }
        if _kept_after(case, commit, lost) or not _missed(case, case.passing, lost):
            continue
        words = (
            f"{case.place(commit)} was told that its commit had failed (what it wrote to "
            f"{listed(sorted(lost))} was rolled back), did not raise, and returned: the message is "
            f"done with, and nobody writes that again."
        )
        return Cause("swallowed", words)
    return None


def _went_on(case: Case, commit: Event) -> bool:
    """Say whether the code behind a commit that failed came to its end as if it had not."""
    after = [event for event in case.work(commit).events if event.index > commit.index]
    kinds = {event.kind for event in after if event.actor == commit.actor}
    return "handled" in kinds and not kinds & {"raised", "crash"}


def _missed(case: Case, passing: History, lost: set[str]) -> bool:
    """Say whether one of these tables holds something else at the end than in the other run."""
    here, there = _tables(case.history), _tables(passing)
    return any(here.get(name) != there.get(name) for name in lost)


def _tables(history: History) -> dict[str, Any]:
    """Return what tables hold at the end."""
    return {
        f"{event.actor}.{name}": rows
        for event in history.of("state")
        for name, rows in event.data.get("tables", {}).items()
    }


def _kept_after(case: Case, commit: Event, lost: set[str]) -> bool:
    """Say whether somebody wrote to these tables later, for the same item, and it lasted."""
    return any(
        write.index > commit.index and write.entity == commit.entity and table(write) in lost
        for write in case.history.of("write")
        if write.index in case.lasting
    )
