"""One run, over: what happened, and how it is judged."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Final, Protocol

import attrs

from chaosharness.checkers import Evidence, Property, assumed
from chaosharness.checkers.breach import breaches
from chaosharness.checkers.outcomes.plan import Family
from chaosharness.checkers.progress import waiting_in
from chaosharness.checkers.proof import unproved, works
from chaosharness.checkers.property import check_properties
from chaosharness.errors import NothingProved
from chaosharness.faults import Fault
from chaosharness.handlers.logged import Logged
from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History
from chaosharness.kernel.lines import Line
from chaosharness.kernel.site import Site, attempts_at
from chaosharness.kernel.world import Budget, Ending
from chaosharness.schedule import Schedule, struck_of
from chaosharness.system.given import wired_at
from chaosharness.system.missed import missed


@attrs.frozen
class Again:
    """What a run shows that its history does not: it is made once more for it.

    Attributes:
        lines: The line of the user's code that each event was asked for at, by its index.
        logged: What the user's code logged and printed, the oldest line first.
    """

    lines: Mapping[int, Line] = attrs.field(factory=dict)
    logged: tuple[Logged, ...] = ()


class Examined(Protocol):
    """What a run says of the system that ran, and asks of it."""

    name: str
    budget: Budget
    examples: tuple[Any, ...]
    properties: list[Any]

    def given(self) -> Iterator[Callable[..., Any]]:
        """Yield the functions that the user gave it."""

    def calm(self, items: Sequence[Any] | None = None) -> Run:
        """Run the workload without any fault, or remember that it was."""

    def family(self, items: Sequence[Any] | None = None) -> Family:
        """Return the clean runs of the workload."""

    def run(
        self,
        items: Sequence[Any] | None = None,
        schedule: Schedule | None = None,
        *,
        budget: Budget | None = None,
    ) -> Run:
        """Run the workload under some faults."""

    def profiles(self) -> tuple[str, ...]:
        """Return whose defaults its brokers go by, where a client is named, in words."""

    def lines(self, run: Run) -> Mapping[int, Line]:
        """Return the line of the user's code that each event was asked for at."""

    def seen_again(self, run: Run) -> Again:
        """Return what a run shows that its history does not."""


