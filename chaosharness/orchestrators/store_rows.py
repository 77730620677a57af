"""What a store can do to each engine, as rows: the surfaces of the engines and the page read them.

Each of `TROUBLES` is, for each of `ENGINES`, something that may strike (`StoreRow`), or something
that cannot be there (`Never`), with where that was read. `tests/orchestrators/store/` runs the one
and is refused the other.

*Not modelled*: bits that rot, and whatever else no report could be believed of.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from chaosharness.faults import (
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    FailedCommit,
    Fault,
    LostReply,
    LostRequest,
    LostWrites,
    Pause,
    Redeliver,
    StoreOutage,
)
from chaosharness.handlers.port import Kinds, Surface, surface
from chaosharness.kernel.site import Phase

__all__ = ["ENGINES", "NEVER", "ROWS", "TROUBLES", "Never", "StoreRow", "store_surface", "table"]

ENGINES: Final = ("saga", "temporal", "step functions", "conductor", "airflow")

AWAY: Final = "is away"
FAILS: Final = "fails once"
UNTOLD: Final = "has written, and nobody is told"
UNSYNCED: Final = "loses what was not synced"
TORN: Final = "writes one thing without the next"
NEWER: Final = "has a newer version"
FENCED: Final = "refuses a writer of before"
OLD: Final = "answers from an old copy"
TROUBLES: Final = (AWAY, FAILS, UNTOLD, UNSYNCED, TORN, NEWER, FENCED, OLD)


@attrs.frozen
class StoreRow:
    """One fault by which a store's trouble is seen in an engine.

    Attributes:
        engine: One of `ENGINES`.
        trouble: One of `TROUBLES`.
        at: The end of the operation's name; `call` is any call of a client of the engine.
        phase: Before the operation takes effect, or after.
        fault: What strikes.
        means: What comes of it.
        source: The rule of `docs/explanation/orchestrators.md`.
        searched: Whether a search tries it. The rest strike when written by hand, but each is the
            same as another that is tried, or changes nothing.
    """

    engine: str
    trouble: str
    at: str
    phase: Phase
    fault: type[Fault]
    means: str
    source: str
    searched: bool = True


@attrs.frozen
class Never:
    """What the store of an engine cannot do, and why.

    Attributes:
        engine: One of `ENGINES`.
        trouble: One of `TROUBLES`.
        fault: What is refused.
        at: Where it would be seen: the ends of the operations' names.
        why: What the engine does instead.
        source: The rule.
    """

    engine: str
    trouble: str
    fault: type[Fault]
    at: tuple[str, ...]
    why: str
    source: str


_CALL_AWAY: Final = "a client is refused, and has to ask again"
_CALL_LOST: Final = "a client sees a timeout of what was done"
_WRITES: Final = {
    "create workflow": "a workflow without tasks: the sweeper begins it, within 30 s",
    "create tasks": "a task that is in no queue: the sweeper puts it there",
    "queue tasks": "what is decided besides is decided by the sweeper",
    "save tasks": "a decision half written: the sweeper goes on from it",
    "save workflow": "the same",
    "hand out": "a message that was taken, and a task that is in progress with nobody",
    "save result": "a result that nothing was decided from: the sweeper does",
    "end workflow": "its failureWorkflow never begins, or it runs for ever",
}

ROWS: Final[tuple[StoreRow, ...]] = (
    # ---- away
    StoreRow("saga", AWAY, "commit", "before", StoreOutage,
             "the message comes back; sagas go on where their journal stands", "N1, N2"),
    StoreRow("temporal", AWAY, "store decision", "before", StoreOutage,
             "what is reported within 10 s is kept, the rest is lost and tried again; timers are "
             "late, all at once", "T17, T25, T26"),
    StoreRow("temporal", AWAY, "report", "before", LostRequest,
             "the result is lost, and the attempt times out", "T13, T17"),
    StoreRow("temporal", AWAY, "call", "before", ErrorReply, _CALL_AWAY, "T27"),
    StoreRow("step functions", AWAY, "call", "before", ErrorReply, _CALL_AWAY, "S12"),
    StoreRow("conductor", AWAY, "report", "before", StoreOutage,
             "nothing is handed out or decided; a result is sent four times within 60 s, then lost",
             "C3, C13, C17"),
    StoreRow("conductor", AWAY, "report", "before", LostRequest,
             "it is sent again, after 10 s", "C17"),
    StoreRow("conductor", AWAY, "call", "before", ErrorReply, _CALL_AWAY, "C16"),
    StoreRow("airflow", AWAY, "queue", "before", StoreOutage,
             "nothing is scheduled; a task that cannot report or beat for long is killed, and its "
             "try has failed", "A3, A9"),
    StoreRow("airflow", AWAY, "report", "before", LostRequest,
             "five tries, then nobody hears of the task", "A3, A9"),
    StoreRow("airflow", AWAY, "call", "before", ErrorReply, _CALL_AWAY, "A2"),
    # ---- one write fails
    StoreRow("saga", FAILS, "commit", "before", FailedCommit,
             "`rolled-back`: the message comes again", "N13"),
    StoreRow("conductor", FAILS, "create tasks", "before", FailedCommit,
             "the workflow ends as FAILED, and its failureWorkflow begins; with "
             "`store_may_fail=True`", "C11"),
    # ---- written, and nobody is told
    StoreRow("saga", UNTOLD, "commit", "before", FailedCommit,
             "`committed`: the message comes again, and finds its saga", "N12, N13"),
    StoreRow("temporal", UNTOLD, "store decision", "after", LostReply,
             "it is told again: the run goes on", "T4, T27", searched=False),
    StoreRow("temporal", UNTOLD, "report", "after", LostReply,
             "it is reported again, and refused: the first one counts", "T14", searched=False),
    StoreRow("temporal", UNTOLD, "call", "after", LostReply, _CALL_LOST, "T21, T27"),
    StoreRow("step functions", UNTOLD, "call", "after", LostReply, _CALL_LOST, "S1, S8"),
    StoreRow("conductor", UNTOLD, "poll", "after", LostReply,
             "a task is in progress with nobody, until its response timeout", "C3"),
    StoreRow("conductor", UNTOLD, "report", "after", LostReply,
             "it is sent again: all is well", "C5, C17"),
    StoreRow("conductor", UNTOLD, "call", "after", LostReply, _CALL_LOST, "C16"),
    StoreRow("airflow", UNTOLD, "report", "after", LostReply,
             "it is sent again: the API says that it knows", "A2", searched=False),
    StoreRow("airflow", UNTOLD, "call", "after", LostReply, _CALL_LOST, "A2"),
    # ---- not synced
    StoreRow("saga", UNSYNCED, "commit", "after", LostWrites,
             "`SagaStore(synced=False)`: the journal forgets what it had asked for", "N1"),
    StoreRow("step functions", UNSYNCED, "run", "before", Duplicate,
             "Express alone keeps nothing: it runs again, from its beginning", "S1"),
    # ---- one write without the next
    StoreRow("saga", TORN, "insert saga_journal", "after", Crash,
             "all of the transaction is undone, the outbox too", "N13", searched=False),
    StoreRow("temporal", TORN, "store decision", "before", Crash,
             "nothing of it is written; it is decided again", "T5, T26"),
    StoreRow("temporal", TORN, "store decision", "after", Crash, "all of it is written", "T5, T26"),
    *(StoreRow("conductor", TORN, at, "after", Crash, means, "C9, C11, C15")
      for at, means in _WRITES.items()),
    StoreRow("airflow", TORN, "queue", "before", Crash,
             "`queued` in the database, and no executor has it: reset, one try less", "A5"),
    StoreRow("airflow", TORN, "queue", "after", Crash,
             "the executor has it: the next scheduler adopts it", "A5"),
    StoreRow("airflow", TORN, "push", "after", Crash,
             "an XCom of a try that failed", "A6"),
    # ---- somebody else was first
    StoreRow("saga", NEWER, "deliver to orchestrator", "after", Redeliver,
             "a saga that is started again under its id is the one that there is", "N12"),
    StoreRow("temporal", NEWER, "store decision", "before", Pause,
             "a signal that came meanwhile: an end is refused, and decided anew", "T2"),
    StoreRow("step functions", NEWER, "call", "after", LostReply,
             "a token that comes back twice: the second is refused", "S8"),
    StoreRow("conductor", NEWER, "report", "before", Pause,
             "another attempt has ended the task: the first result counts", "C5, C6",
             searched=False),
    StoreRow("airflow", NEWER, "queue", "before", Delay,
             "it was queued anew meanwhile: of two messages one begins, the other is refused",
             "A2, A5"),
    # ---- a writer of before
    StoreRow("saga", FENCED, "commit", "after", Pause,
             "another orchestrator has the lease: `Fenced`", "N2"),
    StoreRow("temporal", FENCED, "store decision", "before", Pause,
             "the task has timed out: `NOT_FOUND`, and the worker reads again", "T4"),
    StoreRow("step functions", FENCED, "handle", "before", Pause,
             "the state has timed out: a late answer is dropped", "S3", searched=False),
    StoreRow("airflow", FENCED, "handle", "before", Pause,
             "the next try runs: what the one before sends is refused", "A2, A3", searched=False),
    # ---- an old copy
    StoreRow("temporal", OLD, "visibility", "before", Delay,
             "lists and counts do not know yet", "T33"),
    StoreRow("step functions", OLD, "describe", "before", Delay,
             "an execution that is not there yet, or runs still", "S12"),
    StoreRow("conductor", OLD, "search", "before", Delay,
             "a workflow that is not there yet, or runs still", "C19"),
)  # fmt: skip

NEVER: Final[tuple[Never, ...]] = (
    Never("temporal", FAILS, FailedCommit, ("store decision", "report"),
          "the caller is told `Unavailable`: as where the store is away", "T27"),
    Never("step functions", FAILS, FailedCommit, ("charge", "describe"),
          "a managed store: a call is refused, as where it is away", "S12"),
    Never("airflow", FAILS, FailedCommit, ("queue", "push", "report"),
          "the API answers 5xx: as where it is away", "A9"),
    Never("temporal", UNSYNCED, LostWrites, ("store decision", "report"),
          "what is answered is written", "T26"),
    Never("conductor", UNSYNCED, LostWrites, ("create workflow", "save tasks", "report"),
          "PostgreSQL answers when it has synced", "C3"),
    Never("airflow", UNSYNCED, LostWrites, ("queue", "push", "report"),
          "PostgreSQL answers when it has synced", "A2"),
    Never("step functions", TORN, Crash, ("charge", "describe"),
          "it stands between states, and nowhere else", "S1"),
    Never("conductor", FENCED, ErrorReply, ("report",),
          "a worker of before is told that all is well, and goes on", "C5"),
    Never("saga", OLD, Delay, ("select saga_executions", "select saga_journal"),
          "it reads what it writes", "N2"),
    Never("airflow", OLD, Delay, ("push", "report"), "the API reads the database", "A2"),
)  # fmt: skip


def _at(engine: str, at: str, phase: Phase, *, searched: bool) -> Iterator[type[Fault]]:
    for row in ROWS:
        if (row.engine, row.at, row.phase) == (engine, at, phase) and row.searched == searched:
            yield row.fault


def store_surface(
    engine: str,
    at: str,
    *,
    before: Kinds = (),
    after: Kinds = (),
    also_before: Kinds = (),
    also_after: Kinds = (),
) -> Surface:
    """Return what may strike at an operation of an engine: by the rows, and whatever else may.

    Args:
        engine: One of `ENGINES`.
        at: The end of the operation's name, as in the rows.
        before: What may strike before it, and is none of the store's.
        after: Likewise, after it.
        also_before: Legal as well, and not searched.
        also_after: Likewise, after it.
    """

    def both(own: Kinds, phase: Phase, *, searched: bool) -> Kinds:
        return tuple(dict.fromkeys((*own, *_at(engine, at, phase, searched=searched))))

    first, last = both(before, "before", searched=True), both(after, "after", searched=True)
    rest, end = (
        both(also_before, "before", searched=False),
        both(also_after, "after", searched=False),
    )
    return surface(
        before=first,
        after=last,
        also_before=tuple(one for one in rest if one not in first),
        also_after=tuple(one for one in end if one not in last),
    )


def table() -> str:
    """Return all of it as a Markdown table: by trouble and engine, what strikes where."""
    lines = ["| the store | engine | at | fault | what comes of it | rules |", "|" + "---|" * 6]
    for trouble in TROUBLES:
        for engine in ENGINES:
            for row in ROWS:
                if (row.trouble, row.engine) == (trouble, engine):
                    mark = "" if row.searched else " (by hand)"
                    fault = f"{row.phase}: {row.fault.__name__}{mark}"
                    words = (trouble, engine, row.at, fault, row.means, row.source)
                    lines.append(f"| {' | '.join(words)} |")
            for no in NEVER:
                if (no.trouble, no.engine) == (trouble, engine):
                    lines.append(
                        f"| {trouble} | {engine} | – | never: {no.fault.__name__} | {no.why} "
                        f"| {no.source} |"
                    )
    return "\n".join(lines) + "\n"
