"""Testing a system's claims: choose schedules, run, judge, shrink, and say what was covered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from time import perf_counter
from typing import Any, Final, Literal

from chaosharness.campaign import Campaign, Result
from chaosharness.checkers import Property
from chaosharness.counterexample import Counterexample
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import FAULTS, Fault
from chaosharness.handlers.places import asked_at
from chaosharness.kernel.allowed import is_whole, refused
from chaosharness.search.claims import chosen
from chaosharness.search.exploration import Exploration, Progress
from chaosharness.search.lineage.first import CutsFirst
from chaosharness.search.lineage.planner import Lineage
from chaosharness.search.news import News
from chaosharness.search.planner import Chooser
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.random_search import GuidedSearch, RandomSearch
from chaosharness.search.small_first import Options, SmallFirst
from chaosharness.search.workers.hands import Start, hands
from chaosharness.strategies.schedules import checked_kinds
from chaosharness.system import Run, System
from chaosharness.system.given import check_system, checked_items

Mode = Literal["portfolio", "small-first", "lineage", "random", "guided"]
MODES: Final = ("portfolio", "small-first", "lineage", "random", "guided")


def explore(
    system: System,
    *,
    properties: Iterable[Property] | None = None,
    items: Sequence[Any] | None = None,
    faults_max: int = 2,
    sure_of: int | None = None,
    runs_max: int = 2_000,
    seed: int = 0,
    mode: Mode = "portfolio",
    options: Options = "mildest",
    kinds: Collection[type[Fault]] = FAULTS,
    stop_at_first: bool = False,
    thorough: bool = False,
    seconds_max: float | None = None,
    regressions: Sequence[Counterexample] = (),
    target: str = "",
    workers: int = 0,
    start: Start | None = None,
    dask: str = "",
    on_progress: Callable[[Progress], None] | None = None,
    on_found: Callable[[Counterexample], None] | None = None,
    on_calm: Callable[[Run], None] | None = None,
) -> Campaign:
    """Look for schedules that break a system's claims.

    A property that is broken goes on being judged, for other causes: findings of another
    kind, or at another place. Each cause has one counterexample, which is shrunk once. What
    is only taken for granted and comes with something heavier each time is told with that.

    Args:
        system: The system.
        properties: The claims. By default what the system claims; where it claims nothing,
            what can be assumed of any system (`checkers.assumed`).
        items: The workload; the examples of the entry by default.
        faults_max: Faults in one schedule, at most.
        sure_of: Faults up to which every schedule must have been run for `holds`, from 1; by
            default `faults_max`. What is run of schedules with more is looked at just as well,
            and the result says how far that went.
        runs_max: Runs, without those that shrink. Where chance has taken a few that the last
            level then lacks, that level is finished all the same.
        seed: Of what is chosen by chance.
        mode: `portfolio`: calm; likely single faults in turns with one kind of fault at many
            places at once, and with schedules of many faults by chance, whose failures are made
            small; then pairs, and so on, until all are done.
            `small-first`: calm, every single fault, pairs, and so on, the mildest first.
            `lineage`: calm, then what cuts off all ways that are known to the outcomes which the
            claims look at, as long as there is such a set of faults, and then as small-first.
            `random`: schedules of 1 to `faults_max` faults by chance. `guided`: by chance,
            from those that led to something new.
        options: Which values of a fault's option are tried where there are two faults or
            more (not by chance): the mildest of each, or `all`. Single faults have all, and lengths
            in ms taken from the durations that the calm run shows (`coverage.stalls`).
        kinds: Only these kinds of fault; by default all but `GracefulStop`.
        stop_at_first: Stop when something is found.
        thorough: Go on for the whole budget. By default `portfolio` ends when it has seen
            nothing new for long enough: no other cause, once it has found one; nothing that
            did not happen before, where it has not and cannot finish its level within the budget.
        seconds_max: Stop after so much real time: a run that is on then is called off, and not
            judged. What is found then depends on the machine.
        regressions: Counterexamples that are run first, if they are of this system.
        target: Where the system is found, as `module:attribute`; for the report. By default a
            global of some module.
        workers: Processes that make the runs; 0 for this one alone. What comes of it is the
            same for any number, byte for byte.
        start: How they are started: `fork`, which has the system as it is loaded here, or
            `spawn`, which loads `target` anew. By default `fork` on Linux, else `spawn`.
        dask: The address of a Dask scheduler whose workers make the runs instead (the extra
            `chaosharness[dask]`); they load `target` anew. The scheduler may not live in this
            process.
        on_progress: Called after each run.
        on_found: Called with each counterexample as soon as it is as small as can be.
        on_calm: Called with the run without any fault, before anything is found.

    Returns:
        What came of it. `holds` only if everything that it was to be sure of was run, each
        property was put to the test, and each `sometimes` was reached: never where there
        was no workload or no fault, or nothing was consumed or handled. Questions make
        nothing `violated`.

    Raises:
        InvalidDefinition: The system, a property or an argument is wrong, or cannot be told to
            other processes.
        Nondeterminism: The same schedule led to two histories.
        ChaosharnessError: A process that makes runs does not come up, or Dask is not there.
    """
    began = perf_counter()
    check_system("explore", system)
    if mode not in MODES:
        raise InvalidDefinition(
            f"no search mode {mode!r}; there are: {', '.join(MODES)}{asked_at()}"
        )
    at_least(0 if mode in ("portfolio", "small-first", "lineage") else 1, faults_max=faults_max)
    at_least(1, runs_max=runs_max, sure_of=1 if sure_of is None else sure_of)
    at_least(0, workers=workers)
    _check_seconds(seconds_max)
    if options not in ("mildest", "all"):
        raise refused("explore", "options", "'mildest' or 'all'", options)
    if not isinstance(seed, int):
        raise refused("explore", "seed", "a whole number", seed)
    kinds = checked_kinds(kinds)
    properties = chosen(system, properties)
    planner = _planner(mode, properties, faults_max, seed, options, kinds, runs_max)
    workload = system.examples if items is None else checked_items("explore", items)
    search = Exploration(
        system=system,
        properties=properties,
        items=workload,
        planner=planner,
        target=target,
        kinds=kinds,
        stop_at_first=stop_at_first,
        on_found=on_found,
        on_calm=on_calm,
        news=News() if mode == "portfolio" and not thorough else None,
        seconds_max=seconds_max,
        hands=hands(workers, target=target, start=start, dask=dask),
    )
    try:
        for one in regressions:
            if one.system == system.name:
                search.again(one)
        search.search(runs_max, on_progress)
        again = search.seen_again()
    finally:
        search.leave()
    coverage = search.coverage()
    unproved = search.unproved(coverage)
    enough = coverage.is_done(sure_of)
    reasons = (*search.reasons(coverage, runs_max, enough), *again)
    complete = (coverage.complete or enough) and not unproved
    result: Result = "violated" if search.found else "unknown" if reasons else "holds"
    return Campaign(
        system=system.name,
        target=target,
        mode=mode,
        faults_max=faults_max,
        seed=seed,
        result=result,
        reasons=reasons,
        unproved=unproved,
        runs=search.runs,
        searched=search.searched,
        counterexamples=search.causes.counterexamples(),
        groups=search.causes.groups(),
        questions=search.causes.questions(),
        beyond=tuple(search.beyond.values()),
        ended=search.ended,
        standings=tuple(one.standing(complete) for one in search.claims),
        troubles=search.troubles(),
        upset=search.upset(),
        spoken=search.spoken(),
        coverage=coverage,
        seconds=perf_counter() - began,
    )


def at_least(least: int, **given: Any) -> None:
    """Refuse what is no whole number from `least` on."""
    for name, value in given.items():
        if not is_whole(value, least):
            raise InvalidDefinition(
                f"{name} must be a whole number from {least}, not {value!r}{asked_at()}"
            )


def _check_seconds(seconds_max: float | None) -> None:
    number = isinstance(seconds_max, int | float) and not isinstance(seconds_max, bool)
    if seconds_max is not None and not (number and seconds_max > 0):
        raise InvalidDefinition(
            f"seconds_max must be a number above 0, not {seconds_max!r}{asked_at()}"
        )


def _planner(
    mode: Mode,
    claims: tuple[Property, ...],
    faults_max: int,
    seed: int,
    options: Options,
    kinds: Collection[type[Fault]],
    runs_max: int,
) -> Chooser:
    match mode:
        case "portfolio":
            return Portfolio(
                faults_max=faults_max,
                seed=seed,
                options=options,
                kinds=kinds,
                budget=runs_max,
                cutter=Lineage(claims, faults_max=faults_max, kinds=kinds),
            )
        case "small-first":
            return SmallFirst(faults_max=faults_max, options=options, kinds=kinds)
        case "lineage":
            return CutsFirst(claims, faults_max=faults_max, options=options, kinds=kinds)
        case "random":
            return RandomSearch(faults_max=faults_max, seed=seed, kinds=kinds)
        case "guided":
            return GuidedSearch(faults_max=faults_max, seed=seed, kinds=kinds)
