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

from collections.abc import Collection, Mapping
from functools import reduce
from itertools import chain, compress, repeat
from operator import attrgetter, eq, itemgetter, ne, or_
from typing import Any, Final, Literal, Protocol

import attrs

from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History, RawEvent, followed
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

_KIND: Final = itemgetter(1)
_ACTOR: Final = itemgetter(2)
_TELLER: Final = itemgetter(2, 4)
_PLACE: Final = itemgetter(3, 4, 5)
_CAUSE: Final = itemgetter(6)
_MEMORY: Final = itemgetter(1)


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
        near: What cuts the event itself off, once `done` is known.
        after: What cuts off whatever it leads to, likewise.
        end: What ends its actor, once `ended` is known.
    """

    place: Place
    called: tuple[int, ...] | None = None
    done: tuple[int, ...] | None = None
    left: tuple[int, ...] | None = None
    answered: tuple[int, ...] | None = None
    ended: tuple[int, ...] | None = None
    near: int = 0
    after: int = 0
    end: int = 0
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

NOBODY: Final = ("", 0)
"""Who stands for all that remember nothing."""

_ENDED: Final = attrgetter("ended")
_END: Final = attrgetter("end")

_CALL, _REPLY, _FAULT, _ANSWER, _ELSE = range(5)
_SORTS: Final = {
    "call": _CALL,
    "reply": _REPLY,
    "fault": _FAULT,
    "handled": _ANSWER,
    "raised": _ANSWER,
    "effect": _ANSWER,
}
"""What an event is to the ways: what is not named here is something that was done."""


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
    """Goes through one history, oldest event first.

    What can be said of all events at once is said so; only what follows from what was before
    is found event by event.
    """

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
        self.actors = [*map(_ACTOR, self.raw)]
        self.causes = [*map(_CAUSE, self.raw)]
        self.acting = {actor for actor in {*self.actors} if "#" in actor}
        self.asked: list[tuple[int, ...]] = []  # all bits that were asked for, in turn
        self.calls: dict[Place, int] = {}
        self.origins: list[int] = []
        self.handles: dict[int, Place] = {}
        self.answers: dict[int, int] = {}
        self.ways: list[tuple[int, int]] = []
        self.onward: list[tuple[int, int]] = []  # what cuts off whatever an event led to
        self.first = numbering.first
        self.alike = 0 if self.first is None else _alike(self.raw, self.first.raw)
        self._find_calls()

    def _find_calls(self) -> None:
        """Find which call each event was done for, and where that was picked up."""
        raw, actors, causes = self.raw, self.actors, self.causes
        calls = {*self.history.places_of("call")}
        onward = [*causes, -1]
        crossings: dict[int, int] = {}
        for index in compress(range(len(raw)), map(calls.__contains__, causes)):
            cause = causes[index]
            if actors[cause] != actors[index]:
                crossings[index] = cause
                onward[index] = index
        if crossings:
            self.origins = [*map(crossings.get, followed(onward)[:-1], repeat(-1))]
        else:
            self.origins = [-1] * len(raw)
        begun: dict[int, str] = {}
        for index in compress(range(len(raw)), map((-1).__lt__, self.origins)):
            _, kind, actor, operation, entity, attempt, _, _ = raw[index]
            if operation and "#" in actor:
                origin = self.origins[index]
                if kind in ("handled", "raised"):
                    self.handles[origin] = (operation, entity, attempt)
                begun.setdefault(origin, f"{operation.partition('/')[0]}/handle")
        self._guess_handles(begun)
        if self.first is not None:
            self.alike = self.first.until(self.alike, self.handles)

    def _guess_handles(self, begun: Mapping[int, str]) -> None:
        """Find where calls were picked up whose handler never came to its end."""
        times: dict[tuple[str, int], int] = {}
        for call, operation in begun.items():
            entity = self.raw[call][4]
            attempt = times[operation, entity] = times.get((operation, entity), 0) + 1
            self.handles.setdefault(call, (operation, entity, attempt))

    def read(self) -> Lesson:
        """Return the ways."""
        self._walk(self.alike, len(self.raw), {} if self.first is None else self.first.lead(self))
        kept, ways = self.kept, self.ways
        found = outcomes_of(self.history)
        ends = self._ends({index for events in found.values() for index in events})
        outcomes = tuple(
            (key, tuple([self._way(index, *ends[index]) for index in events]))
            for key, events in found.items()
        )
        handled = {ways[at][0] & kept: None for at in self.history.places_of("handled")}
        asked = dict.fromkeys(chain.from_iterable(self.asked))
        return Lesson(outcomes, tuple(handled), tuple(asked))

    def _way(self, index: int, end: int, gone: bool) -> Way:
        direct, memory = self.ways[index]
        return Way(direct & self.kept, memory & self.kept, end & self.kept, gone)

    def _walk(self, begin: int, end: int, told: dict[tuple[str, int], int]) -> None:
        """Find the ways to some events: those of its cause, what lies between, and its own place.

        Args:
            begin, end: The events.
            told: What each actor was told before, for each item; it goes on from there.
        """
        raw, actors, onward = self.raw, self.actors, self.onward
        ask, arrive, leave, before = self.asked.append, self.ways.append, onward.append, told.get
        some = raw[begin:end]
        columns = (
            map(_TELLER, some),
            self.causes[begin:end],
            map(_SORTS.get, map(_KIND, some), repeat(_ELSE)),
            self.spots[begin:end],
            map(self.acting.__contains__, actors[begin:end]),
            map(ne, actors[begin:end], map(actors.__getitem__, self.causes[begin:end])),
        )
        rows = enumerate(zip(*columns, strict=True), begin)
        for index, (teller, cause, sort, spot, acts, crosses) in rows:
            if cause < 0:
                direct = memory = 0
            else:
                direct, memory = onward[cause]
                if crosses:
                    between = self._crossing(cause)
                    direct |= between
                    memory |= between
            after = 0
            if sort >= _ANSWER:
                if spot is None:
                    spot = self._spot(index)
                if spot is not NOWHERE:
                    ask(spot.done or self._numbered(spot, "done"))
                    near, after = spot.near, spot.after
                    direct |= near
                    memory |= near
            elif sort < _FAULT:
                direct, memory = self._called(index, sort, spot, direct, memory)
            if acts:
                told[teller] = memory = memory | before(teller, 0)
            way = (direct, memory)
            arrive(way)
            leave((direct | after, memory | after) if after else way)
            if sort == _ANSWER and (origin := self.origins[index]) >= 0:
                self.answers[origin] = index

    def _called(
        self, index: int, sort: int, spot: Spot | None, direct: int, memory: int
    ) -> tuple[int, int]:
        """Return the way to a call that goes out, or to its answer."""
        _, _, _, operation, entity, attempt, _, data = self.raw[index]
        if attempt <= 0 or not operation:
            return direct, memory
        spot = spot or self._spot(index)
        place = (operation, entity, attempt)
        if sort == _REPLY:
            answered, remembered = self._answered(place, spot, data)
            return direct | answered, memory | remembered
        self.asked.append(bits := spot.called or self._numbered(spot, "called"))
        self.calls[place] = index  # the last one: each message has attempts of its own
        return direct | bits[0], memory | bits[0]

    def _spot(self, index: int) -> Spot:
        """Return the place of an event, from now on known as such."""
        found = self.spots[index] = self._spot_at(_PLACE(self.raw[index]))
        return found

    def _spot_at(self, place: Place) -> Spot:
        known = self.numbering.spots
        if place not in known:
            if not place[0] or place[2] <= 0:
                known[place] = NOWHERE  # in every run
            elif place[0] in self.surfaces:
                known[place] = Spot(place)
            else:
                return NOWHERE
        return known[place]

    def _numbered(self, spot: Spot, name: str) -> tuple[int, ...]:
        """Give the cuts that are asked for at a place their numbers, as far as they have none."""
        bits, place, number = spot.bits, spot.place, self.numbering.number
        asked = ASKED[name]
        for sort in asked:
            if sort not in bits:
                bits[sort] = number((*place, sort))
        found = tuple(map(bits.__getitem__, asked))
        setattr(spot, name, found)
        if name == "done":
            spot.near, spot.after = found[0] | found[1], found[2]
        elif name == "ended":
            spot.end = found[0] | found[1]
        return found

    def _crossing(self, cause: int) -> int:
        """Return what cuts between two actors, after an event of the first of them."""
        way = 0
        if self.raw[cause][3]:
            spot = self.spots[cause] or self._spot(cause)
            self.asked.append(bits := spot.left or self._numbered(spot, "left"))
            way = bits[0]
        if (place := self.handles.get(cause)) is not None:
            spot = self._spot_at(place)
            self.asked.append(bits := spot.called or self._numbered(spot, "called"))
            way |= bits[0]
        return way

    def _answered(self, place: Place, spot: Spot, data: Any) -> tuple[int, int]:
        """Return what cuts between a call and its answer; nothing where none came."""
        call = self.calls.get(place, -1)
        if call < 0 or data["outcome"] == "unknown":
            return 0, 0
        answer = self.answers.get(call, -1)
        through = self.onward[answer] if answer >= 0 else (0, 0)
        self.asked.append(bits := spot.answered or self._numbered(spot, "answered"))
        here = bits[0] | bits[1]
        asked = self.onward[call]
        return asked[0] | through[0] | here, asked[1] | through[1] | here

    def _ends(self, wanted: Collection[int]) -> dict[int, tuple[int, bool]]:
        """Return for some events how their actor may die afterwards, and whether it did."""
        actors, spots = self.actors, self.spots
        services = {actor: service_of(actor) for actor in self.acting}
        acts = [*compress(range(len(actors)), map(services.__contains__, actors))]
        acts.reverse()
        here = [*filter(None, map(spots.__getitem__, acts))]
        if len(here) < len(acts):
            here = [spots[index] or self._spot(index) for index in acts]
        if None in map(_ENDED, here):
            for spot in here:
                if spot.ended is None:
                    self._numbered(spot, "ended")
        self.asked += map(_ENDED, here)
        whose = [*map(services.__getitem__, map(actors.__getitem__, acts))]
        dead = [(at, services.get(actors[at])) for at in self.history.places_of("crash")]
        found: dict[int, tuple[int, bool]] = dict.fromkeys(wanted, (0, False))
        for index in wanted:
            if (who := services.get(actors[index])) is not None:
                until = acts.index(index)
                later = compress(map(_END, here[:until]), map(who.__eq__, whose))
                gone = any(at > index and whom == who for at, whom in dead)
                found[index] = (reduce(or_, later, 0), gone)
        return found


class First(_Reader):
    """The reading of the run that others begin like: what it was up to each event."""

    def __init__(
        self, history: History, surfaces: Mapping[str, Surface], numbering: Numbering
    ) -> None:
        super().__init__(history, surfaces, numbering)
        self._asked_at: list[int] = []
        told: dict[tuple[str, int], int] = {}
        for index in range(len(self.raw)):
            self._asked_at.append(len(self.asked))
            self._walk(index, index + 1, told)
        self._asked_at.append(len(self.asked))
        self._tellers = [
            teller if "#" in teller[0] else NOBODY for teller in map(_TELLER, self.raw)
        ]
        self._calling = [
            (index, _PLACE(self.raw[index]))
            for index in self.history.places_of("call")
            if self.raw[index][3] and self.raw[index][5] > 0
        ]
        self._answering = [
            (index, origin)
            for index in self.history.places_of("handled", "raised", "effect")
            if (origin := self.origins[index]) >= 0
        ]

    def until(self, alike: int, handles: Mapping[int, Place]) -> int:
        """Return up to where a run was like this one: not past a call picked up elsewhere."""
        mine = self.handles
        for call in {*mine, *handles}:
            if call < alike and mine.get(call) != handles.get(call):
                alike = call + 1
        return alike

    def lead(self, other: _Reader) -> dict[tuple[str, int], int]:
        """Have another reading begin as this one; return what each actor had been told by then."""
        alike = other.alike
        other.asked += self.asked[: self._asked_at[alike]]
        other.spots[:alike] = self.spots[:alike]
        other.ways += self.ways[:alike]
        other.onward += self.onward[:alike]
        other.calls.update({place: index for index, place in self._calling if index < alike})
        other.answers.update({call: index for index, call in self._answering if index < alike})
        told = dict(zip(self._tellers[:alike], map(_MEMORY, other.ways), strict=True))
        told.pop(NOBODY, None)
        return told


def _alike(raw: list[RawEvent], other: list[RawEvent]) -> int:
    """Return how many events two histories begin with alike."""
    same = [*map(eq, raw, other)]
    return same.index(False) if False in same else len(same)
