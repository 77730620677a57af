"""A search that goes on for hours, in slices; what each of them ran and found is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from chaosharness.checkers import Property
from chaosharness.counterexample import Counterexample
from chaosharness.errors import ChaosharnessError
from chaosharness.faults import FAULTS, Fault
from chaosharness.search.claims import chosen
from chaosharness.search.exploration import Exploration, Progress
from chaosharness.search.explore import at_least
from chaosharness.search.random_search import GuidedSearch, RandomSearch
from chaosharness.search.regressions import save
from chaosharness.search.small_first import SmallFirst
from chaosharness.search.soak.folder import Folder, News
from chaosharness.search.soak.total import Total, slice_of
from chaosharness.search.workers.hands import hands
from chaosharness.strategies.schedules import checked_kinds
from chaosharness.system import System

SLICE: Final = 500
"""Runs of a slice: what a kill can lose of the counts."""

EXACT_MAX: Final = 2
"""Up to so many faults all schedules are run, in turns with those by chance."""

_SOAKS_APART: Final = 1_000_000


class Over(Exception):
    """The soak ends: raised after a run, between two."""


@attrs.define(kw_only=True, eq=False)
class Soak:
    """One soak while it goes on.

    Attributes:
        system: The system.
        place: The folder that it shares with others.
        target: Where the system is found.
        properties: The claims.
        items: The workload.
        faults_max: Faults in a schedule by chance, at most.
        exact_max: Up to so many faults all schedules are run.
        seed: Of chance; every soak of a folder adds its own number.
        workers: Processes that make the runs.
        kinds: Only these kinds of fault; by default all but `GracefulStop`.
        slice_runs: Runs of a slice.
        on_found: Told of each counterexample that the folder does not have yet. By default
            it is written into the folder.
        on_progress: Called after each run; may raise `Over`.
        on_slice: Called after each slice, with what all of them ran.
        dask: The address of a Dask scheduler whose workers make the runs instead.
        found: What was found by this soak.
        again: What the folder had already, and this soak met as well, by the name of its file.
        trouble: Why something could not be written; empty if all could.
        ended: Why it ended.
    """

    system: System
    place: Path
    target: str = ""
    properties: tuple[Property, ...]
    items: tuple[Any, ...]
    faults_max: int = 6
    exact_max: int = EXACT_MAX
    seed: int = 0
    workers: int = 0
    kinds: Collection[type[Fault]] = FAULTS
    slice_runs: int = SLICE
    on_found: Callable[[Counterexample], None] | None = None
    on_progress: Callable[[Progress], None] | None = None
    on_slice: Callable[[Total], None] | None = None
    dask: str = ""
    found: list[Counterexample] = attrs.field(factory=list, init=False)
    again: dict[str, Counterexample] = attrs.field(factory=dict, init=False)
    trouble: str = attrs.field(default="", init=False)
    ended: str = attrs.field(default="", init=False)
    folder: Folder = attrs.field(init=False)
    _exact: Exploration | None = attrs.field(default=None, init=False)
    _exact_done: bool = attrs.field(default=False, init=False)
    _complete: bool = attrs.field(default=False, init=False)
    _unkept: list[Callable[[], object]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        calm = self.system.run(self.items).digest()
        self.folder = Folder(self.place, self.system.name, calm)

    # ---- slices

    def run(self, slices_max: int | None = None) -> Total:
        """Go on until `on_progress` says that it is over, or nothing is left to learn.

        Args:
            slices_max: Slices, at most.

        Raises:
            Nondeterminism: The same schedule led to two histories.
        """
        slice = 0
        try:
            while not self.ended and (slices_max is None or slice < slices_max):
                slice += 1
                self._slice(slice)
                self._write_again()
                if self.on_slice is not None:
                    self.on_slice(self.total())
        except Over:
            self.ended = self.ended or "its time is over"
        finally:
            if self._exact is not None:
                self._exact.leave()
            self._write_again()
        return self.total()

    def _slice(self, slice: int) -> None:
        seed = self.seed + self.folder.number * _SOAKS_APART + slice
        search = self._next(slice, seed)
        before = {"\t".join(cell): times for cell, times in search.planner.catalogue.struck.items()}
        tested = {one.property.name: one.tested for one in search.claims}
        ran = search.searched
        try:
            search.search(self.slice_runs, self.on_progress)
            if search is not self._exact:
                search.seen_again(elsewhere=slice <= 2)
        finally:
            if search is not self._exact:
                search.leave()
            self._keep_news(search)
            self.again.update((one.slug(), one) for one in search.met_again())
            value = slice_of(
                seed=seed,
                searched=search.searched - ran,
                before=before,
                coverage=search.coverage(),
                tested={
                    one.property.name: one.tested - tested[one.property.name]
                    for one in search.claims
                },
            )
            self._write(partial(self.folder.record, slice, value))
        if search is self._exact and (search.searched == ran or search.coverage().complete):
            search.seen_again(elsewhere=False)
            search.leave()
            self._exact, self._exact_done = None, True
        if search.is_over():
            self.ended = "nothing is left to learn: every claim is broken, or calm goes wrong"

    def _next(self, slice: int, seed: int) -> Exploration:
        """Return the search of a slice: every schedule, and chance, in turns."""
        if slice % 2 and not self._exact_done and not self.covers_everything():
            if self._exact is None:
                self._exact = self._search(SmallFirst(faults_max=self.exact_max, kinds=self.kinds))
            return self._exact
        words: Any = {"faults_max": self.faults_max, "seed": seed, "kinds": self.kinds}
        if slice % 4 < 2:
            return self._search(RandomSearch(**words))
        planner = GuidedSearch(**words)
        for news in self.folder.corpus():
            planner.know(news.schedule, news.facts)
        return self._search(planner)

    def _search(self, planner: SmallFirst | RandomSearch) -> Exploration:
        search = Exploration(
            system=self.system,
            properties=self.properties,
            items=self.items,
            planner=planner,
            target=self.target,
            kinds=self.kinds,
            on_found=self._tell,
            hands=hands(self.workers, target=self.target, dask=self.dask),
        )
        for one in (*self.folder.known(), *self.found):
            search.knows(one)
        return search

    def covers_everything(self) -> bool:
        """Say whether every schedule of up to `exact_max` faults was run, by whichever soak."""
        if not self._complete:
            levels = self.total().levels
            wanted = range(self.exact_max + 1)
            self._complete = all(faults in levels and levels[faults].complete for faults in wanted)
        return self._complete

    def total(self) -> Total:
        """Return what all slices of all soaks in the folder ran."""
        return Total.of(self.folder.slices())

    # ---- what is kept

    def _keep_news(self, search: Exploration) -> None:
        """Keep which schedules of this slice led to something new."""
        if not isinstance(search.planner, GuidedSearch):
            return
        for schedule, facts in search.planner.news:
            self._write(partial(self.folder.keep, News(schedule, facts)))

    def _tell(self, found: Counterexample) -> None:
        self.found.append(found)
        if self.on_found is not None:
            self.on_found(found)
        else:
            self._write(partial(save, found, self.folder.findings))

    def _write(self, write: Callable[[], object]) -> None:
        """Write something; what cannot be written now is tried again after each slice."""
        try:
            write()
        except ChaosharnessError as error:
            self.trouble = str(error)
            self._unkept.append(write)

    def _write_again(self) -> None:
        unkept, self._unkept = self._unkept, []
        self.trouble = ""
        for one in unkept:
            self._write(one)


def soak(
    system: System,
    folder: Path | str,
    *,
    properties: Iterable[Property] | None = None,
    items: Sequence[Any] | None = None,
    faults_max: int = 6,
    exact_max: int = EXACT_MAX,
    slices_max: int | None = None,
    slice_runs: int = SLICE,
    seed: int = 0,
    workers: int = 0,
    dask: str = "",
    kinds: Collection[type[Fault]] = FAULTS,
    target: str = "",
    on_progress: Callable[[Progress], None] | None = None,
    on_found: Callable[[Counterexample], None] | None = None,
    on_slice: Callable[[Total], None] | None = None,
) -> Soak:
    """Search for hours, in slices; what was found and run is kept in a folder.

    Slices run every schedule of up to `exact_max` faults, from the smallest on, in turns with
    schedules of up to `faults_max` faults by chance, and with changes to those that led to
    something new. Any number of soaks may share a folder, one after another or side by side,
    on one machine or on many: each takes a number, chance depends on it, and what they ran adds
    up. What is in the folder as found is not told again.

    Args:
        system: The system.
        folder: Made if it is not there.
        properties: The claims; as for `explore`.
        items: The workload; the examples of the entry by default.
        faults_max: Faults in a schedule by chance, at most.
        exact_max: Faults up to which every schedule is run, 0 to 3. A soak that is killed
            before it has done so leaves that to begin anew; all else is kept.
        slices_max: Slices, at most; by default it goes on until `on_progress` raises `Over`.
        slice_runs: Runs of a slice.
        seed: Of chance.
        workers: Processes that make the runs; 0 for this one alone.
        dask: The address of a Dask scheduler whose workers make the runs instead.
        kinds: Only these kinds of fault; by default all but `GracefulStop`.
        target: Where the system is found, as `module:attribute`; for the report.
        on_progress: Called after each run.
        on_found: Called with each counterexample that is new to the folder. By default it is
            written into `folder/findings`.
        on_slice: Called after each slice, with what all slices of all soaks ran.

    Returns:
        The soak, over: what it `found` and met `again`, `total()`, why it `ended`, and `trouble`
        with writing.

    Raises:
        ChaosharnessError: The folder cannot be written to.
        Nondeterminism: The same schedule led to two histories.
    """
    at_least(0, exact_max=exact_max, workers=workers)
    at_least(1, faults_max=faults_max, slice_runs=slice_runs)
    claims = chosen(system, properties)
    one = Soak(
        system=system,
        place=Path(folder),
        target=target,
        properties=claims,
        items=system.examples if items is None else tuple(items),
        faults_max=faults_max,
        exact_max=exact_max,
        seed=seed,
        workers=workers,
        dask=dask,
        kinds=checked_kinds(kinds),
        slice_runs=slice_runs,
        on_progress=on_progress,
        on_found=on_found,
        on_slice=on_slice,
    )
    one.run(slices_max)
    return one
