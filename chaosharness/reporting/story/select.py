"""Which events of a run matter to a finding, and which only stood by.

Every event that may be told gets a rank: 0 must be told, and each number above it is left
out sooner. What a fault struck, what the finding points at, and the deeds that made the
outcome another come first; then what was done with the same messages; then how it came
about; then what else became of the same item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from chaosharness.checkers.property import Finding
from chaosharness.checkers.reading import Reading, read
from chaosharness.kernel.history import Event, History
from chaosharness.reporting.story.decisive import NOTHING, Extra
from chaosharness.reporting.story.lanes import service_of

STEPS_MAX: Final = 40
"""Steps of a story. Whoever needs more needs the history."""

LITTLE: Final = 4
"""Rank of what is told where there is much room."""

ASIDE: Final = 5
"""Rank of what became of the same item elsewhere, where no fault struck."""

REPEATED: Final = 6
"""Rank of what happens over and over again, after the first few times."""

BEFORE: Final = 7
"""Rank of what led to the message that a story begins with."""

TIMES_TOLD: Final = 2
"""How many times a thing is told that happens over and over again."""

ROOTS_MAX: Final = 25
"""How many events, from either end, are followed back to where they come from."""

_IN_STRUCK_WORK: Final = {
    "effect": 1,
    "dead": 1,
    "rollback": 2,
    "raised": 2,
    "nack": 2,
    "note": 3,
    "decide": 3,
    "deliver": 2,
    "call": 2,
    "publish": 3,
    "commit": 3,
    "write": 3,
    "ack": ASIDE,
    "reply": ASIDE,
    "read": LITTLE,
    "sleep": ASIDE,
    "wake": ASIDE,
}
"""Ranks of what was done with a message whose handling a fault struck, or the finding shows."""

_ON_THE_WAY: Final = {
    "arrive": 1,
    "publish": 3,
    "deliver": 3,
    "call": 3,
    "commit": 3,
    "write": 4,
    "effect": 3,
    "note": 3,
    "decide": 3,
    "ack": 5,
    "reply": 5,
    "read": 5,
    "handled": 6,
    "poll": 6,
    "sleep": 5,
    "wake": 6,
    "start": 6,
}
"""Ranks of what an event comes from, back to the workload."""

_TO_A_DEED: Final = {"publish": 2, "deliver": 2, "call": 2}
"""Ranks of what a deed comes from that made the outcome another; of the rest, as above."""

_AFTERWARDS: Final = {"effect": 2, "publish": 3, "raised": 2, "dead": 2, "handled": 3}
"""Ranks of what came of a message that was handed out again after all that was found."""

_ELSEWHERE: Final = {
    "dead": 2,
    "raised": 2,
    "nack": 3,
    "rollback": 3,
    "effect": 4,
    "note": ASIDE,
    "publish": ASIDE,
    "deliver": ASIDE,
    "commit": ASIDE,
    "call": ASIDE,
}
"""Ranks of what else became of an item of the finding."""

_TOLD_TO_THE_CODE: Final = ("lost re", "error reply", "failed commit", "delay")
"""How the names of those faults begin that the code is told of: it may raise, or go on."""

CLOSING: Final = frozenset({"end", "state", "tables", "phase"})
"""Kinds of events that say how a run ended, and not what anybody did."""


def finding_of(findings: Iterable[Finding]) -> Finding:
    """Return the finding that a report is about: the first."""
    return next(iter(findings), Finding(""))


def focus(history: History, finding: Finding) -> frozenset[int]:
    """Return the workload items that a finding is about; those of the faults if it names none."""
    size = len(history)
    found = {history[index].entity for index in finding.events if 0 <= index < size}
    found.add(finding.entity)
    found.discard(0)
    if not found:
        found = {event.entity for event in history.of("fault")} - {0}
    return frozenset(found)


def ranked(
    history: History, finding: Finding, *, extra: Extra = NOTHING, every: bool = False
) -> dict[int, int]:
    """Return the events that may be told, each with its rank.

    Args:
        history: The run.
        finding: What was found in it.
        extra: What it did that the run that passes did not.
        every: Whether to follow the items to the end of the run, and not only to the last
            event of the finding.
    """
    return Ranking(history, finding, extra, every=every).ranks if len(history) else {}


class Ranking:
    """The ranks of the events of one run, for one finding."""

    def __init__(self, history: History, finding: Finding, extra: Extra, *, every: bool) -> None:
        self.history = history
        self.reading: Reading = read(history)
        self.ranks: dict[int, int] = {}
        self.repeats: dict[str, int] = {}
        anchors = [index for index in finding.events if 0 <= index < len(history)]
        self.last = len(history) - 1 if every else self._until(anchors)
        for index in anchors:
            if history[index].kind != "state":
                self.add(index, 0)
        self._add_extra(anchors, extra)
        self._add_trouble()
        musts = [index for index, rank in self.ranks.items() if rank == 0]
        struck = self._struck(musts)
        self._troubled = {
            self.reading.roots[event.index]
            for event in history.of("fault")
            if str(event.data.get("fault")).startswith(_TOLD_TO_THE_CODE)
        }
        self._add_struck_work(struck, focus(history, finding))
        self._add_afterwards(struck)
        self._add_causes([index for index in extra.deeds if self.ranks[index] <= 1], _TO_A_DEED)
        self._add_causes([index for index, rank in self.ranks.items() if rank <= 1])
        self._add_with_its_message((*extra.alike, *extra.missed))
        self._push_back(origin(history, musts))

    def _until(self, anchors: list[int]) -> int:
        """Return the last event to look at: to the end, where what is found is an absence."""
        last = max(anchors, default=-1)
        end = len(self.history) - 1
        if last < 0 or self.history[last].kind in CLOSING:
            return end
        return end if any(event.index > last for event in self.history.of("fault")) else last

    def _add_extra(self, anchors: list[int], extra: Extra) -> None:
        """Add what made the outcome another: first of all where the finding shows no deed.

        Where it does, what followed from that is of little interest.
        """
        shown = self._shows_deeds = any(
            self.history[index].kind not in CLOSING for index in anchors
        )
        for index in extra.effects:
            self.add(index, 0 if not shown else 1 if index <= self.last else LITTLE)
        for index in extra.writes:
            self.add(index, LITTLE if shown else 0)
        for index in extra.commits:
            self.add(index, LITTLE if shown else 1)

    def add(self, index: int, rank: int) -> None:
        """Rank an event; the lowest rank that it is given stands."""
        self.ranks[index] = min(rank, self.ranks.get(index, rank))

    def _often(self, event: Event) -> bool:
        """Count events of one kind at one operation; say whether there were many before."""
        what = f"{event.kind} {event.operation or event.actor.partition('/')[0]}"
        self.repeats[what] = times = self.repeats.get(what, 0) + 1
        return times > TIMES_TOLD

    def _add_trouble(self) -> None:
        """Add faults and crashes, and what followed from them wherever it happened."""
        struck = False
        for event in self.history:
            match event.kind:
                case "fault":
                    struck = True
                    self.add(event.index, 0)
                case "crash":
                    by_fault = event.cause >= 0 and self.history[event.cause].kind == "fault"
                    rank = 0 if by_fault else REPEATED if self._often(event) else 2
                    self.add(event.index, rank)
                case "end" if event.data.get("verdict") != "quiet":
                    self.add(event.index, 0)
                case "start" if "/" in event.actor and event.index <= self.last:
                    self.add(event.index, REPEATED if self._often(event) else 2)
                case "rebalance" if struck and event.index <= self.last:
                    if event.data.get("generation", 2) != 1:
                        self.add(event.index, REPEATED if self._often(event) else 3)
                case "publish" if event.cause >= 0:
                    if self.history[event.cause].kind == "fault" and not event.operation:
                        self.add(event.index, 1)
                case "phase" if struck and event.index <= self.last:
                    self.add(event.index, 4)

    def _struck(self, musts: list[int]) -> set[int]:
        """Return the deliveries of messages that a fault struck, or that the finding shows."""
        reading = self.reading
        pairs: set[tuple[int, str]] = set()
        for index in musts:
            event = self.history[index]
            handed = reading.handed.get(reading.roots[index])
            if handed is not None:
                pairs.add((handed.sent.index, handed.group))
            if event.kind == "fault" and is_of_a_delivery(event):
                pairs |= struck_pairs(reading, event)
            elif event.kind == "fault":
                messages = published_at(self.history, event)
                pairs |= {pair for pair in reading.pairs if pair[0] in messages}
        made = {index for index, sent in reading.sent.items() if sent.poison}
        pairs |= {pair for pair in reading.pairs if pair[0] in made}
        return {handed.index for pair in pairs for handed in reading.pairs.get(pair, ())}

    def _add_struck_work(self, struck: set[int], items: frozenset[int]) -> None:
        roots = self.reading.roots
        for event in self.history:
            if event.index > self.last:
                break
            root = roots[event.index]
            if root in struck:
                self._add_work(event, root)
            elif event.kind == "raised":
                self.add(event.index, REPEATED if self._often(event) else _ELSEWHERE["raised"])
            elif event.entity in items and is_in_vain(event):
                self.add(event.index, REPEATED if self._often(event) else 3)
            elif event.entity in items and event.kind in _ELSEWHERE:
                self.add(event.index, _ELSEWHERE[event.kind])

    def _add_work(self, event: Event, root: int) -> None:
        """Add what was done with a message whose handling a fault struck."""
        rank = _IN_STRUCK_WORK.get(event.kind)
        if event.kind == "deliver" and event.data.get("times", 1) != 1:
            rank = 1
        elif went_wrong(event):
            rank = 2
        elif event.kind == "handled":
            rank = 2 if self._in_vain(root) or root in self._troubled else None
        if rank is not None:
            self.add(event.index, rank if self._early(self.history[root]) else REPEATED)

    def _in_vain(self, root: int) -> bool:
        """Say whether a message was handed out again, and its handler did nothing."""
        handed = self.reading.handed.get(root)
        return handed is not None and not handed.work and self.history[root].data["times"] != 1

    def _add_afterwards(self, struck: set[int]) -> None:
        """Add how it went on where a struck message came again after all that was found."""
        later = {index for index in struck if index > self.last and self._again(index)}
        if not later:
            return
        for event in self.history:
            root = self.reading.roots[event.index]
            if root in later:
                rank = 1 if event.index == root else _AFTERWARDS.get(event.kind)
                if rank is not None:
                    self.add(event.index, rank)

    def _again(self, index: int) -> bool:
        delivery = self.history[index]
        return delivery.data.get("times", 1) != 1 and self._early(delivery)

    def _add_with_its_message(self, indexes: Iterable[int]) -> None:
        """Add what stands beside a deed that made a difference, and the message behind it.

        That is the same deed, rightly done before; and where another one is missing.
        """
        for index in indexes:
            if self._shows_deeds:
                self.add(index, LITTLE)
                continue
            self.add(index, 1)
            for event in self.history.causes(index):
                if event.kind in ("deliver", "publish"):
                    self.add(event.index, _TO_A_DEED[event.kind])
                if event.kind == "publish":
                    break

    def _early(self, delivery: Event) -> bool:
        """Say whether a delivery is one of the first few of its message."""
        times = delivery.data.get("times", 1)
        return not isinstance(times, int) or times <= TIMES_TOLD

    def _add_causes(
        self, indexes: Iterable[int], ranks: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        ranks = {**_ON_THE_WAY, **ranks}
        followed: set[int] = set()
        for index in indexes:
            for event in self.history.causes(index):
                if event.index in followed:
                    break
                followed.add(event.index)
                self.add(event.index, ranks.get(event.kind, ASIDE))

    def _push_back(self, since: int) -> None:
        """Rank what led to the beginning of the story below all that followed."""
        if since < 0:
            return
        first = {event.index for event in self.history.causes(since) if event.kind == "arrive"}
        for index, rank in self.ranks.items():
            if index < since and rank > 0 and index not in first:
                self.ranks[index] = BEFORE


def went_wrong(reply: Event) -> bool:
    """Say whether an event is the answer to a call, and not the one that was hoped for."""
    return reply.kind == "reply" and reply.data.get("outcome") != "ok"


def is_in_vain(reply: Event) -> bool:
    """Say whether an event is the end of a wait for an answer that never came."""
    return reply.kind == "reply" and reply.data.get("outcome") == "unknown"


def is_of_a_delivery(fault: Event) -> bool:
    """Say whether a fault struck at the delivery of a message."""
    return "/deliver to " in fault.operation


def struck_pairs(reading: Reading, fault: Event) -> set[tuple[int, str]]:
    """Return whose deliveries a fault struck: of which message, from which group or queue.

    A log is read by groups. From a queue, the consumer is named: it has no group.
    """
    consumer = fault.operation.partition("/deliver to ")[2]
    return {
        (message, group)
        for (message, group), deliveries in reading.pairs.items()
        if message == fault.cause
        and (group == consumer or any(service_of(one.to) == consumer for one in deliveries))
    }


def published_at(history: History, fault: Event) -> frozenset[int]:
    """Return the messages that were published at the very operation a fault struck."""
    return frozenset(
        event.index for event in history.of("publish") if history.same_attempt(event, fault)
    )


def origin(history: History, events: list[int]) -> int:
    """Return the message that some events all go back to; -1 if there is none.

    What led to that message is how it always goes: the story begins there.
    """
    common: list[int] | None = None
    for index in [*events[:ROOTS_MAX], *events[ROOTS_MAX:][-ROOTS_MAX:]]:
        chain = [event.index for event in history.causes(index)]
        if chain[-1] == index:
            continue  # a root of its own: a crash of the world, the end
        known = set(chain)
        common = chain if common is None else [one for one in common if one in known]
    return next((one for one in common or () if history[one].kind == "publish"), -1)


def kept(ranks: dict[int, int], steps_max: int = STEPS_MAX, rank_max: int = ASIDE - 1) -> list[int]:
    """Return the events to tell, oldest first: the most important ones, as many as fit.

    Of the least important that are told, the middle is left out: how it began, and how it
    ended, says more.
    """
    told: list[int] = []
    for rank in range(rank_max + 1):
        room = steps_max - len(told)
        alike = sorted(index for index, its in ranks.items() if its == rank)
        if len(alike) > room:
            first = room - room // 2
            alike = [*alike[:first], *alike[len(alike) - room // 2 :]]
        told += alike
    return sorted(told)
