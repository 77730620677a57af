"""Clean runs: runs of one workload without infrastructure faults, each made by a plan.

A checker never runs a system. It asks the evidence for the run of a plan, and the system
that ran makes it, under the same rules as the calm run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, Literal

import attrs

from chaosharness.checkers.reading import verdict_of
from chaosharness.errors import IllegalFault, InvalidDefinition, Nondeterminism, RealIO
from chaosharness.faults import Delay, Fault, LostReply
from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History, encode
from chaosharness.kernel.message_names import EVERY
from chaosharness.kernel.site import Site
from chaosharness.kernel.world import Lasting

SLOW_MS: Final = 2_000
"""How late a slow consumer is: later than others are done, and sooner than most time-outs."""

FOR_GOOD: Final = 40
"""Attempts that a refusal for good refuses; then the calm begins, and all is well again."""

HOPS: Final = 8
"""Messages in a row that one such attempt may take: a retry that goes by a queue of its own."""

LATE_MS: Final = 3_600_000
"""How much later than its turn an item comes that is late, at least."""


@attrs.frozen
class Refusal:
    """An operation that is refused for good to one item: no business of infrastructure.

    Attributes:
        operation: The operation of the site.
        entity: The item, from 1; 0 for work that is nobody's.
        first: The first attempt that is refused, from 1, at each message of the item.
        kind: How: `ErrorReply`, `LostRequest` and `FailedCommit` (it never happens), or
            `LostReply` (it happens, and nobody ever hears so); `Delay`, of a client's request,
            comes late once.
        lasting: How late.
    """

    operation: str
    entity: int
    first: int
    kind: type[Fault]
    lasting: Lasting = "timeout"

    @lru_cache(maxsize=64)  # noqa: B019 - a value, and most are asked for again in a pair
    def faults(self) -> tuple[Fault, ...]:
        """Return the faults by which it is refused."""
        if self.kind is Delay:
            site = Site(self.operation, "before", self.entity, self.first)
            return (Delay(site, lasting=self.lasting),)
        phase: Literal["before", "after"] = "after" if self.kind is LostReply else "before"
        return tuple(
            self.kind(Site(self.operation, phase, self.entity, attempt, message=EVERY))
            for attempt in range(self.first, self.first + FOR_GOOD)
        )


@attrs.frozen
class Plan:
    """How a clean run differs from the calm one. Empty is the calm run.

    Attributes:
        order: The items in their order of arrival, from 1; by default as they are given.
        absent: Items that never enter. The others keep their numbers and their places.
        late: Items that enter long after their turn.
        late_ms: How long after it.
        gap_ms: Between two items; the system's own by default.
        start_ms: When the first item enters.
        clock_ms: How much later than usual all clocks are; below 0 for earlier.
        tick_ms: By how much each reading of a clock moves it.
        salt: What is mixed into chance.
        restart: When every service is restarted: never, `before` the first item, or
            `between` any two.
        latency: What the latencies of third parties are multiplied by.
        refused: What is refused for good.
        slow: Deliveries that come late, each time: `(operation, item)`.
        first_offset: Where logs begin: what was there before is gone, and was handled.
        first_number: How many numbers databases have dealt out before.
        before: Whether all that has a version before is deployed in that one, to the end.
        again: Whether it is the same run once more, to see that it is the same.
        events_max: After how many events it is called off, to see how things stood then; 0 for
            never.
    """

    order: tuple[int, ...] = ()
    absent: frozenset[int] = frozenset()
    late: frozenset[int] = frozenset()
    late_ms: int = LATE_MS
    gap_ms: int | None = None
    start_ms: int = 0
    clock_ms: int = 0
    tick_ms: int = 0
    salt: str = ""
    restart: Literal["", "before", "between"] = ""
    latency: int = 1
    refused: tuple[Refusal, ...] = ()
    slow: tuple[tuple[str, int], ...] = ()
    first_offset: int = 0
    first_number: int = 0
    before: bool = False
    again: bool = False
    events_max: int = 0

    def arrivals(self, count: int, gap_ms: int) -> list[tuple[int, int]]:
        """Return when which items enter: `(at_ms, number)`, first to last."""
        gap = gap_ms if self.gap_ms is None else self.gap_ms
        order = self.order or range(1, count + 1)
        found = [
            (self.start_ms + place * gap + (self.late_ms if number in self.late else 0), number)
            for place, number in enumerate(order)
            if number not in self.absent
        ]
        return sorted(found, key=itemgetter(0))  # of the same time, in their order

    def restarts(self, count: int, gap_ms: int) -> list[int]:
        """Return when every service is restarted."""
        gap = gap_ms if self.gap_ms is None else self.gap_ms
        match self.restart:
            case "before":
                return [max(self.start_ms // 2, 1)]
            case "between":
                return [self.start_ms + place * gap + gap // 2 for place in range(count - 1)]
            case _:
                return []

    def faults(self) -> tuple[Fault, ...]:
        """Return the faults by which things are refused for good, and those that come late."""
        late = [
            Delay(Site(operation, "before", entity, attempt, message=EVERY), lasting=SLOW_MS)
            for operation, entity in self.slow
            for attempt in range(1, FOR_GOOD + 1)
        ]
        return (*late, *(fault for refusal in self.refused for fault in refusal.faults()))

    def __str__(self) -> str:
        gone = " and ".join(map(str, sorted(self.absent)))
        refused = " and ".join(dict.fromkeys(one.operation for one in self.refused))
        slow = " and ".join(dict.fromkeys(operation for operation, _ in self.slow))
        words = [
            f"without item {gone}" if gone else "",
            f"with the items in the order {', '.join(map(str, self.order))}" if self.order else "",
            f"with item {' and '.join(map(str, sorted(self.late)))} late" if self.late else "",
            f"with items {self.gap_ms:,} ms apart" if self.gap_ms is not None else "",
            "with other clocks" if self.clock_ms else "",
            f"with clocks that go on by {self.tick_ms} ms when asked" if self.tick_ms else "",
            "with other random numbers" if self.salt else "",
            f"with all services restarted {self.restart} the items" if self.restart else "",
            f"with calls that take {self.latency} times as long" if self.latency != 1 else "",
            f"with {slow} coming late" if slow else "",
            f"with logs that begin at {self.first_offset}" if self.first_offset else "",
            f"with {self.first_number} numbers dealt out before" if self.first_number else "",
            "with the version before of all that has one" if self.before else "",
            f"with {refused} refused for good" if refused else "",
            f"as far as event {self.events_max}" if self.events_max else "",
        ]
        return ", ".join(filter(None, words)) or "as it is given"


AS_GIVEN: Final = Plan()


@attrs.frozen(eq=False)
class CleanRun:
    """One run without infrastructure faults.

    Attributes:
        history: What happened.
        surfaces: Which faults may strike at each operation that was reached.
        reached: How often each `(operation, entity)` was reached.
        reads_clock: Whether the code asked what time it is.
        deals_numbers: Whether a database of the system deals numbers out.
        longest_ms: The longest duration of the system that trouble may outlast.
    """

    history: History
    surfaces: Mapping[str, Surface] = attrs.field(factory=dict, repr=False)
    reached: Mapping[tuple[str, int], int] = attrs.field(factory=dict, repr=False)
    reads_clock: bool = False
    deals_numbers: bool = False
    longest_ms: int = 0


@attrs.define(eq=False)
class Family:
    """The clean runs of one workload, each made when it is first asked for.

    Attributes:
        items: The workload.
        make: Makes the run of a plan.
        known: What checkers worked out about these runs, by who asked.
        made: How many runs were made.
        same: What is known to be the same each time, of all workloads of a system.
        failed: Why runs could not be made, a sentence each, in the order of asking.
        methods: What third parties can be asked for, by their name.
    """

    items: tuple[Any, ...]
    make: Callable[[Plan], CleanRun | None]
    known: dict[Hashable, Any] = attrs.field(factory=dict, repr=False)
    made: int = 0
    failed: list[str] = attrs.field(factory=list)
    methods: Mapping[str, frozenset[str]] = attrs.field(factory=dict, repr=False)
    _calm: CleanRun | None = None
    same: set[str] = attrs.field(factory=set)
    _is_same: bool = False
    _runs: dict[Plan, CleanRun | None] = attrs.field(factory=dict, repr=False)

    def calm(self) -> CleanRun:
        """Return the calm run."""
        if self._calm is None:
            found = self.make(AS_GIVEN)
            self._calm = CleanRun(History()) if found is None else found
        return self._calm

    def run(self, plan: Plan) -> CleanRun | None:
        """Return the run of a plan; None if it cannot be made, or did not become quiet.

        Such a run excuses nothing, and `failed` says which it was.
        """
        if plan == AS_GIVEN:
            return self.calm()
        if plan.refused:
            return self._run(plan)  # asked for once: its outcome is remembered
        if plan not in self._runs:
            self._runs[plan] = self._run(plan)
        return self._runs[plan]

    def _run(self, plan: Plan) -> CleanRun | None:
        self.made += 1
        try:
            found = self.make(plan)
        except IllegalFault:
            return None
        except (InvalidDefinition, RealIO) as error:
            if not plan.before:
                self._fail(plan, " ".join(str(error).split()))
            return None
        if found is None:
            return None
        verdict, reason = verdict_of(found.history)
        if plan.events_max:
            return found
        if verdict != "quiet" and not (plan.refused or plan.slow or plan.before):
            self._fail(plan, f"it ends as {verdict!r}: {reason}.")
        return found if verdict == "quiet" else None

    def _fail(self, plan: Plan, why: str) -> None:
        self.failed.append(
            f"the workload {plan}, run to see what may differ, comes to no end: {why} "
            "What only that run would excuse is told as wrong"
        )

    def see_that_it_is_the_same(self, *, any_will_do: bool = False) -> None:
        """Make the calm run once more, before anybody is accused or excused by it.

        Args:
            any_will_do: Whether it is enough that another workload of the system was the same.

        Raises:
            Nondeterminism: It is not the same.
        """
        if self._is_same or (any_will_do and self.same):
            return
        self._is_same = True
        self.same.add("calm")
        calm = self.calm()
        again = self.make(Plan(again=True))
        if again is None or again.history.raw == calm.history.raw:
            return
        mine, other = calm.history.raw, again.history.raw
        at = next(
            (at for at, (one, two) in enumerate(zip(mine, other, strict=False)) if one != two), -1
        )
        at = min(len(mine), len(other)) if at < 0 else at
        first, second = (
            encode(raw[at]).decode("utf-8", "surrogatepass").strip() if at < len(raw) else "(none)"
            for raw in (mine, other)
        )
        raise Nondeterminism(
            index=at,
            first=first,
            second=second,
            schedule="Schedule(), by which all others are judged,",
        )
