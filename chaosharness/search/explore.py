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
from chaosharness.search.random_search import GuidedSearch, RandomSearch
from chaosharness.search.small_first import Options, SmallFirst
from chaosharness.strategies.schedules import checked_kinds
from chaosharness.system import System
from chaosharness.system.given import check_system, checked_items

Mode = Literal["small-first", "random", "guided"]
MODES: Final = ("small-first", "random", "guided")


def explore(
    system: System,
    *,
    properties: Iterable[Property] | None = None,
    items: Sequence[Any] | None = None,
    faults_max: int = 2,
    runs_max: int = 2_000,
    seed: int = 0,
    mode: Mode = "small-first",
    options: Options = "mildest",
    kinds: Collection[type[Fault]] = FAULTS,
    stop_at_first: bool = False,
    regressions: Sequence[Counterexample] = (),
    target: str = "",
    on_progress: Callable[[Progress], None] | None = None,
    on_found: Callable[[Counterexample], None] | None = None,
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
        runs_max: Runs, without those that shrink.
        seed: For the modes that use chance.
        mode: `small-first`: calm, every single fault, pairs, and so on, until all are done.
            `random`: schedules of 1 to `faults_max` faults by chance. `guided`: by chance,
            from those that led to something new.
        options: Which values of a fault's option are tried where there are two faults or
            more (small-first): the mildest of each, or `all`. Single faults have all, and lengths
            in ms taken from the durations that the calm run shows (`coverage.stalls`).
        kinds: Only these kinds of fault.
        stop_at_first: Stop when something is found.
        regressions: Counterexamples that are run first, if they are of this system.
        target: Where the system is found, as `module:attribute`; for the report.
        on_progress: Called after each run.
        on_found: Called with each counterexample as soon as it is as small as can be.

    Returns:
        What came of it. `holds` only if everything that was asked for was run, each
        property was put to the test, and each `sometimes` was reached: never where there
        was no workload or no fault, or nothing was consumed or handled. Questions make
        nothing `violated`.

    Raises:
        InvalidDefinition: The system, a property or an argument is wrong.
        Nondeterminism: The same schedule led to two histories.
    """
    began = perf_counter()
    check_system("explore", system)
    if mode not in MODES:
        raise InvalidDefinition(
            f"no search mode {mode!r}; there are: {', '.join(MODES)}{asked_at()}"
        )
    _at_least(0 if mode == "small-first" else 1, faults_max=faults_max)
    _at_least(1, runs_max=runs_max)
    if options not in ("mildest", "all"):
        raise refused("explore", "options", "'mildest' or 'all'", options)
    if not isinstance(seed, int):
        raise refused("explore", "seed", "a whole number", seed)
    kinds = checked_kinds(kinds)
    planner = _planner(mode, faults_max, seed, options, kinds)
    workload = system.examples if items is None else checked_items("explore", items)
    search = Exploration(
        system=system,
        properties=chosen(system, properties),
        items=workload,
        planner=planner,
        target=target,
        kinds=kinds,
        stop_at_first=stop_at_first,
        on_found=on_found,
    )
    for one in regressions:
        if one.system == system.name:
            search.again(one)
    search.search(runs_max, on_progress)
    coverage = search.coverage()
    unproved = search.unproved(coverage)
    reasons = (*search.reasons(coverage, runs_max), *search.seen_again())
    complete = coverage.complete and not unproved
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
        standings=tuple(one.standing(complete) for one in search.claims),
        troubles=search.troubles(),
        upset=search.upset(),
        coverage=coverage,
        seconds=perf_counter() - began,
    )


def _at_least(least: int, **given: Any) -> None:
    for name, value in given.items():
        if not is_whole(value, least):
            raise InvalidDefinition(
                f"{name} must be a whole number from {least}, not {value!r}{asked_at()}"
            )


def _planner(
    mode: Mode, faults_max: int, seed: int, options: Options, kinds: Collection[type[Fault]]
) -> SmallFirst | RandomSearch:
    match mode:
        case "small-first":
            return SmallFirst(faults_max=faults_max, options=options, kinds=kinds)
        case "random":
            return RandomSearch(faults_max=faults_max, seed=seed, kinds=kinds)
        case "guided":
            return GuidedSearch(faults_max=faults_max, seed=seed, kinds=kinds)
