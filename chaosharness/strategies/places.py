"""Places: where a system can be struck, and by what, learned from the system itself.

A calm run shows the good path only. So a few telling faults are tried on every
operation, which brings out compensations, retries and second attempts. The result is
fixed for the life of the process: Hypothesis must see one stable shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs

from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.faults import (
    EVERY_KIND,
    Crash,
    Delay,
    ErrorReply,
    FailedCommit,
    Fault,
    LostReply,
    Poison,
    Redeliver,
)
from chaosharness.handlers.port import Kinds, Surface
from chaosharness.kernel.site import PHASES, Phase, Site
from chaosharness.schedule import Schedule
from chaosharness.strategies.sizes import NONE, Sizes, sizes_for
from chaosharness.strategies.spelling import Spelling
from chaosharness.system import CLIENT, OBSERVERS, OUTSIDE, Run, System
from chaosharness.system.given import wired_at
from chaosharness.system.twice import Watch

RUNS_MAX: Final = 200
"""Runs that learning a system may take. They are never part of a test's own budget."""

TELLING: Final[tuple[tuple[type[Fault], dict[str, Any]], ...]] = (
    (ErrorReply, {}),
    (LostReply, {}),
    (Crash, {}),
    (FailedCommit, {}),
    (Delay, {"lasting": "timeout"}),
    (Poison, {}),
    (Redeliver, {}),
)
"""What brings out further operations, most telling first; a delay is set past a timeout."""

_KINDS: Final = {kind: order for order, kind in enumerate(EVERY_KIND)}


@attrs.frozen
class Place:
    """An operation, before or after it, and the faults a search tries there.

    Attributes:
        operation: As in `Site.operation`.
        phase: `before` the operation takes effect, or `after` it.
        kinds: The kinds of fault, mildest first; never empty.
        own: Whether it is reached on behalf of no workload item (entity 0).
        attempts: The most often it is reached for one message in the calm run; 0 if never.
        message: Which message is in hand, as in `Site.message`.
    """

    operation: str
    phase: Phase
    kinds: Kinds
    own: bool
    attempts: int
    message: str = ""


def searched(operation: str, surface: Surface, phase: Phase) -> Kinds:
    """Return the kinds of fault that a search tries at this operation, mildest first."""
    kinds = surface.searched_before if phase == "before" else surface.searched_after
    kinds = surface.stops(kinds)
    if operation.startswith(f"{CLIENT}."):
        kinds = tuple(kind for kind in kinds if kind in OUTSIDE)
    return tuple(sorted(kinds, key=_KINDS.__getitem__))


_known: Final[WeakKeyDictionary[System, tuple[Place, ...]]] = WeakKeyDictionary()
_sizes: Final[WeakKeyDictionary[System, Sizes]] = WeakKeyDictionary()


def places(system: System) -> tuple[Place, ...]:
    """Return where a system can be struck, in the order in which it gets there.

    Learned at the first call, from up to `RUNS_MAX` runs of the entry's examples, and
    the same ever after.

    Raises:
        InvalidDefinition: The system has no entry or no examples, or nothing in it can
            be struck.
        Nondeterminism: Its calm run is not the same a second time, or after runs with faults.
    """
    found = _known.get(system)
    if found is None:
        if not system.examples:
            raise InvalidDefinition(
                f"there is no workload: system {system.name!r} has no examples to learn its sites "
                f"from. Give @{system.name}.entry(examples=[...]) at least one item"
                f"{wired_at(system.given())}"
            )
        token = OBSERVERS.set(())
        try:
            survey = _Survey(system, RUNS_MAX)
            found = _known[system] = survey.places()
            _sizes[system] = survey.sizes
        finally:
            OBSERVERS.reset(token)
        if not found:
            raise InvalidDefinition(
                f"nothing in system {system.name!r} can be struck by a fault: the run of its "
                "examples reached no port of a service. Is a service missing, or does nobody "
                f"consume what the entry sends?{wired_at(system.given())}"
            )
    return found


def sizes_of_system(system: System) -> Sizes:
    """Return how long trouble may last in a system, learned as `places` are, once and for all."""
    places(system)
    return _sizes[system]


@attrs.define
class _Survey:
    """What the runs so far have shown."""

    system: System
    runs_left: int
    sizes: Sizes = attrs.field(default=NONE, init=False)
    surfaces: dict[str, Surface] = attrs.field(factory=dict, init=False)
    calm: dict[tuple[str, int, str], int] = attrs.field(factory=dict, init=False)
    spelling: Spelling = attrs.field(factory=Spelling, init=False)
    messages: dict[tuple[str, bool], dict[str, int]] = attrs.field(factory=dict, init=False)
    entities: dict[str, dict[int, None]] = attrs.field(factory=dict, init=False)

    def places(self) -> tuple[Place, ...]:
        watch = Watch(self.system)
        run = self.system.run()
        watch.begin(calm=run)
        self.sizes = sizes_for(run)
        self.calm.update(run.attempts)
        fresh = self._learn(run, Schedule())
        while fresh and self.runs_left > 0:
            fresh = self._try_all(fresh)
        watch.end()
        return tuple(self._places())

    def _learn(self, run: Run, led_here: Schedule) -> list[tuple[str, Schedule]]:
        """Take in what a run reached; return the operations not seen before."""
        self.spelling.learn(run.attempts)
        for place in run.attempts:
            operation, entity, _ = place
            self.entities.setdefault(operation, {})[entity] = None
            words = self.messages.setdefault((operation, entity == 0), {})
            spelled = self.spelling.words(place)
            words[spelled] = max(words.get(spelled, 0), self.calm.get(place, 0))
        fresh = [name for name in run.surfaces if name not in self.surfaces]
        self.surfaces.update((name, run.surfaces[name]) for name in fresh)
        return [(name, led_here) for name in fresh]

    def _try_all(self, operations: list[tuple[str, Schedule]]) -> list[tuple[str, Schedule]]:
        """Try each telling fault at each of these operations, most telling kinds first."""
        fresh: list[tuple[str, Schedule]] = []
        for kind, words in TELLING:
            for operation, led_here in operations:
                for schedule in self._with(kind, words, operation, led_here):
                    if self.runs_left <= 0:
                        return fresh
                    self.runs_left -= 1
                    try:
                        run = self.system.run(None, schedule)
                    except ChaosharnessError:
                        continue  # the test's own runs will meet it, and show it with its schedule
                    fresh += self._learn(run, schedule)
        return fresh

    def _with(
        self, kind: type[Fault], words: dict[str, Any], operation: str, led_here: Schedule
    ) -> Iterator[Schedule]:
        entity = min(self.entities[operation], key=lambda one: (one == 0, one))  # an item first
        for phase in PHASES:
            if kind in searched(operation, self.surfaces[operation], phase):
                yield led_here.with_(kind(Site(operation, phase, entity), **words))

    def _places(self) -> Iterator[Place]:
        for operation, surface in self.surfaces.items():
            for own in (False, True):
                messages = self.messages.get((operation, own), {})
                for phase in PHASES:
                    if kinds := searched(operation, surface, phase):
                        for message, attempts in messages.items():
                            yield Place(operation, phase, kinds, own, attempts, message)
