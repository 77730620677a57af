"""The planner behind Hypothesis: all that touches its provider interface, in one room.

Hypothesis asks a *backend* for each choice of a test case. Ours answers the choices of a
schedule with the schedule that a planner proposes, leaves all other choices to chance
as Hypothesis itself would, and tells the planner of the run. Shrinking, the database,
`@example` and statistics stay Hypothesis's own. When the planner has nothing more to
propose, Hypothesis goes on by itself.

Source:
    Hypothesis documentation, "Hypothesis internals": PrimitiveProvider,
    AVAILABLE_PROVIDERS, BackendCannotProceed. That page is outside its promise of
    compatibility, hence the self-test, and the way back to ordinary random drawing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar, Final

from hypothesis import HealthCheck, Phase, currently_in_test_context, event, given, settings, target
from hypothesis import __version__ as hypothesis_version
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from chaosharness.faults import Crash, Delay
from chaosharness.kernel.allowed import refused
from chaosharness.kernel.site import Site
from chaosharness.schedule import Schedule
from chaosharness.search.backend import BACKEND, register
from chaosharness.search.plan import PLAN, Leg, Plan, Playback, Proposal, Tape
from chaosharness.strategies.drawing import SKETCH, Deck
from chaosharness.strategies.places import Place
from chaosharness.strategies.schedules import drawn
from chaosharness.system import OBSERVERS, Run

try:
    from hypothesis.control import current_build_context
    from hypothesis.errors import BackendCannotProceed
    from hypothesis.internal.conjecture.providers import (
        AVAILABLE_PROVIDERS,
        HypothesisProvider,
        PrimitiveProvider,
    )
except ImportError as error:  # another Hypothesis than those we know
    MISSING = str(error)
    PrimitiveProvider = object  # type: ignore[assignment,misc]
else:
    MISSING = ""

IDLE_MAX: Final = 10
"""Test cases without any schedule, after which Hypothesis goes on by itself."""

CHANCE_EVERY: Final = 2
"""One test case of so many has a workload by chance, and each second of these its faults too."""


class Planned(PrimitiveProvider):
    """Answers the choices of a schedule as planned, and all others as Hypothesis would.

    Every second test case has a workload by chance: with faults that the plan has aimed at
    before, or with faults by chance as well.
    """

    lifetime: ClassVar[Any] = "test_function"

    def __init__(self, data: Any = None, /) -> None:
        super().__init__(data)
        self._cases = 0
        self._plan: Plan | None = None
        self._tape = Tape()
        self._last: Run | None = None
        self._proposal: Proposal | None = None
        self._played = False
        self._inside = False
        self._chance: Any = None
        self._chance_of: Any = None

    # ---- one test case

    @contextmanager
    def per_test_case_context_manager(self) -> Iterator[None]:
        """Decide on the schedule of one test case, and watch its runs."""
        self._cases += 1
        self._proposal = None
        self._last = None
        self._played = False
        if self._plan is None:
            if self._cases > IDLE_MAX:  # a test without schedules
                raise BackendCannotProceed("exhausted")
            self._tape = Tape()
        elif self._cases % CHANCE_EVERY == 0 and not self._plan.urgent:
            self._tape = Tape()
            if self._cases % (2 * CHANCE_EVERY) == 0:
                self._proposal = self._plan.aim()
        else:
            self._propose(self._plan)
            self._tape.rewind()
        token = OBSERVERS.set((*OBSERVERS.get(), self._see))
        try:
            yield
        except AssertionError:
            if self._plan is not None and self._last is not None:
                self._plan.failed(self._last, self._tape)
            raise
        finally:
            OBSERVERS.reset(token)

    def _propose(self, plan: Plan) -> None:
        self._proposal = plan.next()
        if self._proposal is None:
            raise BackendCannotProceed("exhausted")
        leg = self._proposal[0]
        assert leg is not None
        self._tape = plan.tapes.setdefault(leg.workload, Tape())

    def _see(self, run: Run) -> None:
        plan = self._plan
        if plan is None or run.system is not plan.deck.system:
            return
        observe_in_hypothesis(run)
        self._last = run
        if self._proposal is not None and run.schedule == self._proposal[1]:
            leg, self._proposal = self._proposal[0], None
            if leg is not None:
                plan.observe(leg, run)

    # ---- choices

    def draw_integer(self, *bounds: Any, **constraints: Any) -> Any:
        """Answer as planned while a schedule is drawn."""
        sketch = SKETCH.get()
        if sketch is None:
            return self._draw("integer", bounds, constraints)
        if self._plan is None:  # the first schedule of this test: now its system is known
            self._plan = Plan(sketch.deck)
            self._plan.tapes[0] = self._tape
            self._proposal = self._plan.next()
        if self._proposal is not None and not self._played and sketch.deck is self._plan.deck:
            self._played = True
            sketch.script = iter(self._proposal[2])
        if sketch.script is None:
            return self._by_chance().draw_integer(*bounds, **constraints)
        return next(sketch.script, 0)

    def draw_boolean(self, *bounds: Any, **constraints: Any) -> Any:
        return self._draw("boolean", bounds, constraints)

    def draw_float(self, *bounds: Any, **constraints: Any) -> Any:
        return self._draw("float", bounds, constraints)

    def draw_string(self, *bounds: Any, **constraints: Any) -> Any:
        return self._draw("string", bounds, constraints)

    def draw_bytes(self, *bounds: Any, **constraints: Any) -> Any:
        return self._draw("bytes", bounds, constraints)

    def _draw(self, kind: str, bounds: Any, constraints: Any) -> Any:
        def by_chance() -> Any:
            self._inside = True
            try:
                return getattr(self._by_chance(), f"draw_{kind}")(*bounds, **constraints)
            finally:
                self._inside = False

        if self._inside:  # Hypothesis makes one choice out of several: only the result counts
            return getattr(self._by_chance(), f"draw_{kind}")(*bounds, **constraints)
        return self._tape.answer(kind, (bounds, constraints), by_chance)

    def _by_chance(self) -> Any:
        """Return Hypothesis's own provider for this test case: its seed, its distributions."""
        data = current_build_context().data
        if data is not self._chance_of:
            self._chance_of = data
            self._chance = HypothesisProvider(data)
        return self._chance


