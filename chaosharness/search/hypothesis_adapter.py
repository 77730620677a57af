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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, ClassVar, Final

import attrs
from hypothesis import HealthCheck, Phase, currently_in_test_context, event, given, settings, target
from hypothesis import __version__ as hypothesis_version
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from chaosharness.faults import LASTINGS, Crash, Delay, Fault
from chaosharness.kernel.site import Site
from chaosharness.schedule import Schedule
from chaosharness.search.backend import BACKEND, register
from chaosharness.search.planner import Planner
from chaosharness.search.small_first import SmallFirst
from chaosharness.search.spread import Aim, Spread
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

UNKNOWN_MAX: Final = 10_000
"""Proposals in a row which the strategy cannot draw, after which the plan is given up."""

IDLE_MAX: Final = 10
"""Test cases without any schedule, after which Hypothesis goes on by itself."""

CHANCE_EVERY: Final = 2
"""One test case of so many has a workload by chance, and each second of these its faults too."""

FAILURES_MAX: Final = 20
"""Failing schedules of one test for which fewer and longer faults are tried."""

LONGER: Final = ("timeout", "long")

WORKLOADS: Final = 4
"""Workloads with which each kind of fault is tried at each operation."""


@attrs.frozen
class Leg:
    """One part of the plan for a test: a planner, and which workload its runs have.

    Legs with the same number see the same choices outside the schedule, hence the same
    workload: those of the first run of that number, which are left to chance.
    """

    planner: Planner
    workload: int = 0
    rank: int = 0
    """Legs of one rank take turns; the next rank follows when they have nothing left."""


MakePlan = Callable[[Deck], Sequence[Leg]]


def spread_then_small_first(deck: Deck) -> list[Leg]:
    """Plan for a few hundred runs: each kind of fault at each operation, then more of the same.

    Several workloads first, in turns, each trying only what the others did not reach; then,
    with the first of them, each kind with each length in ms, in turns with every other single
    fault, then pairs, and so on.
    """
    covered: set[Aim] = set()
    words: Any = {"faults_max": deck.faults_max, "kinds": deck.kinds}
    legs = [Leg(Spread(covered=covered, **words), number) for number in range(WORKLOADS)]
    words["sizes"] = deck.sizes
    return [*legs, Leg(SmallFirst(**words), rank=1), Leg(Spread(covered=covered, **words), rank=1)]


PLAN: Final[ContextVar[MakePlan]] = ContextVar("chaosharness.plan", default=spread_then_small_first)
"""Makes the plan of the tests that start now."""

Choice = tuple[str, Any, Any]
"""How a choice was asked for, and the answer."""


class Tape:
    """The choices outside the schedule, recorded in one test case and played in others."""

    def __init__(self) -> None:
        self.choices: list[Choice] = []
        self.kept = False
        self._at = 0

    def rewind(self) -> None:
        """Start again; forget a recording that nobody wanted kept."""
        self._at = 0
        if not self.kept:
            self.choices.clear()

    def keep(self) -> None:
        """Play this recording from the next test case on."""
        if not self.kept:
            self.kept = True
            self._at = len(self.choices)

    def answer(self, kind: str, asked: Any, by_chance: Callable[[], Any]) -> Any:
        """Return the recorded answer if the same is asked, else one by chance."""
        if not self.kept:
            value = by_chance()
            self.choices.append((kind, asked, value))
            return value
        at = self._at
        self._at += 1
        if at < len(self.choices) and self.choices[at][:2] == (kind, asked):
            return self.choices[at][2]
        return by_chance()


class Playback:
    """Proposes what it was given."""

    def __init__(self, planned: Iterable[Schedule]) -> None:
        self._left = iter(tuple(planned))

    def propose(self) -> Schedule | None:
        """Return the next one."""
        return next(self._left, None)

    def observe(self, run: Run) -> None:
        """Learn nothing."""


Proposal = tuple[Leg | None, Schedule, list[int]]
"""A schedule and its choices, and the leg that wants to hear of the run."""


class Plan:
    """What is proposed to one test, leg by leg."""

    def __init__(self, deck: Deck) -> None:
        self.deck = deck
        self.legs = list(PLAN.get()(deck))
        self.tapes: dict[int, Tape] = {}
        self._left = deque(self.legs)
        self._failed: list[Schedule] = []
        self._aimed = 0

    def next(self) -> Proposal | None:
        """Return the next proposal with its choices; None when there is nothing left."""
        for _ in range(UNKNOWN_MAX):
            if not self._left:
                return None
            leg = self._left[0]
            schedule = leg.planner.propose() if self._worthwhile(leg) else None
            if schedule is None:
                self._left.popleft()
                continue
            self._take_turns(leg)
            numbers = self.deck.write(schedule)
            if numbers is not None:
                return leg, schedule, numbers
        return None

    def _take_turns(self, leg: Leg) -> None:
        """Put a leg behind the others of its rank."""
        self._left.popleft()
        others = sum(one.rank <= leg.rank for one in self._left)
        self._left.insert(others, leg)

    def aim(self) -> Proposal | None:
        """Return, in turn, what was aimed at with the first workload: for others, by chance."""
        first = self.legs[0].planner
        tape = self.tapes[0]
        if not isinstance(first, Spread) or not (first.agenda and tape.kept and tape.choices):
            return None
        schedule = first.agenda[self._aimed % len(first.agenda)]
        self._aimed += 1
        numbers = self.deck.write(schedule)
        return None if numbers is None else (None, schedule, numbers)

    @property
    def urgent(self) -> bool:
        """Whether the next proposal follows up a failure."""
        return bool(self._left) and self._left[0].workload < 0

    def _worthwhile(self, leg: Leg) -> bool:
        """Say whether another workload is another one: not where nothing else is drawn."""
        first = self.tapes.get(0)
        return leg.workload <= 0 or first is None or not first.kept or bool(first.choices)

    def observe(self, leg: Leg, run: Run) -> None:
        """Tell all planners of this workload."""
        self.tapes[leg.workload].keep()
        for one in self.legs:
            if one.workload == leg.workload:
                one.planner.observe(run)

    def failed(self, run: Run, tape: Tape) -> None:
        """Try next, with this workload, whether fewer faults would do if they lasted longer."""
        struck = Schedule(fault for fault in run.schedule if fault not in run.unused)
        if len(struck) < 2 or struck in self._failed or len(self._failed) >= FAILURES_MAX:
            return
        self._failed.append(struck)
        tape.keep()
        workload = -len(self._failed)
        self.tapes[workload] = tape
        self._left.appendleft(Leg(Playback(fewer_but_longer(struck)), workload))


def fewer_but_longer(schedule: Schedule) -> Iterator[Schedule]:
    """Yield a schedule less one fault, the others lasting longer.

    Shrinking never makes a fault worse. So it cannot leave a set of short troubles that
    work only together, where a single longer one would do.
    """
    for dropped in schedule:
        rest = schedule.without(dropped)
        yield from dict.fromkeys(Schedule(_lasting(fault, how) for fault in rest) for how in LONGER)


def _lasting(fault: Fault, how: str) -> Fault:
    if fault.options != LASTINGS:
        return fault
    words: dict[str, Any] = {fault.option_name: how}
    return attrs.evolve(fault, **words)


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
    """
    base = settings.default if parent is None else parent
    assert base is not None
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