@attrs.frozen(eq=False)
class Run:
    """One execution of a system, over.

    Attributes:
        system: The system that ran.
        items: The workload.
        schedule: The faults that were armed.
        history: What happened.
        ending: How it ended.
        unused: Faults that found no site.
        surfaces: Which faults may strike at each operation that was reached.
        attempts: How often each `(operation, entity, message)` was reached before the calm, in
            the order in which the run got there: attempts 1 to that many are its sites. The
            name of the message in hand is its whole one; empty where there was none.
        durations: The periods, timeouts, leases and gaps that the system has shown, in ms,
            ascending.
        long_ms: How long `long` lasts.
        event_histories: What orchestrators recorded, as JSON that their own tools read, by
            the name of the workflow or execution.
        spoken: Client libraries that an adapter has met, and the operations that each passed.
        unspoken: Those that a part of the system meets and the user's code holds, and which passed
            none.
        lacked: What they asked for at run time, and the system has not: topics of a broker.
        reads_clock: Whether code asked what time it is.
    """

    system: Examined
    items: tuple[Any, ...]
    schedule: Schedule
    history: History
    ending: Ending
    unused: tuple[Fault, ...]
    surfaces: Mapping[str, Surface] = attrs.field(repr=False)
    attempts: Mapping[tuple[str, int, str], int] = attrs.field(repr=False)
    durations: tuple[int, ...] = attrs.field(default=(), repr=False)
    long_ms: int = attrs.field(default=0, repr=False)
    event_histories: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    spoken: Mapping[str, frozenset[str]] = attrs.field(factory=dict, repr=False)
    unspoken: tuple[str, ...] = attrs.field(default=(), repr=False)
    lacked: tuple[str, ...] = attrs.field(default=(), repr=False)
    reads_clock: bool = attrs.field(default=False, repr=False)

    @cached_property
    def struck(self) -> tuple[Fault, ...]:
        """The faults that found their site."""
        return struck_of(self.schedule, self.unused)

    @cached_property
    def reached(self) -> Mapping[tuple[str, int], int]:
        """How often each `(operation, entity)` was reached before the calm, by any message."""
        found: dict[tuple[str, int], int] = {}
        for (operation, entity, _), times in self.attempts.items():
            found[operation, entity] = found.get((operation, entity), 0) + times
        return found

    @cached_property
    def _meant(self) -> dict[tuple[str, int, str], int]:
        """How often the message of a site was in hand, by operation, entity and its words."""
        found: dict[tuple[str, int, str], int] = {}
        for (operation, entity, _), times in self.attempts.items():
            found.setdefault((operation, entity, ""), times)  # the first to get there
        return found

    def reaches(self, site: Site) -> bool:
        """Say whether it got to a site."""
        key = (site.operation, site.entity, site.message)
        times = self._meant.get(key)
        if times is None:
            times = self._meant[key] = attempts_at(self.attempts, site)
        return site.attempt <= times

    def evidence(self) -> Evidence:
        """Return what properties are judged by."""
        return Evidence(self.history, self.items, self.calm, self.struck, family=self.family)

    def family(self) -> Family:
        """Return the clean runs of the same workload."""
        return self.system.family(self.items)

    def calm(self) -> History:
        """Return the history of the same workload without any fault."""
        if not self.schedule.faults:
            return self.history
        return self.system.calm(self.items).history

    def check(self, *properties: Property) -> None:
        """Judge the run; raise for the heaviest thing that it breaks.

        Without arguments it judges what the system claims or, where it claims nothing, what
        can be assumed of any system.

        Raises:
            PropertyViolated: A subclass of its own for each property, and for each kind and
                place of its findings. What somebody claimed goes before what is assumed,
                and then the worst harm goes first.
            NothingProved: Nothing was put to the test, by this workload or by the examples of
                the entry; or the schedule, written by hand, has faults, and none found its site.

        Where some of its faults found their sites, a warning names the others; without faults,
        another one names who is waited for and does not come.
        """
        __tracebackhide__ = True
        given = check_properties(properties)
        claims = given or tuple(self.system.properties) or assumed(self.system)
        evidence = self.evidence()
        for one in breaches(claims, evidence):
            violation = one.violation()
            violation.run = self
            raise violation
        if not evidence.faults and (reason := self._nothing_proved()):
            raise NothingProved(f"{self.system.name}: {reason}{wired_at(self.system.given())}")
        for words in () if evidence.faults or self.schedule.drawn else waiting_in(self.history):
            warnings.warn(f"{self.system.name}: {words}", stacklevel=2)
        if self.unused and not self.schedule.drawn:
            words = missed(self)
            if not evidence.faults:
                raise NothingProved(words)
            warnings.warn(words, stacklevel=2)

    def _nothing_proved(self) -> str:
        """Say why this run put nothing to the test; nothing if it did.

        One item may be meant to be refused. Where the examples of the entry get further, it is.
        No item at all may be what Hypothesis drew; a system without any works of itself, or not.
        """
        if not self.items and (self.system.examples or works(self.history)):
            return ""
        reason = unproved(self.history, self.items)
        if not reason or not self.system.examples:
            return reason
        calm = self.system.calm()
        return reason if unproved(calm.history, calm.items) else ""

    def digest(self) -> str:
        """Return 16 hexadecimal digits that differ when any event differs."""
        return self.history.digest()


OBSERVERS: Final[ContextVar[tuple[Callable[[Run], None], ...]]] = ContextVar(
    "chaosharness.observers", default=()
)
"""Who is told of each run that is over: a search that learns from the runs of a test."""
