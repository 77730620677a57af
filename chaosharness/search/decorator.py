"""A chaos test in one decorator, for people who do not know Hypothesis."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import Any, Final

import attrs
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chaosharness.campaign import runs_in_words
from chaosharness.checkers import Finding, Property, assumed
from chaosharness.checkers.progress import waiting_in
from chaosharness.checkers.proof import did_nothing, unproved
from chaosharness.errors import (
    InvalidDefinition,
    Nondeterminism,
    NothingProved,
    PropertyViolated,
)
from chaosharness.faults import FAULTS, Fault
from chaosharness.handlers.places import spell
from chaosharness.kernel.allowed import is_whole, refused, spelled
from chaosharness.kernel.places import asked_at
from chaosharness.options import IN_CHARGE, OPTIONS
from chaosharness.schedule import Schedule
from chaosharness.search.backend import BACKEND
from chaosharness.search.heap import settled_heap
from chaosharness.search.hypothesis_adapter import chaos_settings, observe_in_hypothesis
from chaosharness.search.memory import Memory
from chaosharness.search.plan import PLAN, Leg, MakePlan
from chaosharness.search.planner import Planner
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.write_up import counterexample_of, violation_of
from chaosharness.strategies.drawing import ITEMS_MAX, Deck
from chaosharness.strategies.places import places
from chaosharness.strategies.schedules import checked_kinds, schedules
from chaosharness.strategies.workloads import workloads
from chaosharness.system import OBSERVERS, Run, System
from chaosharness.system.given import wired_at
from chaosharness.system.twice import Watch, compare

OURS: Final = ("run", "workload", "schedule")
"""What a test may ask for by name; its other parameters are fixtures."""

Test = Callable[..., None]


def chaos_test(
    system: System,
    *,
    properties: Iterable[Property] | None = None,
    workload: SearchStrategy[Sequence[Any]] | Sequence[Any] | None = None,
    faults_max: int = 4,
    kinds: Iterable[type[Fault]] | None = None,
    runs: int | None = None,
    settings: settings | None = None,
) -> Callable[[Test], Test]:
    """Turn a function into a test that runs a system under many schedules of faults.

    >>> @chaos_test(shop, properties=[never_charged_twice(bank)], faults_max=2, runs=300)
    ... def test_checkout(run):
    ...     assert run.ending.verdict == "quiet"

    Each run has a workload and a schedule of its own. It is judged by what the system
    claims, by `properties`, and by the body, which may ask for `run`, `workload` and
    `schedule`. Where nobody claims anything, it is judged by what can be assumed of any
    system (`properties=[]` leaves that out). A failure is shrunk to the fewest and mildest
    faults. The body's other parameters are pytest fixtures, made once for all runs
    (Hypothesis insists on fixtures of module or session scope, since nobody would reset the
    others in between).

    It is a Hypothesis test: `@example(workload=[...], schedule=Schedule(...))`, `@seed(...)`,
    `@settings(...)` and the marks of pytest count above and below, and failures are kept in the
    example database, also when the test is edited.

    Args:
        system: The system to run.
        properties: Claims beyond those of the system. Without any, what can be assumed.
        workload: A Hypothesis strategy for workloads, or one workload; by default one to
            three items, from what the system's entry says.
        faults_max: How many faults at most, from 1.
        kinds: The kinds of fault; by default all that the system's parts could suffer, but
            `GracefulStop`.
        runs: How many runs; by default what the Hypothesis profile says, which is 100.
            `--chaos-runs` goes first, and `--chaos-seconds` ends a test by the clock.
        settings: Hypothesis settings to use, as they are; by default `chaos_settings()`, with what
            `@settings(...)` says.

    Raises:
        InvalidDefinition: An argument is wrong, or the function is `async`.
        PropertyViolated: When it runs: a property does not hold. The message is that of
            `check` for the same bug: the examples that show it, the smallest schedule.
        NothingProved: When it runs: nothing broke, and nothing was put to the test.
        Nondeterminism: When it runs: the failing run is not the same a second time, or the
            calm run is not what it was before all others.

    Warns:
        UserWarning: Nothing broke, and there were too few runs for every schedule with one fault
            of the workload that is tried first; or a claim was never put to the test; or
            somebody is waited for who does not come in the workload.
    """
    if not isinstance(system, System):
        raise InvalidDefinition(
            f"write @chaos_test(shop) with a System, not with {spelled(system)}{asked_at()}"
        )
    kinds = None if kinds is None else checked_kinds(kinds)
    plan = ChaosTest(
        system=system,
        properties=None if properties is None else tuple(properties),
        kinds=FAULTS if kinds is None else tuple(kinds),
        workload=_workload(system, workload),
        fixed=tuple(workload) if isinstance(workload, list | tuple) else None,
        schedule=schedules(
            system, faults_max=faults_max, kinds=kinds, items_max=_items_max(workload)
        ),
        given=settings,
        runs=_runs(runs),
    )
    return plan.decorate


ITEMS: Final = 3


def _workload(system: System, given: Any) -> SearchStrategy[Sequence[Any]]:
    if given is None:
        return workloads(system, max_size=ITEMS)
    if isinstance(given, SearchStrategy):
        return given
    if isinstance(given, (list, tuple)):
        return st.just(list(given))
    raise InvalidDefinition(
        f"workload must be a Hypothesis strategy, such as orders(1, 3), or a list of items, "
        f"not {given!r}"
    )


def _items_max(given: Any) -> int:
    if given is None:
        return ITEMS
    return max(1, len(given)) if isinstance(given, (list, tuple)) else ITEMS_MAX


def _runs(runs: int | None) -> int | None:
    runs = runs if OPTIONS.runs is None else OPTIONS.runs
    if runs is not None and not is_whole(runs, 1):
        raise refused("chaos_test", "runs", "a whole number from 1", runs)
    return runs


@attrs.frozen(eq=False)
class ChaosTest:
    """What a decorated test does in each of its runs."""

    system: System
    properties: tuple[Property, ...] | None
    kinds: tuple[type[Fault], ...]
    workload: SearchStrategy[Sequence[Any]]
    schedule: SearchStrategy[Schedule]
    fixed: tuple[Any, ...] | None
    given: settings | None
    runs: int | None

    def settings_of(self, marked: dict[str, Any]) -> settings:
        """Return the settings of a test: those it was given, or decorated with.

        Args:
            marked: The attributes of its function, which hold what `@settings(...)` says, above
                or below: what suits chaos tests takes the place of what is at the default there.

        Raises:
            InvalidDefinition: It was given some and decorated with others.
        """
        words: dict[str, Any] = {} if self.runs is None else {"max_examples": self.runs}
        decorated = marked.get(_SETTINGS)
        if decorated is None or (self.given is not None and _APPLIED not in marked):
            found = chaos_settings() if self.given is None else self.given
            return settings(found, **words) if words else found
        if self.given is not None:
            raise InvalidDefinition(
                "a chaos test has @settings(...) and settings=...: give it one of them"
            )
        if decorated.deadline != settings.default.deadline:  # type: ignore[union-attr]
            words["deadline"] = decorated.deadline
        return chaos_settings(decorated, **words)

    def decorate(self, body: Test) -> Test:
        """Return the body as a Hypothesis test."""
        if not inspect.isfunction(body):
            raise InvalidDefinition(
                f"@chaos_test(...) stands above a function, and not above {spelled(body)}"
                f"{asked_at()}: write it above each test of a class, and beneath @staticmethod"
            )
        asked, fixtures = _parameters(body)
        names = [one.name for one in fixtures]
        campaign = Campaign(self, body, self.settings_of(vars(body)))

        def once(
            *arguments: Any, workload: Sequence[Any], schedule: Schedule, **words: Any
        ) -> None:
            __tracebackhide__ = True
            if campaign.is_over():
                return
            run = campaign.run(workload, schedule)
            ours = {"run": run, "workload": workload, "schedule": schedule}
            words |= zip(names, arguments, strict=False)
            words |= {name: ours[name] for name in asked}
            refuse = partial(_refuse_to_end, body, os.getpid())
            IN_CHARGE.append(refuse)
            try:
                if campaign.claims:
                    run.check(*campaign.claims)
                _refuse_verdict(body, body(**words))
            except Exception as error:
                campaign.failed(run, error)
                raise
            finally:
                IN_CHARGE.remove(refuse)
            campaign.passed(run)

        _dress(once, body, fixtures + [inspect.Parameter(name, _KEYWORD) for name in OURS[1:]])
        vars(once).update({name: one for name, one in vars(body).items() if name not in _NOT_OURS})
        vars(once).pop(_APPLIED, None)
        test = campaign.settings(given(workload=self.workload, schedule=self.schedule)(once))
        if _APPLIED not in vars(body):
            vars(test).pop(_APPLIED, None)  # so that settings may be put above
        name = f"{body.__module__}:{body.__qualname__}:{self.system.name}"

        def whole(*arguments: Any, **words: Any) -> None:
            __tracebackhide__ = True
            _keep_key(test, name)
            _seed(test)
            above = vars(test).get(_SETTINGS)
            if above is not None and above is not campaign.settings:
                if _APPLIED in vars(test):
                    above = self.settings_of(vars(test))
                vars(test)[_SETTINGS] = campaign.settings = above  # a seed changes them too
            with campaign.judged(by_body=bool(asked)):
                try:
                    test(*arguments, **words)
                except BaseException as error:
                    _hand_on(error)
                    trace = _below(error, once)
                    shown = campaign.shown(error)
                    raise shown.with_traceback(trace) from error.__cause__

        _share(whole, test, body, fixtures)
        return whole


_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY

_SETTINGS: Final = "_hypothesis_internal_use_settings"
_APPLIED: Final = "_hypothesis_internal_settings_applied"
"""Where Hypothesis keeps settings, and that a test was decorated with some. Both are private to
it: where they are not heeded, `settings=` is."""

_SEED: Final = "_hypothesis_internal_use_seed"

_NOT_OURS: Final = ("__wrapped__", "__signature__", "patchings")
"""Attributes of a body that say how to call it, and nothing of what it is marked with."""


def _parameters(body: Test) -> tuple[list[str], list[inspect.Parameter]]:
    """Return which of ours a test asks for, and its other parameters."""
    if not callable(body):
        raise InvalidDefinition(f"chaos_test decorates a function, not {body!r}")
    name = getattr(body, "__qualname__", repr(body))
    if inspect.iscoroutinefunction(body):
        raise InvalidDefinition(
            f"{name} must be written with plain def: when it is called, the run is over. The "
            "handlers of the system may be async."
        )
    if hasattr(body, "hypothesis"):
        raise InvalidDefinition(
            f"{name} has @given already: leave that out, or draw schedule=schedules(system) in it"
        )
    parameters = list(inspect.signature(body).parameters.values())
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidDefinition(f"{name} must name its parameters: no *{parameter.name}")
    asked = [one.name for one in parameters if one.name in OURS]
    return asked, [one for one in parameters if one.name not in OURS]


def _refuse_to_end(body: Test, process: int, call: str) -> None:
    """Keep pytest alive: a test that ends it would end in exit code 0. Children may end."""
    if os.getpid() == process:
        raise InvalidDefinition(
            f"{body.__qualname__} called {call}{asked_at()}, which would end pytest before there "
            "is a result: leave that call out"
        )


def _refuse_verdict(body: Test, said: Any) -> None:
    """Raise where the body of a test returns something: mostly a forgotten `assert`."""
    __tracebackhide__ = True
    if said is not None:
        code = body.__code__
        place = spell(code.co_filename, body.__module__, code.co_firstlineno)
        raise InvalidDefinition(
            f"{body.__qualname__} ({place}) returns {said!r}, "
            "which nobody looks at: write assert ... instead of return ..."
        )


def _dress(function: Test, body: Test, parameters: list[inspect.Parameter]) -> None:
    """Give a function the name and place of the body, and a signature."""
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(function, name, getattr(body, name))
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]


def _share(whole: Test, test: Test, body: Test, fixtures: list[inspect.Parameter]) -> None:
    """Make two functions one to whoever marks them.

    Hypothesis and pytest keep settings, seeds, examples and marks as attributes of the
    test they see, and Hypothesis reads them from the test it made.
    """
    whole.__dict__ = test.__dict__
    _dress(whole, body, fixtures)
    whole.__wrapped__ = body  # type: ignore[attr-defined]  # where pytest says the test is


def _keep_key(test: Any, name: str) -> None:
    """Keep failures under a name instead of a digest of the test's source.

    Both attributes are private to Hypothesis. Where they are not heeded, an edited test
    loses its stored failures, as any Hypothesis test does.
    """
    inner = getattr(getattr(test, "hypothesis", None), "inner_test", None)
    parameters = getattr(inner, "_hypothesis_internal_add_digest", b"")  # of pytest's parametrize
    test._hypothesis_internal_database_key = f"chaosharness:{name}:".encode() + parameters


def _seed(test: Any) -> None:
    """Have chance begin where the command line says, unless the test says it with `@seed`.

    The attribute is private to Hypothesis, and its own `seed` would leave the database aside.
    """
    if OPTIONS.seed is not None and getattr(test, _SEED, None) is None:
        setattr(test, _SEED, OPTIONS.seed)


def _below(error: BaseException, function: Any) -> TracebackType | None:
    """Return the part of a traceback below a function: without Hypothesis and us."""
    entry = error.__traceback__
    found = entry
    while entry is not None:
        if entry.tb_frame.f_code is function.__code__:
            found = entry.tb_next
        entry = entry.tb_next
    return found


def _hand_on(error: BaseException) -> None:
    """Let several failures at once carry what the first of them carries, for reports."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if isinstance(one, PropertyViolated):
                vars(error).update(run=one.run, findings=one.findings, property=one.property)
                return


