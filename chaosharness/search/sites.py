"""From a run to the faults worth trying: each kind that is legal at each site it reached."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import count, filterfalse
from typing import Final

import attrs

from chaosharness.campaign import Cell
from chaosharness.faults import EVERY_KIND, FAULTS, LASTINGS, Fault, GracefulStop
from chaosharness.handlers.port import Kinds, Surface
from chaosharness.kernel.history import History
from chaosharness.kernel.site import PHASES, Phase, Site
from chaosharness.search.marks import Shown, Sight
from chaosharness.search.odds import Row, is_a_length, row_of
from chaosharness.strategies.sizes import (
    NONE,
    REMEMBERED_MAX,
    Sizes,
    count_of,
    in_words,
    option_of,
    rank,
    sizes_for,
    variant,
    variants,
)
from chaosharness.strategies.spelling import Place, Spelling
from chaosharness.system import CLIENT, OUTSIDE, Run

OUTCOMES: Final = frozenset({"effect", "commit", "state"})
"""What a system is there for: money moved, rows stored."""

ATTEMPTS_MAX: Final = 12
"""Later attempts of an operation for an item are not struck: a retry loop would drown the rest."""

SIZED_MAX: Final = 500
"""Single faults that last a number of ms: with more of them at all sites, they are tried at the
first attempt of each operation only, for the first item to get there."""

Reached = Mapping[Place, int]

Count = tuple[type[Fault], Phase, int]
"""A kind of fault, when it strikes, and how many of it there are at one attempt."""


@attrs.frozen
class Sort:
    """What a fault is like, wherever it strikes.

    Attributes:
        row: Its row in the table of odds.
        kind: Its kind as words.
        rank: When a search tries it.
        late: Whether it strikes after the operation.
        sized: Whether it lasts a number of ms.
        mild: Whether its option is the mildest.
        short: Whether its option is a length, and not the longest.
    """

    row: Row
    kind: str
    rank: tuple[int, ...]
    late: bool
    sized: bool
    mild: bool
    short: bool


_SORTS: Final[dict[tuple[type[Fault], Phase, Sizes], tuple[Sort, ...]]] = {}


def _sorts(kind: type[Fault], phase: Phase, sizes: Sizes) -> tuple[Sort, ...]:
    """Return what the faults of a kind are like, in the order of `variants`."""
    key = (kind, phase, sizes)
    if key not in _SORTS:
        if len(_SORTS) >= REMEMBERED_MAX:
            _SORTS.clear()
        _SORTS[key] = tuple(map(_sort_of, variants(kind, Site("any", phase), sizes)))
    return _SORTS[key]


def _sort_of(fault: Fault) -> Sort:
    late = fault.site.phase == "after"
    sized = is_a_length(fault)
    short = sized or (fault.options == LASTINGS and fault.option != LASTINGS[-1])
    return Sort(row_of(fault), fault.kind, rank(fault), late, sized, not option_of(fault), short)


def candidates(
    run: Run, *, kinds: Collection[type[Fault]] = FAULTS, sizes: Sizes | None = None
) -> list[Fault]:
    """Return every single fault that may be tried at the sites of a run, mildest first.

    Args:
        run: Usually the calm run.
        kinds: Only these kinds.
        sizes: How long trouble may last besides the words; by default what a calm run shows.

    Returns:
        The first value of each kind's option before any second one, lengths in ms last; then
        by kind, mildest first; then by workload item, and in the order in which the run got
        there. Attempts after `ATTEMPTS_MAX` are left out.
    """
    catalogue = Catalogue(kinds=kinds, sizes=sizes)
    catalogue.learn(Sight(run))
    found = [fault for key, times in run.attempts.items() for fault in catalogue.all_at(key, times)]
    return sorted(found, key=catalogue.mildness)


def _set(kinds: Iterable[type[Fault]]) -> frozenset[type[Fault]]:
    return frozenset(kinds)


@attrs.define
class Catalogue:
    """The faults that may be tried at each operation, as far as runs have shown it.

    Attributes:
        kinds: The only kinds that are offered.
        sizes: How long trouble may last besides the words; None until the calm run is known,
            which shows it.
        thinned: Whether these sizes are offered at some sites only: see `SIZED_MAX`.
        surfaces: Which faults may strike at each operation seen so far.
        struck: How often a fault of each kind struck at each operation.
        spelling: How sites spell which message they mean.
    """

    kinds: frozenset[type[Fault]] = attrs.field(default=FAULTS, converter=_set, kw_only=True)
    sizes: Sizes | None = attrs.field(default=None, kw_only=True)
    thinned: bool = attrs.field(default=False, init=False)
    surfaces: dict[str, Surface] = attrs.field(factory=dict, init=False)
    struck: dict[Cell, int] = attrs.field(factory=dict, init=False)
    spelling: Spelling = attrs.field(factory=Spelling, init=False)
    _positions: dict[Place, int] = attrs.field(factory=dict, init=False)
    _at: dict[tuple[str, int, str, int], tuple[Fault, ...]] = attrs.field(factory=dict, init=False)
    _counts: dict[tuple[str, bool], tuple[Count, ...]] = attrs.field(factory=dict, init=False)
    _sorts: dict[tuple[str, bool], tuple[Sort, ...]] = attrs.field(factory=dict, init=False)
    _first: dict[str, int] = attrs.field(factory=dict, init=False)
    _calm_known: bool = attrs.field(default=False, init=False)

    def learn(self, run: Shown) -> None:
        """Take in the operations that a run reached, and which faults struck."""
        surfaces = self.surfaces
        if not run.surfaces.keys() <= surfaces.keys():
            for operation, surface in run.surfaces.items():
                surfaces.setdefault(operation, surface)
        positions = self._positions
        if not run.attempts.keys() <= positions.keys():
            fresh = [*filterfalse(positions.__contains__, run.attempts)]
            positions.update(zip(fresh, count(len(positions)), strict=False))
            self.spelling.learn(fresh)
        for fault in run.struck:
            cell = cell_of(fault)
            self.struck[cell] = self.struck.get(cell, 0) + 1
        if not self._calm_known and run.run is not None and not run.schedule.faults:
            self._learn_sizes(run.run)

    def _learn_sizes(self, calm: Run) -> None:
        """Take sizes from the calm run, and decide where they are tried."""
        self._calm_known = True
        if self.sizes is None:
            self.sizes = sizes_for(calm)
        stalls = 0
        for (operation, entity, _), times in calm.attempts.items():
            first = self._first.setdefault(operation, entity)
            if not first:
                self._first[operation] = entity  # a workload item, if there is one
            surface = self.surfaces[operation]
            kinds = (kind for phase in PHASES for kind in searched(operation, surface, phase))
            lasting = sum(bool(kind.length_name) and kind in self.kinds for kind in kinds)
            stalls += lasting * min(times, ATTEMPTS_MAX)
        self.thinned = stalls * len(self.sizes.ms) > SIZED_MAX
        self._at.clear()
        self._counts.clear()
        self._sorts.clear()

    def leaves_sizes_out(self) -> bool:
        """Say whether a length that the system shows is not tried, or not everywhere."""
        return self.thinned or bool(self.sizes and self.sizes.gaps)

    def stalls(self) -> tuple[str, ...]:
        """Say how long trouble was tried to last, and what was left out; one sentence each."""
        sizes = self.sizes or NONE
        kinds = {kind for one in self.surfaces.values() for kind in (*one.before, *one.after)}
        if not self.struck or not any(kind.length_name for kind in kinds & self.kinds):
            return ()
        words = ["until the next event", "past the next timeout", "past every timeout"]
        words += [f"for {in_words(size_ms)}" for size_ms in sizes.ms]
        lines = [f"trouble lasted {', '.join(words[:-1])} and {words[-1]}"]
        if self.thinned:
            lines.append(
                "lengths in ms: at the first attempt of each operation only, and for one item"
            )
        if sizes.gaps:
            between = [f"{in_words(low)} and {in_words(high)}" for low, high in sizes.gaps]
            lines.append(f"no length was tried between {'; or '.join(between)}")
        return tuple(lines)

    def _sizes_at(self, operation: str, entity: int, attempt: int) -> Sizes:
        """Return the sizes that are tried at a site."""
        if self.sizes is None:
            return NONE
        if not self.thinned:
            return self.sizes
        here = attempt == 1 and self._first.get(operation, entity) == entity
        return self.sizes if here else NONE

    def all_at(self, key: Place, attempts: int) -> Iterator[Fault]:
        """Yield the faults at attempts 1 to `attempts` of an operation for an entity."""
        for attempt in range(1, min(attempts, ATTEMPTS_MAX) + 1):
            yield from self.at(*key, attempt)

    def at(self, operation: str, entity: int, message: str, attempt: int) -> tuple[Fault, ...]:
        """Return the faults at one attempt of an operation: before it, then after it."""
        place = (operation, entity, message, attempt)
        found = self._at.get(place)
        if found is None:
            found = self._at[place] = tuple(self._make(operation, entity, message, attempt))
        return found

    def counts_at(self, operation: str, entity: int, attempt: int) -> tuple[Count, ...]:
        """Return how many faults of each kind `at` would make, unmade."""
        surface = self.surfaces.get(operation)
        if surface is None:
            return ()
        sizes = self._sizes_at(operation, entity, attempt)
        key = (operation, sizes is NONE)
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = tuple(
                (kind, phase, count_of(kind, sizes))
                for phase in PHASES
                for kind in searched(operation, surface, phase)
                if kind in self.kinds
            )
        return found

    def sorts_at(self, operation: str, entity: int, attempt: int) -> tuple[Sort, ...]:
        """Return what the faults are like that `at` would make, one each, unmade."""
        sizes = self._sizes_at(operation, entity, attempt)
        key = (operation, sizes is NONE)
        found = self._sorts.get(key)
        if found is None:
            counts = self.counts_at(operation, entity, attempt)
            found = tuple(one for kind, phase, _ in counts for one in _sorts(kind, phase, sizes))
            if operation in self.surfaces:
                self._sorts[key] = found
        return found

    def position(self, place: Place) -> int:
        """Return when a place was first got to, among all places."""
        return self._positions.get(place, len(self._positions))

    def of_kind(
        self,
        kind: type[Fault],
        phase: Phase,
        operation: str,
        entity: int,
        message: str,
        attempt: int,
        which: int,
    ) -> Fault:
        """Return one of the faults of a kind before or after one attempt of an operation."""
        words = self.spelling.words((operation, entity, message))
        site = Site(operation, phase, entity, attempt, message=words)
        return variant(kind, site, self._sizes_at(operation, entity, attempt), which)

    def _make(self, operation: str, entity: int, message: str, attempt: int) -> Iterator[Fault]:
        surface = self.surfaces.get(operation)
        if surface is None:
            return
        sizes = self._sizes_at(operation, entity, attempt)
        words = self.spelling.words((operation, entity, message))
        for phase in PHASES:
            site = Site(operation, phase, entity, attempt, message=words)
            for kind in searched(operation, surface, phase):
                if kind in self.kinds:
                    yield from variants(kind, site, sizes)

    def mildness(self, fault: Fault) -> tuple[int, ...]:
        """Return the place of a fault in the order of `candidates`."""
        site = fault.site
        position = self.position(self.spelling.place(site))
        late = site.phase == "after"
        return (*rank(fault), site.entity, position, site.attempt, late)

    def cells(self) -> tuple[dict[Cell, int], frozenset[Cell]]:
        """Return the table of operations against kinds, and what need not be searched."""
        cells: dict[Cell, int] = {}
        equivalent: set[Cell] = set()
        for operation, surface in self.surfaces.items():
            for phase in PHASES:
                tried = searched(operation, surface, phase)
                lawful = legal(operation, surface, phase)
                for kind in surface.stops(lawful) if GracefulStop in self.kinds else lawful:
                    cell = (phase, operation, name_of(kind))
                    if kind not in tried:
                        equivalent.add(cell)
                    elif kind in self.kinds:
                        cells[cell] = self.struck.get(cell, 0)
        return cells, frozenset(equivalent)


def searched(operation: str, surface: Surface, phase: Phase) -> Kinds:
    """Return the kinds that a search tries at an operation."""
    kinds = surface.searched_before if phase == "before" else surface.searched_after
    return _outside(operation, surface.stops(kinds))


def legal(operation: str, surface: Surface, phase: Phase) -> Kinds:
    """Return the kinds that may strike at an operation when written by hand."""
    return _outside(operation, surface.before if phase == "before" else surface.after)


def _outside(operation: str, kinds: Kinds) -> Kinds:
    """Leave out what cannot be done to a client, which is outside the system."""
    if operation.startswith(f"{CLIENT}."):
        return tuple(kind for kind in kinds if kind in OUTSIDE)
    return kinds


def name_of(kind: type[Fault]) -> str:
    """Return the kind as words: `lost reply`."""
    return _NAMES[kind]


def _name(kind: type[Fault]) -> str:
    return kind(Site("any")).kind


_NAMES: Final = {kind: _name(kind) for kind in EVERY_KIND}


def cell_of(fault: Fault) -> Cell:
    """Return where in the coverage table a fault counts."""
    return (fault.site.phase, fault.site.operation, _NAMES[type(fault)])


def past_of_outcomes(history: History) -> frozenset[tuple[str, int]]:
    """Return the `(operation, entity)` pairs that some outcome depended on."""
    raw = history.raw
    seen: set[int] = set()
    found: set[tuple[str, int]] = set()
    for index, event in enumerate(raw):
        if event[1] not in OUTCOMES:
            continue
        at = index
        while at >= 0 and at not in seen:
            seen.add(at)
            if raw[at][3]:
                found.add((raw[at][3], raw[at][4]))
            at = raw[at][6]
    return frozenset(found)
