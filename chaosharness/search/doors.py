"""The short ways into a search: to its end, the smallest finding, and one call for a test."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from chaosharness.campaign import Campaign, runs_in_words
from chaosharness.checkers import Property
from chaosharness.checkers.progress import waiting_in
from chaosharness.checkers.property import violation_class
from chaosharness.counterexample import Counterexample
from chaosharness.errors import Hopeless, NothingProved
from chaosharness.faults import FAULTS, Fault
from chaosharness.options import OPTIONS
from chaosharness.search.claims import chosen
from chaosharness.search.exploration import Progress
from chaosharness.search.explore import Mode, explore
from chaosharness.search.small_first import Options
from chaosharness.search.write_up import called_off, violation_of
from chaosharness.system import System
from chaosharness.system.given import check_system

_NO_LIMIT: Final = sys.maxsize


def certify(
    system: System,
    *,
    faults: int = 2,
    options: Options = "mildest",
    properties: Iterable[Property] | None = None,
    items: Sequence[Any] | None = None,
    kinds: Collection[type[Fault]] = FAULTS,
    target: str = "",
    workers: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> Campaign:
    """Run every schedule of up to so many faults: `explore`, small first, to its end.

    The number of runs grows with about the square of the sites for two faults, with the
    cube for three. `campaign.coverage.levels` says how many there were.
    """
    return explore(
        system,
        properties=properties,
        items=items,
        faults_max=faults,
        runs_max=_NO_LIMIT,
        mode="small-first",
        options=options,
        kinds=kinds,
        target=target,
        workers=workers,
        on_progress=on_progress,
    )


def smallest(
    system: System,
    property: Property | None = None,
    *,
    items: Sequence[Any] | None = None,
    faults_max: int = 2,
    runs_max: int = 2_000,
    seed: int = 0,
    mode: Mode = "portfolio",
) -> Counterexample | None:
    """Return the smallest counterexample that is found first; None if there is none.

    Args:
        system: The system.
        property: The claim; by default as for `explore`.
        items: The workload; the examples of the entry by default.
        faults_max: Faults in one schedule, at most.
        runs_max: Runs, without those that shrink.
        seed: Of what is chosen by chance.
        mode: As for `explore`.

    Without a claim, code that fails at each try without any fault is a counterexample too: of
    `never_stuck`, with the run as it was when it was called off. Any other door refuses it.
    """
    try:
        campaign = explore(
            system,
            properties=None if property is None else [property],
            items=items,
            faults_max=faults_max,
            runs_max=runs_max,
            seed=seed,
            mode=mode,
            stop_at_first=True,
        )
    except Hopeless as error:
        if property is not None or error.history is None:
            raise
        return called_off(system, system.examples if items is None else tuple(items), error.history)
    return campaign.counterexamples[0] if campaign.counterexamples else None


def check(
    system: System,
    *,
    properties: Iterable[Property] | None = None,
    items: Sequence[Any] | None = None,
    faults_max: int = 2,
    runs_max: int = 2_000,
    seed: int = 0,
    mode: Mode = "portfolio",
    thorough: bool = False,
    seconds_max: float | None = None,
    workers: int = 0,
) -> None:
    """Test a system's claims in one call: return if they hold, raise if one does not.

    Args: as for `explore`. What the command line of pytest says goes first: `--chaos-faults`,
    `--chaos-seed`, `--chaos-seconds`.

    Raises:
        PropertyViolated: A property does not hold, or was never put to the test; of a
            class of its own for each property. The message holds the smallest schedule.
        NothingProved: Nothing broke, and nothing was put to the test: there was no
            workload or no fault, nothing was consumed or handled, or no claim was tested.

    Warns:
        UserWarning: The search ended before every schedule was run (its budget was spent, or
            nothing new was seen for long enough), or there is a question that only the user
            can answer, or somebody is waited for who does not come in the workload.
    """
    __tracebackhide__ = True
    check_system("check", system)
    claims = chosen(system, properties)
    campaign = explore(
        system,
        properties=claims,
        items=items,
        faults_max=_first(OPTIONS.faults_max, faults_max),
        runs_max=runs_max,
        seed=_first(OPTIONS.seed, seed),
        mode=mode,
        workers=workers,
        stop_at_first=True,
        thorough=thorough,
        seconds_max=_first(OPTIONS.seconds_max, seconds_max),
    )
    if campaign.counterexamples:
        found = campaign.counterexamples[0]
        property = next(one for one in claims if one.name == found.property)
        raise violation_of(system, property, found)
    _refuse_what_is_empty(campaign)
    if campaign.reasons:
        warnings.warn(
            f"{system.name}: nothing broke, but {'; '.join(campaign.reasons)}. "
            + _how_to_go_on(campaign),
            stacklevel=2,
        )
    for one in (*campaign.questions, *waiting_in(system.calm(items).history)):
        warnings.warn(f"{system.name}: {one}", stacklevel=2)


def _first(said: Any, given: Any) -> Any:
    """Return what the command line says; else what the test does."""
    return given if said is None else said


def _how_to_go_on(campaign: Campaign) -> str:
    if campaign.ended == "quiet":
        return "Say thorough=True to go on for the whole of runs_max, or lower faults_max."
    if campaign.ended == "time":
        return "Raise seconds_max, or lower faults_max."
    return "Raise runs_max, or lower faults_max."


def _refuse_what_is_empty(campaign: Campaign) -> None:
    """Raise where nothing broke because nothing was tested."""
    __tracebackhide__ = True
    if campaign.unproved:
        raise NothingProved(
            f"{campaign.system}: nothing broke, and nothing was proved: "
            f"{'; '.join(campaign.unproved)}"
        )
    for one in campaign.standings:
        vacuous = not (one.reached if one.when == "sometimes" else one.tested)
        if vacuous and not one.assumption and one.judged:
            reached = "reached" if one.when == "sometimes" else "put to the test"
            raise violation_class(one.name)(
                f"{one.name}: never {reached} in {runs_in_words(one.judged)} of "
                f"{campaign.system!r}. A claim that nothing tested is not known to hold: give a "
                "workload that reaches it, or take it out."
            )