class Campaign:
    """All runs of one decorated test, from when pytest calls it until it is over."""

    def __init__(self, test: ChaosTest, body: Test, settings: settings) -> None:
        self.test = test
        self.settings = settings
        self._place = (inspect.getsourcefile(body) or "", body.__code__.co_firstlineno)
        self.claims: tuple[Property, ...] = ()
        self._unreached: list[Property] = []
        self._untested: list[Property] = []
        self._runs = 0
        self._struck = False
        self._proved = False
        self._unproved = ""
        self._repeated = False
        self._memory = Memory()
        self._nondeterminism: Nondeterminism | None = None
        self._begun_at = 0.0
        self._cut_short = False
        self._by_body = False
        self._lead: Planner | None = None

    @contextmanager
    def judged(self, *, by_body: bool) -> Iterator[None]:
        """Begin, and judge the campaign as a whole once every run of it has passed.

        Args:
            by_body: Whether the body of the test looks at the runs itself.
        """
        system = self.test.system
        self._by_body = by_body
        more = self.test.properties
        self.claims = (*system.properties, *(more or ()))
        if not self.claims and more is None:
            self.claims = assumed(system)
        if not self.claims and not by_body:
            raise InvalidDefinition(
                f"this test of system {system.name!r} would check nothing: give it "
                "properties=[...], have the system claim some, or assert something about `run`"
            )
        watch = Watch(system)
        places(system)  # where it cannot be learned, say so before Hypothesis begins
        watch.note()
        self._unreached = [one for one in self.claims if one.when == "sometimes"]
        self._untested = [one for one in self.claims if one.when != "sometimes"]
        self._runs = 0
        self._struck = False
        self._unproved = ""
        self._proved = False
        self._repeated = False
        self._memory = Memory()
        self._nondeterminism = None
        self._begun_at = perf_counter()
        self._cut_short = False
        self._lead = None
        token = PLAN.set(partial(self._planned, PLAN.get()))
        try:
            with settled_heap():
                yield
        except BaseException:
            if self._nondeterminism is not None:
                raise self._nondeterminism from None  # not what Hypothesis makes of it
            raise
        finally:
            PLAN.reset(token)
        watch.end()
        if Phase.generate in self.settings.phases:
            self._conclude()

    def _planned(self, make: MakePlan, deck: Deck) -> Sequence[Leg]:
        """Return the plan of this test, and remember who leads it."""
        legs = make(deck)
        self._lead = legs[0].planner
        return legs

    def is_over(self) -> bool:
        """Say whether the time of this test is over. What was found is still made small."""
        most = OPTIONS.seconds_max
        if most is None or self._repeated or perf_counter() - self._begun_at < most:
            return False
        self._cut_short = True
        return True

    def run(self, workload: Sequence[Any], schedule: Schedule) -> Run:
        """Run the system once."""
        if self._nondeterminism is not None:
            raise self._nondeterminism  # nothing can be learned from further runs
        run = self._memory.find(workload, schedule) if self._repeated else None
        if run is None:
            run = self.test.system.run(workload, schedule)
            self._runs += 1
            if self._repeated:  # shrinking has begun
                self._memory.keep(workload, run)
        if self.settings.backend != BACKEND:  # which observes by itself
            observe_in_hypothesis(run)
        return run

    def passed(self, run: Run) -> None:
        """Remember which claims this run put to the test, and whether it proves anything."""
        struck = len(run.schedule) > len(run.unused)
        self._struck = self._struck or struck
        if not self._proved:  # what a fault has cut short looks as if it had gone well
            calm = run.calm() if struck else run.history
            reason = unproved(calm, run.items)
            if not reason and not self._by_body and all(one.assumption for one in self.claims):
                reason = did_nothing(calm)
            self._proved = not reason
            self._unproved = self._unproved or reason
        if self._unreached or self._untested:
            evidence = run.evidence()
            self._unreached = [one for one in self._unreached if one.findings(evidence)]
            self._untested = [one for one in self._untested if not one.is_tested(evidence)]

    def failed(self, run: Run, error: Exception) -> None:
        """Hand the run on with the error; see that the first failure is no accident."""
        with suppress(AttributeError):
            error.run = run  # type: ignore[attr-defined]
        if self._repeated:
            return
        self._repeated = True
        self._memory.keep(run.items, run)
        token = OBSERVERS.set(())
        try:
            again = run.system.run(run.items, run.schedule)
            compare(run.history, again.history, schedule=repr(run.schedule))
        except Nondeterminism as found:
            self._nondeterminism = found
            raise
        finally:
            OBSERVERS.reset(token)

    def shown(self, error: BaseException) -> BaseException:
        """Return a failure as every door shows it: `check` would raise the same."""
        run, property = getattr(error, "run", None), getattr(error, "property", None)
        if not isinstance(error, PropertyViolated) or run is None or property is None:
            return error
        found = counterexample_of(
            error, properties=self.claims, kinds=self.test.kinds, items=self.test.fixed
        )
        shown = violation_of(self.test.system, property, found)
        for note in getattr(error, "__notes__", ()):
            shown.add_note(f"Hypothesis met it so. {note}")
        return shown

    def _conclude(self) -> None:
        for one in self._unreached:
            finding = Finding(f"never reached in {runs_in_words(self._runs)}")
            violation = one.violation([finding])
            violation.findings, violation.property = (finding,), one
            raise violation
        if reason := self._nothing_proved():
            where = wired_at(self.test.system.given())
            raise NothingProved(f"{self.test.system.name}: nothing was proved: {reason}{where}")
        if self._cut_short:
            warnings.warn_explicit(
                f"{self.test.system.name}: nothing broke in {runs_in_words(self._runs)}, after "
                "which the time of --chaos-seconds was over",
                UserWarning,
                *self._place,
            )
        elif words := self._left():
            warnings.warn_explicit(f"{self.test.system.name}: {words}", UserWarning, *self._place)
        for words in self._waiting():
            name = self.test.system.name
            warnings.warn_explicit(f"{name}: {words}", UserWarning, *self._place)
        for one in self._untested:
            if one.assumption:
                continue  # nobody promised it
            warnings.warn_explicit(
                f"{one.name}: never put to the test in {runs_in_words(self._runs)}, so nothing "
                "is known about it. Does the workload reach what it is about?",
                UserWarning,
                *self._place,
            )

    def _left(self) -> str:
        """Say how much of the single faults was not run, with the workload that is tried first."""
        lead = self._lead
        if not self.claims or not isinstance(lead, Portfolio):
            return ""
        level = lead.levels()[1]
        if level.complete or level.total is None:
            return ""
        return (
            f"nothing broke in {runs_in_words(self._runs)}, in which {level.tried:,} of "
            f"{level.total:,} schedules with one fault were run of the first workload: say "
            "runs=... for more of them, or have check(...) go through all"
        )

    def _waiting(self) -> tuple[str, ...]:
        """Say who is waited for in the calm run, and does not come in this workload."""
        items = self.test.fixed
        return waiting_in(self.test.system.calm(items).history)

    def _nothing_proved(self) -> str:
        """Say why all these runs put nothing to the test; nothing if they did."""
        about_runs = [one for one in self.claims if one.when != "sometimes"]
        if not self._proved:
            return self._unproved
        if about_runs and not self._struck:
            return (
                f"no fault struck in {runs_in_words(self._runs)}, so no claim about trouble was "
                "put to the test: give it more runs"
            )
        return ""
