"""One work unit: a schedule there, what its run showed back. It may be lost, repeated or stolen.

A unit is a pure function of the brief and the schedule, so it does not matter who does it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from chaosharness.counterexample import items_for, plain_items, types_of
from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.handlers.streams import standing_in, stream
from chaosharness.schedule import Schedule
from chaosharness.search.claims import chosen
from chaosharness.search.seen import Examiner, Seen
from chaosharness.search.target import load_target, target_of
from chaosharness.search.workers.messages import Answer, Brief, Faults
from chaosharness.search.workers.wire import Wire


class Printed:
    """Takes what the code under test prints and logs, from its import on: loggers keep a stream."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.output = stream(self._parts.append, sys.stdout, "<stdout>")
        self.error = stream(self._parts.append, sys.stderr, "<stderr>")

    def taken(self) -> str:
        """Return what has come since the last time."""
        text = b"".join(self._parts).decode("utf-8", "backslashreplace")
        self._parts.clear()
        return text


_PRINTED: Final = Printed()


@contextmanager
def printing() -> Iterator[None]:
    """Have what the code under test prints go with an answer, and not to who listens there."""
    with standing_in(_PRINTED.output, _PRINTED.error):
        yield


def ready(brief: Brief) -> tuple[Examiner, Wire]:
    """Load what a brief names, and make the calm run.

    Raises:
        ChaosharnessError: The target is not there, or its calm run is another one here.
    """
    with printing():
        system = load_target(brief.target)
    items = items_for(system, brief.items, brief.types)
    claims = chosen(system, None)
    if brief.claims is not None:
        known = {one.name: one for one in claims}
        claims = tuple(known[name] for name in brief.claims)
    examiner = Examiner(system, claims, items, brief.marks)
    with printing():
        calm = system.run(items)
    examiner.calm = calm
    if brief.calm not in ("", calm.digest()):
        raise OtherCalm(
            f"the calm run of {brief.target} is another one in another process: its history is "
            f"{brief.calm} where the search goes on, and {calm.digest()} there"
        )
    return examiner, Wire(calm)


class OtherCalm(ChaosharnessError):
    """The calm run is another one in another process."""


def do(examiner: Examiner, wire: Wire, batch: int, place: int, faults: Any) -> Answer:
    """Do one unit. What goes wrong is an answer too: who asked tries it himself, and then knows."""
    try:
        with printing():
            run = examiner.system.run(examiner.items, Schedule.from_json(faults))
            seen = examiner.look(run)
        if seen.differs is not None:
            raise seen.differs
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Answer(batch, place, error=f"{type(error).__name__}: {error}")
    return Answer(batch, place, marks=wire.pack(seen), printed=_PRINTED.taken())


def brief_for(examiner: Examiner, target: str, *, who: str) -> Brief:
    """Say what another process must know to do units of a search.

    Args:
        examiner: Of this search, after the calm run.
        target: Where the system is found.
        who: Who asks, for the error.

    Raises:
        InvalidDefinition: It cannot be told in plain values; the message says what is in the way.
    """
    system, calm = examiner.system, examiner.calm
    assert calm is not None
    target = target or target_of(system)
    if not target:
        raise InvalidDefinition(
            f"{who} needs to know where the system {system.name!r} is found, since other processes "
            "load it anew: make it a global of a module, or say target='module:attribute'"
        )
    claims = None
    if tuple(examiner.properties) != tuple(system.properties) and system.properties:
        strange = [one.name for one in examiner.properties if one not in system.properties]
        if strange:
            raise InvalidDefinition(
                f"{who} judges by what {system.name!r} claims itself, since other processes load "
                f"it anew; {strange[0]!r} is not among that: put it into {system.name}.claim(...)"
            )
        claims = tuple(one.name for one in examiner.properties)
    return Brief(
        target=target,
        claims=claims,
        items=plain_items(examiner.items),
        types=types_of(system, examiner.items),
        marks=examiner.marks,
        calm=calm.digest(),
    )


def units_of(schedules: Iterable[Schedule]) -> list[tuple[int, Faults]]:
    """Number the schedules of a batch, and spell them as plain values."""
    return [(place, one.to_json()) for place, one in enumerate(schedules)]


def seen_of(answer: Answer, schedule: Schedule, examiner: Examiner, wire: Wire) -> Seen:
    """Return what an answer says; what could not be run there is run here.

    Raises:
        ChaosharnessError: Whatever was wrong there, said by this process; or that nothing is
            wrong here.
    """
    if not answer.error:
        if answer.printed:
            sys.stdout.write(answer.printed)
        return wire.unpack(answer.marks, schedule)
    seen = examiner.see(schedule)
    if seen.differs is None:
        raise ChaosharnessError(
            f"{schedule!r} could be run here, and not in another process, where it ended with "
            f"{answer.error}"
        )
    return seen
