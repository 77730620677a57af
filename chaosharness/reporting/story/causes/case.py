"""What the search for a cause looks at: the finding, the run, and whose work each event was."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import attrs

from chaosharness.checkers.property import Finding
from chaosharness.checkers.reading import Handed, Reading, Sent, read
from chaosharness.kernel.history import Event, History, plain
from chaosharness.reporting.story.decisive import Extra, lasting_writes, tables_that_differ
from chaosharness.reporting.story.lanes import action_of
from chaosharness.reporting.story.narrator import Narrator
from chaosharness.reporting.story.repetition import alike
from chaosharness.reporting.story.select import CLOSING, focus

ANCHORS_MAX: Final = 25

_ANYWHERE: Final = frozenset({"half done", "effect left", "forgotten"})
"""Kinds of findings whose place is what stands; what is missing beside it may be elsewhere."""

_STANDS_ALONE: Final = frozenset({"row too many", "row differs"})
"""Kinds of findings whose place is a row that stands, which may be wrong for what is elsewhere."""


@attrs.frozen
class Cause:
    """What a finding came from, as one or two sentences that the history bears out.

    Attributes:
        kind: The kind of mistake: see `cures`.
        words: The sentences.
        repeats: Whether they say what was asked for twice, and why nobody noticed.
    """

    kind: str
    words: str
    repeats: bool = False


@attrs.define(eq=False)
class Work:
    """What was done with one delivery, or in one round of a loop.

    Attributes:
        root: The event it began with.
        events: All of its events, oldest first.
    """

    root: int
    events: list[Event]

    def of(self, *kinds: str) -> list[Event]:
        """Return its events of some kinds."""
        return [event for event in self.events if event.kind in kinds]


@attrs.define(eq=False, slots=False)
class Case:
    """One finding and the run it was found in."""

    history: History
    finding: Finding
    narrator: Narrator
    extra: Extra
    passing: History | None = None

    @cached_property
    def reading(self) -> Reading:
        """What the history says about messages."""
        return read(self.history)

    @cached_property
    def anchors(self) -> list[Event]:
        """The events that the finding points at."""
        size = len(self.history)
        return [self.history[at] for at in self.finding.events[:ANCHORS_MAX] if 0 <= at < size]

    @cached_property
    def of_the_end(self) -> bool:
        """Whether the finding is about what is held at the end, and not about a deed."""
        return all(event.kind in CLOSING for event in self.anchors)

    @cached_property
    def items(self) -> frozenset[int]:
        """The workload items that the finding is about."""
        return focus(self.history, self.finding)

    def item_of(self, event: Event) -> int:
        """Return the workload item that an event is of, or that it was done on behalf of."""
        return next((one.entity for one in self.history.causes(event.index) if one.entity), 0)

    def concerns(self, item: int) -> bool:
        """Say whether the finding is about an item, or about none in particular."""
        return not self.items or item in self.items

    def is_about(self, sent: Sent) -> bool:
        """Say whether the finding is about a message, by its item or else by its key.

        What a loop publishes from a table is of no item; its key may be a word of one.
        """
        if sent.entity or not self.items:
            return self.concerns(sent.entity)
        return sent.key is not None and sent.key in self._words

    @cached_property
    def _words(self) -> frozenset[str]:
        """The texts in the workload items that the finding is about."""
        mine = (event for event in self.history.of("arrive") if event.entity in self.items)
        return frozenset[str]().union(*(names(event.data.get("item")) for event in mine))

    @cached_property
    def works(self) -> dict[int, Work]:
        """What was done, by the event it began with."""
        works: dict[int, Work] = {}
        for event in self.history:
            root = self.reading.roots[event.index]
            works.setdefault(root, Work(root, [])).events.append(event)
        return works

    @cached_property
    def lasting(self) -> dict[int, int]:
        """What was written for good, each with the commit that made it last."""
        return lasting_writes(self.history)

    @cached_property
    def shown(self) -> list[Event]:
        """The deeds that the finding is about: those it points at, or what made the end another.

        Of an end, what was done otherwise than in the run that passes; where there is none to
        compare with, all that was written where the finding points at.
        """
        shown = [event for event in self.anchors if event.kind not in CLOSING]
        if len(shown) == len(self.anchors) and shown:
            return shown
        if self.passing is None:
            return [*shown, *(event for event in self._lasting() if self._is_there(event))]
        wanted = {(event.operation.partition("/")[0], event.entity) for event in self.lacking}
        ends = [
            event
            for event in self.history.of("handled", "raised")
            if event.entity and (event.operation.partition("/")[0], event.entity) in wanted
        ]
        return [*shown, *self.excess, *ends]

    @cached_property
    def excess(self) -> list[Event]:
        """What was done here, and not in the run that passes, where the finding points at."""
        deeds = [self.history[at] for at in sorted(self.extra.deeds)]
        if any(event.kind in CLOSING for event in self.anchors):
            return [event for event in deeds if self._is_there(event)]
        pointed = {event.index for event in self.anchors}
        return [event for event in deeds if event.index in pointed]

    @cached_property
    def lacking(self) -> list[Event]:
        """What the run that passes did, and this one did not, where the finding points at.

        Anywhere, where a row stands there and nothing is missing: it may be wrong because it
        stands alone. None where something was done too often: what is missing followed from that.
        """
        if self.passing is None or self.excess or self.repeated:
            return []
        deeds = [self.passing[at] for at in self.extra.lacking]
        there = [event for event in deeds if self._is_there(event)]
        if self.finding.kind not in _STANDS_ALONE or any(e.entity in self.items for e in there):
            return there
        return [event for event in deeds if event.entity in self.items] or there

    @cached_property
    def repeated(self) -> bool:
        """Whether the finding points at one thing that was done more than once."""
        return len(alike([event for event in self.anchors if event.kind == "effect"])) > 1

    @cached_property
    def _named(self) -> frozenset[str]:
        """The stores, and third parties, that the finding names or points at; none stands for all.

        What an item lacks that was done by half may be anywhere; and a claim of the user's about
        the end points at the last event there is, whatever that tells of.
        """
        if self.finding.kind in _ANYWHERE:
            return frozenset()
        if self._is_of_the_whole_end:
            return frozenset(event.actor for event in self.history.of("state"))
        place = self.finding.place.partition(".")[0]
        states = (event.actor for event in self.anchors if event.kind == "state")
        return frozenset({place} if place else states)

    @property
    def _is_of_the_whole_end(self) -> bool:
        """Whether the finding says nothing but that the end is not as it should be."""
        said = self.finding.kind or self.finding.place or self.finding.data
        return not said and self.finding.events == (len(self.history) - 1,)

    def _is_there(self, event: Event) -> bool:
        if event.kind == "effect" and not self.finding.place:
            return True  # what a store holds may come of what a third party did
        return not self._named or str(event.data.get("store", event.actor)) in self._named

    def came_out_otherwise(self, write: Event) -> bool:
        """Say whether a table that was written differs from that of the run that passes."""
        if self.passing is None or not self._is_there(write):
            return False
        what = str(write.data.get("table") or write.data.get("key") or "")
        place = (str(write.data.get("store", "")), what)
        return place in tables_that_differ(self.history, self.passing)

    def _lasting(self) -> list[Event]:
        return [e for e in self.history.of("effect", "write", "commit") if self._lasts(e)]

    def _lasts(self, event: Event) -> bool:
        return event.kind == "effect" or (event.index in self.lasting and bool(table(event)))

    def roots_of(self, event: Event) -> frozenset[int]:
        """Return the pieces of work that led to an event, by their roots; with its own."""
        roots = self.reading.roots
        return frozenset(roots[one.index] for one in self.history.causes(event.index))

    def came_of(self, *works: Work) -> bool:
        """Say whether something that the finding is about came of some pieces of work."""
        roots = {work.root for work in works}
        return any(roots & self.roots_of(event) for event in self.shown)

    def followed(self, event: Event) -> bool:
        """Say whether something that the finding is about is an event, or came of it."""
        before = self.history.happened_before
        return any(before(event.index, one.index) for one in self.shown)

    def counts(self, what: str) -> bool:
        """Say whether a call is one that leaves something behind, here or in the run that passes.

        One that never does is a question.
        """
        runs = (self.history,) if self.passing is None else (self.history, self.passing)
        for run in runs:
            for event in run.of("effect", "write", "publish"):
                calls = (one for one in run.causes(event.index) if one.kind == "call")
                if any(action(one) == what for one in calls):
                    return True
        return False

    def points_at(self, *indexes: int) -> bool:
        """Say whether the finding points at one of some events."""
        return not {event.index for event in self.anchors}.isdisjoint(indexes)

    def lacks_through(self, sent: Sent, group: str) -> bool:
        """Say whether what is missing came, in the run that passes, of such a message.

        That is one of the same topic for the same item, handed to the same group or queue.
        """
        if self.passing is None:
            return False
        place = (sent.entity, sent.topic, group)
        return any(
            one.kind == "deliver"
            and (one.entity, one.data.get("topic"), one.data.get("group")) == place
            for event in self.lacking
            for one in self.passing.causes(event.index)
        )

    def lacks_after(self, asked: Event) -> bool:
        """Say whether what is missing came, in the run that passes, after such an operation."""
        if self.passing is None:
            return False
        return any(
            (one.operation, one.entity) == (asked.operation, asked.entity)
            for event in self.lacking
            for one in self.passing.causes(event.index)
        )

    def handed(self, event: Event) -> Handed | None:
        """Return the delivery that an event is part of the work of."""
        return self.reading.handed.get(self.reading.roots[event.index])

    def work(self, event: Event) -> Work:
        """Return the work that an event is part of."""
        return self.works[self.reading.roots[event.index]]

    def again(self) -> Iterator[tuple[Handed, Handed]]:
        """Yield each delivery of a message with the next one to the same consumer.

        Only of the items that the finding is about; what a fault struck comes first.
        """
        pairs = sorted(self.reading.pairs.values(), key=lambda ones: not self._struck(ones))
        for deliveries in pairs:
            if self.concerns(deliveries[0].sent.entity):
                yield from pairwise(deliveries)

    def _struck(self, deliveries: list[Handed]) -> bool:
        mine = {one.index for one in deliveries}
        return any(self.reading.roots[one.index] in mine for one in self.history.of("fault"))

    def unanswered(self, asked: Event) -> bool:
        """Say whether the code never heard what became of a call that it made."""
        same = self.history.same_attempt
        if not any(same(one, asked) for one in self.history.of("call")):
            return False  # not in this excerpt of a history
        replies = [one for one in self.history.of("reply") if same(one, asked)]
        return all(one.data.get("outcome") == "unknown" for one in replies)

    def place(self, event: Event) -> str:
        """Name the code that did something: `payments.on_order`."""
        return event.operation.partition("/")[0] or self.narrator.name(event.actor)

    def wrote(self, work: Work, *, lasting: bool | None = None) -> list[Event]:
        """Return the rows that a piece of work wrote: those that lasted, or those that did not."""
        return [
            event
            for event in work.of("write")
            if event.data.get("rows", 1)
            and "error" not in event.data
            and (lasting is None or (event.index in self.lasting) == lasting)
        ]


def action(event: Event) -> str:
    """Return what was asked for: `bank.charge`; `publish orders` for `bus.publish orders`."""
    return action_of(event.operation)


def asks(event: Event) -> str:
    """Say a deed as a verb: `publishes to orders`, `asks for bank.charge`."""
    if event.kind == "publish":
        return f"publishes to {event.data.get('topic')}"
    if event.kind == "write":
        return f"does {event.data.get('verb')} {table(event)}"
    return f"asks for {action(event)}"


def table(event: Event) -> str:
    """Name what was written or read: `stock-db.inbox`."""
    store = str(event.data.get("store", ""))
    what = str(event.data.get("table") or event.data.get("key") or "")
    return f"{store}.{what}" if what else store


def names(value: Any) -> frozenset[str]:
    """Return the texts in what was written: they name what it is about."""
    value = plain(value)
    match value:
        case str():
            return frozenset({value})
        case dict():
            return frozenset().union(*map(names, value.values())) if value else frozenset()
        case list() | tuple():
            return frozenset().union(*map(names, value)) if value else frozenset()
        case _:
            return frozenset()


def about(write: Event) -> frozenset[str]:
    """Return what a written row is about."""
    return names(write.data.get("params")) | names(write.data.get("key"))
