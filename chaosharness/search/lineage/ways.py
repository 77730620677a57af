"""How each outcome of a run came about, as the places where a fault would have cut it off.

A way is a set of cuts of which every one alone cuts what led to an outcome: a message on its
way from one actor to another is lost, the one who sends it dies before that, the one who gets it
dies before it can act. A way goes back along causes to their root; where a caller goes on with
an answer, it goes on through what the called one did for it as well. An attempt that failed,
and was tried again, is in no way: the outcome did without it.

What an actor remembers is no cause that a history knows. So beside each way there is a longer
one, with all that this actor was told before, for the same workload item.

What follows what within one program is taken from the order in which it was done. Where that was
chance (two calls at the same time), a way is too long: a cut there is a run in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import eq, itemgetter
from typing import Any, Final, Literal, Protocol

import attrs

from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History, RawEvent
from chaosharness.system import Run

OUTCOMES: Final = frozenset({"effect", "commit", "note"})
"""What a system is there for: money moved, rows stored, decisions told."""

Sort = Literal["dies before", "is lost", "dies after", "answer is lost"]
EVENTS_MAX: Final = 4_000
"""The cost of ways grows with the square of the events: a run that never rests has thousands."""

Place = tuple[str, int, int]
"""Operation, entity, attempt."""

Cut = tuple[str, int, int, Sort]
"""A place, and what happens there."""

Key = tuple[str, str, str, int, str]
"""Kind of event, who, what, the workload item, and further words."""

Outcomes = tuple[tuple[Key, tuple["Way", ...]], ...]
"""The ways to each outcome, one for each of its events, the last outcome first."""

_ACTOR: Final = itemgetter(2)
_MEMORY: Final = itemgetter(1)
_PLACE: Final = itemgetter(3, 4, 5)


@attrs.frozen
class Way:
    """How one event came about; each number is a set of cuts, as bits.

    Attributes:
        direct: What cuts its causes.
        memory: The same, and what cuts all that its actor was told before.
        end: How its actor may die afterwards, and have it no more.
        gone: Whether it did die.
    """

    direct: int
    memory: int
    end: int
    gone: bool


@attrs.frozen
class Ways:
    """How the outcomes of one run came about: plain values, whatever planner reads them.

    Attributes:
        cuts: The cuts, by bit, in the order in which the run came to their places.
        outcomes: The ways to each outcome.
        handled: What cuts each message off that was handled, all different.
    """

    cuts: tuple[Cut, ...] = ()
    outcomes: Outcomes = ()
    handled: tuple[int, ...] = ()


@attrs.frozen
class Lesson:
    """The same in the bits of a search, less those that struck in that run.

    Attributes:
        outcomes: The ways to each outcome.
        handled: What cuts each message off that was handled, all different.
        order: All bits, in the order in which the run came to their places; and some zeros.
    """

    outcomes: Outcomes = ()
    handled: tuple[int, ...] = ()
    order: tuple[int, ...] = ()


@attrs.define(eq=False)
class Spot:
    """One place, and the bits of what cuts there, in the order in which a run asks for them.

    None is what no run has asked for: a cut has its number from when it was first met.

    Attributes:
        called: Where the event is a call that goes out: dies before.
        done: Where it is anything else: dies before, is lost, dies after.
        left: Where something goes on to another actor from there: is lost.
        answered: Where a call has its answer: dies after, answer is lost.
        ended: Where its actor may die later: dies before, dies after.
    """

    place: Place
    called: tuple[int, ...] | None = None
    done: tuple[int, ...] | None = None
    left: tuple[int, ...] | None = None
    answered: tuple[int, ...] | None = None
    ended: tuple[int, ...] | None = None
    bits: dict[Sort, int] = attrs.field(factory=dict)


ASKED: Final[Mapping[str, tuple[Sort, ...]]] = {
    "called": ("dies before",),
    "done": ("dies before", "is lost", "dies after"),
    "left": ("is lost",),
    "answered": ("dies after", "answer is lost"),
    "ended": ("dies before", "dies after"),
}

NOWHERE: Final = Spot(("", 0, 0), (0,), (0, 0, 0), (0,), (0, 0), (0, 0))
"""A place where nothing can cut."""


class Numbering(Protocol):
    """Gives cuts their bits."""

    spots: dict[Place, Spot]
    """The places that were met."""

    first: First | None
    """The reading that others are read beside, if there is one: they mostly begin as it does."""

    def number(self, cut: Cut) -> int:
        """Return the bit of a cut that is met; 0 if no fault does that."""


@attrs.define
class _OfOneRun:
    """Numbers for one run by itself, whoever reads what comes of it."""

    spots: dict[Place, Spot] = attrs.field(factory=dict)
    cuts: list[Cut] = attrs.field(factory=list)
    first: First | None = None

    def number(self, cut: Cut) -> int:
        self.cuts.append(cut)
        return 1 << len(self.cuts) - 1


def ways_of(run: Run) -> Ways:
    """Return how the outcomes of a run came about: of a very long history, nothing."""
    if len(run.history.raw) > EVENTS_MAX:
        return Ways()
    numbering = _OfOneRun()
    found = _Reader(run.history, run.surfaces, numbering).read()
    return Ways(tuple(numbering.cuts), found.outcomes, found.handled)


def lesson_of(run: Run, numbering: Numbering, without: int = 0) -> Lesson:
    """Return the same, in bits that are given, less some of them."""
    if len(run.history.raw) > EVENTS_MAX:
        return Lesson()
    return _Reader(run.history, run.surfaces, numbering, ~without).read()


def first_of(run: Run, numbering: Numbering) -> First | None:
    """Return the reading of a run that others begin like, in bits that all its cuts have."""
    if len(run.history.raw) > EVENTS_MAX:
        return None
    return First(run.history, run.surfaces, numbering)


def outcomes_of(history: History) -> dict[Key, tuple[int, ...]]:
    """Return the outcomes of a run and the indexes of their events, the last outcome first."""
    found: dict[Key, list[int]] = {}
    raw = history.raw
    for kind in OUTCOMES:
        for index in history.places_of(kind):
            found.setdefault(key_of(raw[index]), []).append(index)
    ordered = sorted(found, key=lambda key: -found[key][-1])
    return {key: tuple(found[key]) for key in ordered}


def key_of(event: RawEvent) -> Key:
    """Return what makes an event the same outcome in another run: not when it was."""
    _, kind, actor, operation, entity, _, _, data = event
    if kind != "note":
        return kind, service_of(actor), operation.partition("/")[2], entity, ""
    words = sorted((name, repr(value)) for name, value in data.items() if name != "what")
    return kind, service_of(actor), str(data["what"]), entity, repr(words) if words else ""


def service_of(actor: str) -> str:
    """Return the service of an actor or an operation: `b` of `b#1/2`, and of `b.deliver/...`."""
    return actor.partition("#")[0].partition(".")[0]


class _Reader:
    """Goes through one history, oldest event first."""

    def __init__(
        self,
        history: History,
        surfaces: Mapping[str, Surface],
        numbering: Numbering,
        kept: int = -1,
    ) -> None:
        self.history = history
        self.raw = history.raw
        self.surfaces = surfaces
        self.numbering = numbering
        self.kept = kept
        self.spots = [*map(numbering.spots.get, map(_PLACE, self.raw))]
        self.asked: list[int] = []  # every bit that was asked for
        self.calls: dict[Place, int] = {}
        self.origins: list[int] = []
        self.handles: dict[int, Place] = {}
        self.answers: dict[int, int] = {}
        self.ways: list[tuple[int, int]] = []
        self.onward: list[tuple[int, int]] = []  # what cuts off whatever an event led to
        self.first = numbering.first
        self.asked_at: list[int] | None = None
        self.alike = 0 if self.first is None else _alike(self.raw, self.first.raw)
        self._find_calls()

    def _find_calls(self) -> None:
        """Find which call each event was done for, and where that was picked up."""
        raw, origins, handles = self.raw, self.origins, self.handles
        begun: dict[int, str] = {}
        if self.first is not None:
            origins += self.first.origins[: self.alike]
            for index, origin, operation, handle in self.first.doing:
                if index >= self.alike:
                    break
                begun.setdefault(origin, operation)
                if handle is not None:
                    handles[origin] = handle
        for index in range(self.alike, len(raw)):
            _, kind, actor, operation, entity, attempt, cause, _ = raw[index]
            origin = -1
            if cause >= 0:
                crosses = raw[cause][1] == "call" and raw[cause][2] != actor
                origin = cause if crosses else origins[cause]
            origins.append(origin)
            if origin >= 0 and operation and "#" in actor:
                if kind in ("handled", "raised"):
                    handles[origin] = (operation, entity, attempt)
                begun.setdefault(origin, f"{operation.partition('/')[0]}/handle")
        self._guess_handles(begun)
        if self.first is not None:
            self.alike = self.first.until(self.alike, handles)

    def _guess_handles(self, begun: Mapping[int, str]) -> None:
        """Find where calls were picked up whose handler never came to its end."""
        times: dict[tuple[str, int], int] = {}
        for call, operation in begun.items():
            entity = self.raw[call][4]
            attempt = times[operation, entity] = times.get((operation, entity), 0) + 1
            self.handles.setdefault(call, (operation, entity, attempt))

    def read(self) -> Lesson:
        """Return the ways."""
        self._walk()
        kept, ways = self.kept, self.ways
        found = outcomes_of(self.history)
        ends = self._ends({index for events in found.values() for index in events})
        outcomes = tuple(
            (key, tuple([self._way(index, *ends[index]) for index in events]))
            for key, events in found.items()
        )
        handled = {ways[at][0] & kept: None for at in self.history.places_of("handled")}
        return Lesson(outcomes, tuple(handled), tuple(dict.fromkeys(self.asked)))

    def _way(self, index: int, end: int, gone: bool) -> Way:
        direct, memory = self.ways[index]
        return Way(direct & self.kept, memory & self.kept, end & self.kept, gone)

    def _walk(self) -> None:
        """Find the ways to each event: those of its cause, what lies between, and its own place."""
        raw, ways, onward, origins = self.raw, self.ways, self.onward, self.origins
        told: dict[Any, int] = {}
        if self.first is not None:
            told = self.first.lead(self)
        asked_at = self.asked_at
        for index in range(self.alike, len(raw)):
            event = raw[index]
            if asked_at is not None:
                asked_at.append(len(self.asked))
            _, kind, actor, operation, entity, attempt, cause, data = event
            direct, memory = onward[cause] if cause >= 0 else (0, 0)
            own = self._crossing(cause) if cause >= 0 and raw[cause][2] != actor else 0
            after = 0
            if attempt > 0 and operation and kind != "fault":
                spot = self.spots[index] or self._spot(index)
                if kind == "reply":
                    answered, remembered = self._answered((operation, entity, attempt), spot, data)
                    direct |= answered
                    memory |= remembered
                elif kind == "call":
                    self.asked += (bits := spot.called or self._numbered(spot, "called"))
                    own |= bits[0]
                    # the last one: each message has attempts of its own
                    self.calls[operation, entity, attempt] = index
                else:
                    self.asked += (bits := spot.done or self._numbered(spot, "done"))
                    own |= bits[0] | bits[1]
                    after = bits[2]
            direct |= own
            memory |= own
            if "#" in actor:
                memory |= told.get((actor, entity), 0)
                told[actor, entity] = memory
            ways.append((direct, memory))
            onward.append((direct | after, memory | after) if after else ways[-1])
            if origins[index] >= 0 and kind in ("handled", "raised", "effect"):
                self.answers[origins[index]] = index

    def _spot(self, index: int) -> Spot:
        """Return the place of an event, from now on known as such."""
        found = self.spots[index] = self._spot_at(_PLACE(self.raw[index]))
        return found

    def _spot_at(self, place: Place) -> Spot:
        known = self.numbering.spots
        if place not in known:
            if place[0] not in self.surfaces or place[2] <= 0:
                return NOWHERE
            known[place] = Spot(place)
        return known[place]

    def _numbered(self, spot: Spot, name: str) -> tuple[int, ...]:
        """Give the cuts that are asked for at a place their numbers, as far as they have none."""
        bits = spot.bits
        for sort in ASKED[name]:
            if sort not in bits:
                bits[sort] = self.numbering.number((*spot.place, sort))
        found = tuple([bits[sort] for sort in ASKED[name]])
        setattr(spot, name, found)
        return found

    def _crossing(self, cause: int) -> int:
        """Return what cuts between two actors, after an event of the first of them."""
        _, kind, _, operation, _, _, _, _ = self.raw[cause]
        way = 0
        if operation:
            spot = self.spots[cause] or self._spot(cause)
            self.asked += (bits := spot.left or self._numbered(spot, "left"))
            way = bits[0]
        if kind == "call" and (place := self.handles.get(cause)) is not None:
            spot = self._spot_at(place)
            self.asked += (bits := spot.called or self._numbered(spot, "called"))
            way |= bits[0]
        return way

    def _answered(self, place: Place, spot: Spot, data: Any) -> tuple[int, int]:
        """Return what cuts between a call and its answer; nothing where none came."""
        call = self.calls.get(place, -1)
        if call < 0 or data["outcome"] == "unknown":
            return 0, 0
        answer = self.answers.get(call, -1)
        through = self.onward[answer] if answer >= 0 else (0, 0)
        self.asked += (bits := spot.answered or self._numbered(spot, "answered"))
        here = bits[0] | bits[1]
        asked = self.onward[call]
        return asked[0] | through[0] | here, asked[1] | through[1] | here

    def _ends(self, wanted: set[int]) -> dict[int, tuple[int, bool]]:
        """Return for some events how their actor may die afterwards, and whether it did."""
        raw = self.raw
        found = dict.fromkeys(wanted, (0, False))
        actors = set(map(_ACTOR, raw))
        services = {actor: service_of(actor) for actor in actors if "#" in actor}
        later = dict.fromkeys(services.values(), 0)
        dead: set[str] = set()
        for index in range(len(raw) - 1, -1, -1):
            _, kind, actor, operation, _, attempt, _, _ = raw[index]
            if actor not in services:
                continue
            who = services[actor]
            if index in wanted:
                found[index] = (later[who], who in dead)
            if kind == "crash":
                dead.add(who)
            if attempt > 0 and operation:
                spot = self.spots[index] or self._spot(index)
                self.asked += (bits := spot.ended or self._numbered(spot, "ended"))
                later[who] |= bits[0] | bits[1]
        return found


class First(_Reader):
    """The reading of the run that others begin like: what it was up to each event."""

    def __init__(
        self, history: History, surfaces: Mapping[str, Surface], numbering: Numbering
    ) -> None:
        super().__init__(history, surfaces, numbering)
        self.asked_at = []
        self._walk()
        self.doing: list[tuple[int, int, str, Place | None]] = []
        self._tellers: list[tuple[str, int] | None] = []
        self._calling: list[tuple[int, Place]] = []
        self._answering: list[tuple[int, int]] = []
        for index, event in enumerate(self.raw):
            _, kind, actor, operation, entity, attempt, _, _ = event
            acts, origin, place = "#" in actor, self.origins[index], (operation, entity, attempt)
            self._tellers.append((actor, entity) if acts else None)
            if origin >= 0 and operation and acts:
                handle = place if kind in ("handled", "raised") else None
                where = f"{operation.partition('/')[0]}/handle"
                self.doing.append((index, origin, where, handle))
            if kind == "call" and attempt > 0 and operation:
                self._calling.append((index, place))
            if origin >= 0 and kind in ("handled", "raised", "effect"):
                self._answering.append((index, origin))

    def until(self, alike: int, handles: Mapping[int, Place]) -> int:
        """Return up to where a run was like this one: not past a call picked up elsewhere."""
        mine = self.handles
        for call in {*mine, *handles}:
            if call < alike and mine.get(call) != handles.get(call):
                alike = call + 1
        return alike

    def lead(self, other: _Reader) -> dict[Any, int]:
        """Have another reading begin as this one; return what each actor had been told by then."""
        alike = other.alike
        assert self.asked_at is not None
        other.asked += self.asked[: self.asked_at[alike]] if alike < len(self.raw) else self.asked
        other.spots[:alike] = self.spots[:alike]
        other.ways += self.ways[:alike]
        other.onward += self.onward[:alike]
        other.calls.update({place: index for index, place in self._calling if index < alike})
        other.answers.update({call: index for index, call in self._answering if index < alike})
        return dict(zip(self._tellers[:alike], map(_MEMORY, other.ways), strict=True))


def _alike(raw: list[RawEvent], other: list[RawEvent]) -> int:
    """Return how many events two histories begin with alike."""
    same = [*map(eq, raw, other)]
    return same.index(False) if False in same else len(same)
