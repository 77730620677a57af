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
from typing import Any, Final, Literal

import attrs

from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History, RawEvent
from chaosharness.system import Run

OUTCOMES: Final = frozenset({"effect", "commit", "note"})
"""What a system is there for: money moved, rows stored, decisions told."""

Sort = Literal["dies before", "is lost", "dies after", "answer is lost"]
EVENTS_MAX: Final = 4_000
"""The cost of ways grows with the square of the events: a run that never rests has thousands."""

SORTS: Final[tuple[Sort, ...]] = ("dies before", "is lost", "dies after", "answer is lost")

Place = tuple[str, int, int]
"""Operation, entity, attempt."""

Cut = tuple[str, int, int, Sort]
"""A place, and what happens there."""

Key = tuple[str, str, str, int, str]
"""Kind of event, who, what, the workload item, and further words."""


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
        outcomes: The ways to each outcome, one for each of its events, the last outcome first.
        handled: What cuts each message off that was handled, all different.
    """

    cuts: tuple[Cut, ...] = ()
    outcomes: tuple[tuple[Key, tuple[Way, ...]], ...] = ()
    handled: tuple[int, ...] = ()


def ways_of(run: Run) -> Ways:
    """Return how the outcomes of a run came about: of a very long history, nothing."""
    if len(run.history.raw) > EVENTS_MAX:
        return Ways()
    return _Reader(run.history, run.surfaces).read()


def outcomes_of(history: History) -> dict[Key, tuple[int, ...]]:
    """Return the outcomes of a run and the indexes of their events, the last outcome first."""
    found: dict[Key, list[int]] = {}
    for index, event in enumerate(history.raw):
        if event[1] in OUTCOMES:
            found.setdefault(key_of(event), []).append(index)
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

    def __init__(self, history: History, surfaces: Mapping[str, Surface]) -> None:
        self.history = history
        self.raw = history.raw
        self.surfaces = surfaces
        self.cuts: list[Cut] = []
        self.bits: dict[Sort, dict[Place, int]] = {sort: {} for sort in SORTS}
        self.calls: dict[Place, int] = {}
        self.origins: list[int] = []
        self.handles: dict[int, Place] = {}
        self.answers: dict[int, int] = {}
        self.ways: list[tuple[int, int]] = []
        self.onward: list[tuple[int, int]] = []  # what cuts off whatever an event led to
        self._find_calls()

    def _find_calls(self) -> None:
        """Find which call each event was done for, and where that was picked up."""
        raw, origins = self.raw, self.origins
        begun: dict[int, str] = {}
        for _, kind, actor, operation, entity, attempt, cause, _ in raw:
            origin = -1
            if cause >= 0:
                crosses = raw[cause][1] == "call" and raw[cause][2] != actor
                origin = cause if crosses else origins[cause]
            origins.append(origin)
            if origin >= 0 and operation and "#" in actor:
                if kind in ("handled", "raised"):
                    self.handles[origin] = (operation, entity, attempt)
                begun.setdefault(origin, f"{operation.partition('/')[0]}/handle")
        self._guess_handles(begun)

    def _guess_handles(self, begun: Mapping[int, str]) -> None:
        """Find where calls were picked up whose handler never came to its end."""
        times: dict[tuple[str, int], int] = {}
        for call, operation in begun.items():
            entity = self.raw[call][4]
            attempt = times[operation, entity] = times.get((operation, entity), 0) + 1
            self.handles.setdefault(call, (operation, entity, attempt))

    def read(self) -> Ways:
        told: dict[tuple[str, int], int] = {}
        for index, event in enumerate(self.raw):
            self._step(index, event, told)
        ends = self._ends()
        outcomes = tuple(
            (key, tuple(Way(*self.ways[index], *ends[index]) for index in events))
            for key, events in outcomes_of(self.history).items()
        )
        handled = {
            self.ways[at][0]: None for at, event in enumerate(self.raw) if event[1] == "handled"
        }
        return Ways(tuple(self.cuts), outcomes, tuple(handled))

    def _step(self, index: int, event: RawEvent, told: dict[tuple[str, int], int]) -> None:
        _, kind, actor, operation, entity, attempt, cause, data = event
        direct, memory = self.onward[cause] if cause >= 0 else (0, 0)
        own = self._crossing(cause) if cause >= 0 and self.raw[cause][2] != actor else 0
        after = 0
        if operation and attempt > 0 and kind != "fault":
            place = (operation, entity, attempt)
            if kind == "reply":
                answered, remembered = self._answered(place, data)
                direct |= answered
                memory |= remembered
            else:
                own |= self._bit(place, "dies before")
                if kind == "call":
                    self.calls[place] = index  # the last one: each message has attempts of its own
                else:
                    own |= self._bit(place, "is lost")
                    after = self._bit(place, "dies after")
        direct |= own
        memory |= own
        if "#" in actor:
            memory |= told.get((actor, entity), 0)
            told[actor, entity] = memory
        self.ways.append((direct, memory))
        self.onward.append((direct | after, memory | after))
        if kind in ("handled", "raised", "effect") and self.origins[index] >= 0:
            self.answers[self.origins[index]] = index

    def _bit(self, place: Place, sort: Sort) -> int:
        found = self.bits[sort].get(place)
        return self._new_bit(place, sort) if found is None else found

    def _new_bit(self, place: Place, sort: Sort) -> int:
        """Give a cut the next bit, if something can cut there."""
        found = 0
        if place[0] in self.surfaces and place[2] > 0:
            found = 1 << len(self.cuts)
            self.cuts.append((*place, sort))
        self.bits[sort][place] = found
        return found

    def _crossing(self, cause: int) -> int:
        """Return what cuts between two actors, after an event of the first of them."""
        _, kind, _, operation, entity, attempt, _, _ = self.raw[cause]
        way = self._bit((operation, entity, attempt), "is lost") if operation else 0
        if kind == "call" and (place := self.handles.get(cause)) is not None:
            way |= self._bit(place, "dies before")
        return way

    def _answered(self, place: Place, data: Any) -> tuple[int, int]:
        """Return what cuts between a call and its answer; nothing where none came."""
        call = self.calls.get(place, -1)
        if call < 0 or data["outcome"] == "unknown":
            return 0, 0
        answer = self.answers.get(call, -1)
        through = self.onward[answer] if answer >= 0 else (0, 0)
        here = self._bit(place, "dies after") | self._bit(place, "answer is lost")
        asked = self.onward[call]
        return asked[0] | through[0] | here, asked[1] | through[1] | here

    def _ends(self) -> list[tuple[int, bool]]:
        """Return for each event how its actor may die afterwards, and whether it did."""
        found = [(0, False)] * len(self.raw)
        later: dict[str, int] = {}
        services: dict[str, str] = {}
        dead: set[str] = set()
        for index in range(len(self.raw) - 1, -1, -1):
            _, kind, actor, operation, entity, attempt, _, _ = self.raw[index]
            if "#" in actor:
                who = services.get(actor) or services.setdefault(actor, service_of(actor))
                found[index] = (later.get(who, 0), who in dead)
                if kind == "crash":
                    dead.add(who)
                if operation and attempt > 0:
                    place = (operation, entity, attempt)
                    dies = self._bit(place, "dies before") | self._bit(place, "dies after")
                    later[who] = later.get(who, 0) | dies
        return found
