"""Two handlers that use one connection to a database at the same time."""

from __future__ import annotations

from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, Work, table


def one_connection(case: Case) -> Cause | None:
    """Find a write that somebody else's rollback undid: two at work in one transaction.

    The code that wrote goes on to its end, and has nothing left to commit.
    """
    rollbacks = list(case.history.of("rollback"))
    if not rollbacks:
        return None
    for work in case.works.values():
        ends = work.of("handled")
        if not ends or work.of("rollback", "raised"):
            continue
        for write in case.wrote(work, lasting=False):
            undone = _undone_by(write, ends[-1], work, rollbacks)
            if undone is not None and case.came_out_otherwise(write):
                return Cause("connection", _words(case, write, undone))
    return None


def _undone_by(write: Event, end: Event, work: Work, rollbacks: list[Event]) -> Event | None:
    commits = [one.index for one in work.of("commit") if one.index > write.index]
    until = min([end.index, *commits])
    mine = {event.index for event in work.events}
    return next(
        (
            one
            for one in rollbacks
            if write.index < one.index < until
            and one.index not in mine
            and (one.actor, one.data.get("store")) == (write.actor, write.data.get("store"))
            and "why" not in one.data  # somebody asked for it
        ),
        None,
    )


def _words(case: Case, write: Event, undone: Event) -> str:
    first, second = case.place(write), case.place(undone)
    store = write.data.get("store")
    return (
        f"{first} and {second} use one connection to {store} at the same time, and so one "
        f"transaction: what {first} had written to {table(write)} was undone by the rollback of "
        f"{second}, and {first} had nothing left to commit."
    )