class Unplanned(PrimitiveProvider):
    """Leaves everything to Hypothesis: where `Planned` does not fit."""

    lifetime: ClassVar[Any] = "test_function"

    def _leave(self, *bounds: Any, **constraints: Any) -> Any:
        raise BackendCannotProceed("exhausted")

    draw_integer = draw_boolean = draw_float = draw_string = draw_bytes = _leave


def observe_in_hypothesis(run: Run) -> None:
    """Tell Hypothesis what a run was like: events for its statistics, targets for its search.

    Call it in an ordinary `@given` test after `system.run(...)`; with `chaos_settings` and
    in a `chaos_test` it is done already. Outside a Hypothesis test it does nothing.
    """
    if not currently_in_test_context():
        return
    unused = set(run.unused)
    for kind in dict.fromkeys(fault.kind for fault in run.schedule if fault not in unused):
        event(f"struck by: {kind}")
    event(f"run ended: {run.ending.verdict}")
    if settings.default is None or settings.default.backend != "hypothesis":
        return  # the planner searches: Hypothesis has no use for targets
    scores = {
        "operations reached": len(run.surfaces),
        "attempts at one operation": max(run.attempts.values(), default=0),
        "faults that found a site": len(run.schedule) - len(unused),
    }
    try:
        for label, score in scores.items():
            target(score, label=label)
    except InvalidArgument:
        return  # the second run of one test case: the first has the say


# ---- handing it to Hypothesis


def chaos_settings(parent: settings | None = None, **words: Any) -> settings:
    """Return Hypothesis settings that suit chaos tests; use it as `@chaos_settings()`.

    As the current profile (or `parent`), but for: no deadline, since time is virtual and
    runs differ; no explain phase, which makes each run up to 19 times slower; and the
    schedules come from our planner (`backend="chaosharness"`). Whatever is given goes
    first: `chaos_settings(max_examples=500, backend="hypothesis")`.

    Args:
        parent: Settings to start from; the current profile by default.
        words: As for `hypothesis.settings`.

    Raises:
        InvalidDefinition: `parent` is no settings.
    """
    base = settings.default if parent is None else parent
    if not isinstance(base, settings):
        raise refused("chaos_settings", "parent", "settings of Hypothesis", base)
    words.setdefault("deadline", None)
    words.setdefault("phases", tuple(one for one in base.phases if one is not Phase.explain))
    if MISSING:
        warn_of_misfit(MISSING)
    elif base.backend == "hypothesis":
        register()
        words.setdefault("backend", BACKEND)
    return settings(base, **words)


@lru_cache(maxsize=1)
def backend() -> type[Any]:
    """Return the backend, after a self-test on this version of Hypothesis."""
    try:
        problem = self_test(Planned)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        warn_of_misfit(problem)
        return Unplanned
    return Planned


def __getattr__(name: str) -> Any:
    if name == "Backend":  # looked up by Hypothesis when the first planned test starts
        return backend()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@lru_cache(maxsize=1)
def warn_of_misfit(problem: str) -> None:
    """Warn, once, that schedules are drawn at random."""
    warnings.warn(
        f"chaosharness cannot plan schedules with Hypothesis {hypothesis_version}, and draws "
        f"them at random instead: tests stay right, and find less. ({problem}) A newer "
        "chaosharness may fit; `chaosharness run` plans without Hypothesis.",
        stacklevel=2,
    )


def self_test(provider: type[Any]) -> str:
    """Have planned schedules arrive in a small Hypothesis test; say what is wrong, if anything."""
    places = (
        Place("service.handler/handle", "before", (Crash,), False, 1),
        Place("broker.topic/deliver to service", "before", (Delay,), False, 1),
    )
    crash, delay = Crash(Site(places[0].operation)), Delay(Site(places[1].operation, entity=2))
    planned = [Schedule([crash]), Schedule(), Schedule([crash, delay]), Schedule([delay])]
    seen = []
    name = f"{BACKEND} self-test"
    AVAILABLE_PROVIDERS[name] = provider
    token = PLAN.set(lambda _: [Leg(Playback(planned))])
    try:

        @settings(
            backend=name,
            database=None,
            deadline=None,
            max_examples=2 * len(planned) + 4,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.integers(), drawn(Deck(places, faults_max=2)), st.lists(st.booleans()))
        def probe(before: int, schedule: Schedule, after: list[bool]) -> None:
            seen.append(schedule)

        probe()
    finally:
        PLAN.reset(token)
        del AVAILABLE_PROVIDERS[name]
    ours = seen[1:]  # the first is Hypothesis's own: everything simplest
    arrived = [one for at, one in enumerate(ours, 1) if at % CHANCE_EVERY][: len(planned)]
    return "" if arrived == planned else f"planned {planned}, and {arrived} arrived"
