"""A system under test: what it is made of, and one run of it.

shop = System("shop")
bus = shop.add(Kafka(name="bus", topics={"orders": 8}))

@shop.service("payments", replicas=2)
def payments(env): ...

@shop.entry(examples=[Order("o1", 500)])
def place(env, order): ...

run = shop.run([Order("o1", 500)], Schedule())
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, Final, Literal, TypeVar

import attrs

from chaosharness.checkers.critical_path import side_effects_never_touch_critical_path
from chaosharness.checkers.effects import names_of
from chaosharness.checkers.outcomes.plan import AS_GIVEN, FOR_GOOD, HOPS, CleanRun, Family, Plan
from chaosharness.checkers.property import check_properties
from chaosharness.errors import Hopeless, InvalidDefinition, NotAwaited
from chaosharness.handlers.amid import after_answers
from chaosharness.handlers.colours import check_runtime, made_at
from chaosharness.handlers.compiled import past_everything
from chaosharness.handlers.logged import noting_logs
from chaosharness.handlers.module_state import AGAIN_MAX, ModuleState, named
from chaosharness.handlers.places import asked_at, at_line, words_of
from chaosharness.handlers.sandbox import enter, leave, put_around, take_away
from chaosharness.handlers.stopping import with_untold
from chaosharness.handlers.unawaited import keeping_origins
from chaosharness.kernel import allowed
from chaosharness.kernel.history import History
from chaosharness.kernel.lines import Line, noting_lines
from chaosharness.kernel.world import Budget, World
from chaosharness.schedule import Schedule
from chaosharness.system.boundary import Boundary, drawn, strange_handler, strange_ignored
from chaosharness.system.given import (
    check_budget,
    check_factory,
    check_takes,
    checked_items,
    names_that_wait,
)
from chaosharness.system.parts import (
    CLIENT,
    MEETS,
    UNTESTED,
    Factory,
    Resource,
    Service,
    describe,
    name_of,
)
from chaosharness.system.run import OBSERVERS, Again, Run
from chaosharness.system.stage import Stage
from chaosharness.system.weaker import Way, Weaker, ways_of
from chaosharness.system.wires import Wire

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", bound=Resource)

CALM: Final = Schedule()
CALM_RUNS_KEPT: Final = 64
FAMILIES_KEPT: Final = 8
SETTLES_MS: Final = 3_600_000
"""How far apart items come that shall find a system settled: an hour."""


class System:
    """A system under test.

    Args:
        name: What reports and schedule files call it.
        budget: How much one run may use.
        arrival_ms: Virtual time between two items of the workload.
        shared: State of modules that all incarnations and all runs share, by name: a module
            (`shop.settings`) or something in it (`shop.settings.load`). All other state of
            your modules begins anew with each incarnation, as in a process of its own.
        own: Installed packages whose modules are taken for yours, by name (`acme_common`): what
            they hold begins anew in the same way.
        may_wait: What may wait for ever, or for somebody who does not come in this workload:
            workflows that are ended by a signal or a cancellation alone, states, tasks and steps,
            by name (`Subscription`, `Approval`). No door tells of them, and none is stuck. A name
            that nothing has is refused by the first run without faults.
    """

    def __init__(
        self,
        name: str,
        *,
        budget: Budget | None = None,
        arrival_ms: int = 10,
        shared: Iterable[str] = (),
        own: Iterable[str] = (),
        may_wait: Iterable[str] = (),
    ) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidDefinition(
                f'a system needs a name, not {name!r}: System("shop"){asked_at()}'
            )
        if not allowed.is_whole(arrival_ms, 0):
            raise allowed.refused("System", "arrival_ms", "a whole number from 0", arrival_ms)
        self.name = name
        self.budget = Budget() if budget is None else check_budget("System", budget)
        self.arrival_ms = arrival_ms
        self.resources: dict[str, Any] = {}
        self._met = (0, 0)
        self._prepares: list[Callable[[], object]] = []
        self._speaks: set[str] = set()  # client libraries that the parts stand for
        self.services: dict[str, Service] = {}
        self.examples: tuple[Any, ...] = ()
        self.items: Any = None
        self.properties: list[Any] = []
        self._boundaries: list[Boundary] = []  # whose names no run has shown yet
        self._entry: Callable[..., Any] | None = None
        self.module_state = ModuleState(self.given, named(shared), named(own, "own", "acme_common"))
        self.may_wait = names_that_wait(may_wait)
        self.waits_at = asked_at() if self.may_wait else ""
        self._calm: dict[str, Run] = {}
        self._families: dict[str, Family] = {}
        self._same: set[str] = set()
        self.origin: tuple[System, str] | None = None
        self.instead: Mapping[str, Any] = {}
        self.loses: frozenset[str] = frozenset()
        self.openable: dict[tuple[int, str], str] = {}
        self.settles = False
        self.wires: list[Wire] | None = None
        self.critical: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"System({self.name!r})"

    # ---- putting it together

    def add(self, resource: R) -> R:
        """Add a broker, a store or a third party; return it."""
        if not callable(getattr(resource, "open", None)) or isinstance(resource, type):
            made = (
                f", which is a class: write {resource.__name__}(...)"
                if (isinstance(resource, type))
                else ""
            )
            raise InvalidDefinition(
                f"{allowed.spelled(resource)} is no part of a system{made}; add a broker (Kafka, "
                "RabbitMQ, SQS), a store (SQLite, KeyValue) or a third party (Gateway, External)"
                f"{asked_at()}"
            )
        self._take_name(resource.name)
        self.resources[resource.name] = resource
        return resource

    def profiles(self) -> tuple[str, ...]:
        """Return whose defaults its brokers go by, where a client is named, in words."""
        found = [(name, getattr(one, "profile", "")) for name, one in self.resources.items()]
        return tuple(f"{name} as by {words}" for name, words in found if words)

    def service(
        self,
        name: str,
        *,
        replicas: int = 1,
        runtime: Literal["asyncio", "trio", "ports"] | None = None,
        previous: Factory | None = None,
    ) -> Callable[[F], F]:
        """Add a service: a function that builds it, called again after every crash.

        Args:
            name: What sites call it.
            replicas: How many run side by side. They begin together, and where their loops sleep
                each wakes 370 ms after the one before it: nobody's processes run in step.
            runtime: For `async def` handlers: `asyncio`, `trio`, or `ports` (nothing is
                awaited but what env gave: stepped directly, and fastest). By default
                trio where the handler's module imports trio, else asyncio.
            previous: Builds the version before this one, for `Redeploy`.
        """
        if callable(name):
            own = name_of(name)
            raise InvalidDefinition(
                f'{own} is a service without a name: write @system.service("{own}") above it, '
                f"with brackets{asked_at()}"
            )
        if not allowed.is_whole(replicas, 1):
            raise InvalidDefinition(
                f"service {name!r} needs at least 1 replica, not {replicas!r}{asked_at()}"
            )
        check_runtime(runtime, name)
        if previous is not None:
            check_factory(name, previous)
        self._take_name(name)

        def add(factory: F) -> F:
            check_factory(name, factory)
            self.services[name] = Service(name, factory, replicas, runtime, previous)
            return factory

        return add

    def entry(
        self, *misplaced: Any, examples: Iterable[Any] | None = None, items: Any = None
    ) -> Callable[[F], F]:
        """Say how a workload item enters: `place(env, item)`, run by a client that never fails.

        Args:
            misplaced: Nothing: an entry is given by name only.
            examples: A few items, for runs that are not given any: the command line, and
                the search for sites. The plainest first.
            items: A Hypothesis strategy for one item, for tests that are not given any.

        Raises:
            InvalidDefinition: There are no examples, or there is an entry already.
        """
        if misplaced or examples is None:
            own = name_of(misplaced[0]) if misplaced and callable(misplaced[0]) else "this one"
            raise InvalidDefinition(
                f"an entry needs examples of its items, but {own} is given none: write "
                f"@system.entry(examples=[...]) above the function{asked_at()}"
            )

        def add(function: F) -> F:
            if self._entry is not None:
                raise InvalidDefinition(
                    f"system {self.name!r} has an entry already, and a system has one: it may take "
                    "items of several kinds, each with its example, and do for each what is right "
                    f"(`if isinstance(item, Refund): ...`){asked_at()}"
                )
            if not callable(function):
                raise InvalidDefinition(
                    f"the entry of {self.name!r} must be a function{asked_at()}"
                )
            what = f"the entry of {self.name!r} is {name_of(function)}{made_at(function)}"
            check_takes(what, function, ("env", "item"))
            self._entry = function
            self.examples = self._examples(examples)
            self.items = items
            return function

        return add

    def _examples(self, given: Any) -> tuple[Any, ...]:
        """Return the examples of the entry as a tuple."""
        what = f"the examples of the entry of {self.name!r} must be a list of workload items"
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            raise InvalidDefinition(f"{what}{asked_at()}: write examples=[{given!r}]")
        try:
            return tuple(given)
        except Exception as error:
            raise InvalidDefinition(
                f"{what}; making them raised {words_of(error)}{at_line(error)}"
            ) from error

    def claim(self, *properties: Any) -> None:
        """Say which properties the system promises: what the command line checks.

        Raises:
            InvalidDefinition: One is no property.
        """
        self.properties.extend(check_properties(properties))

    def critical_path(self, *parts: Any, ignore: Iterable[Any] = (), delay_ms_max: int = 0) -> None:
        """Declare what the critical path is: all else is aside, and may not touch it.

        From then on the system claims `side_effects_never_touch_critical_path`: trouble aside
        makes nothing on the critical path fail, come late or happen again. `chaosharness graph`
        shows the boundary, and where the critical path depends on what is aside.

        Args:
            parts: Its services (or single handlers: `"orders.on_paid"`), stores and third
                parties, by name or as they are. All parts must have been added before.
            ignore: Stores, tables, columns, third parties, methods and topics that may differ.
            delay_ms_max: How much later it may be done because of trouble aside.

        Raises:
            InvalidDefinition: There is no such part; or nothing is left aside. A handler, or a name
                to be ignored, that nothing has is refused by the first run without faults.
        """
        if not allowed.is_whole(delay_ms_max, 0):
            raise allowed.refused(
                "critical_path", "delay_ms_max", "a whole number from 0", delay_ms_max
            )
        boundary = drawn(parts, self.services, self.resources, names_of(ignore))
        self.critical |= boundary.critical
        self._boundaries.append(boundary)
        self.claim(
            side_effects_never_touch_critical_path(
                critical=boundary.critical,
                side=boundary.side,
                ignore=ignore,
                delay_ms_max=delay_ms_max,
            )
        )

    @property
    def settled(self) -> System:
        """The same system, whose items come an hour of virtual time apart: each finds it settled.

        Half an hour after each item whatever went wrong is over, as when calm begins. It has a
        name by which files find it again: `chaos_shop:shop.settled`.
        """
        twin = self._twin("settled")
        twin.arrival_ms, twin.settles = SETTLES_MS, True
        return twin

    @property
    def weaker(self) -> Weaker:
        """The same system on brokers that promise less: `shop.weaker.standard`, for each name.

        Iterate over it for the names. Each has one by which files find it again:
        `chaos_shop:shop.weaker.standard`. `chaosharness guarantees` tries all of them.
        """
        return Weaker(self.name, ways_of({**self.resources, **self.instead}), self._on)

    def _on(self, way: Way) -> System:
        twin = self._twin(f"weaker.{way.name}")
        twin.name = f"{self.name} on {way.words}"
        twin.instead = {**self.instead, **way.instead}
        twin.loses = self.loses | way.loses
        return twin

    def _twin(self, by: str) -> System:
        """Return the same system, to be changed; `by` is the attribute that gives it."""
        twin = copy(self)
        twin.origin = self, by
        twin._calm, twin._families, twin._same, twin.openable = {}, {}, set(), {}
        return twin

    def _take_name(self, name: str) -> None:
        if not isinstance(name, str) or not name or set(name) & set("/, \n"):
            raise InvalidDefinition(
                f"{name!r} cannot be a name: use letters, digits, '-', '_' and '.'{asked_at()}"
            )
        if name in self.resources or name in self.services or name == CLIENT:
            raise InvalidDefinition(
                f"system {self.name!r} has a part named {name!r} already{asked_at()}"
            )

    # ---- running it

    def run(
        self,
        items: Sequence[Any] | None = None,
        schedule: Schedule | None = None,
        *,
        budget: Budget | None = None,
    ) -> Run:
        """Run the system once: the workload, under the faults, then in calm until quiet.

        Args:
            items: The workload; the examples of the entry by default.
            schedule: The faults; none by default.
            budget: How much the run may use; the system's own by default.

        Raises:
            InvalidDefinition: The system cannot be built, or has no entry.
            IllegalFault: The schedule asks for what the product could never do.
        """
        if self._entry is None:
            raise InvalidDefinition(
                f"system {self.name!r} has no entry: say with @{self.name}.entry(examples=[...]) "
                "how a workload item enters"
            )
        schedule = CALM if schedule is None else schedule
        if not isinstance(schedule, Schedule):
            raise InvalidDefinition(
                f"{allowed.spelled(schedule)} is not a Schedule{asked_at()}: write Schedule([...]) "
                "around faults"
            )
        workload = self.examples if items is None else checked_items("run", items)
        budget = self.budget if budget is None else check_budget("run", budget)
        run = self._made(self._entry, workload, schedule, budget)
        if self._boundaries and workload and self.wires is None and not schedule:
            self._see_that_names_are_there(run)
        for see in OBSERVERS.get():
            see(run)
        return run

    def _see_that_names_are_there(self, run: Run) -> None:
        """Refuse what a boundary names and nothing has, once a run without faults has shown all."""
        boundaries, self._boundaries = self._boundaries, []
        places = [raw[3].partition("/")[0] for raw in run.history.raw]
        if any("." in name for one in boundaries for name in one.critical):
            twin = copy(self)
            twin.wires, twin._calm, twin._families, twin._same = [], {}, {}, set()
            twin.run(())  # the services are built, and say what they have
            places += [one.place for one in twin.wires]
        for one in boundaries:
            wrong = strange_handler(one, places)
            wrong = wrong or strange_ignored(one, self.resources, run.history)
            if wrong:
                self._boundaries = boundaries
                raise InvalidDefinition(wrong)

    def lines(self, run: Run) -> Mapping[int, Line]:
        """Return the line of the user's code that each event of a run was asked for at.

        The run is made once more for it, and not looked at by anybody else.

        Args:
            run: A run of this system with its own budget.

        Returns:
            By the event's index, events that user code asked for; nothing where that other run
            is not the same.
        """
        return self.seen_again(run).lines

    def seen_again(self, run: Run) -> Again:
        """Return what a run shows that its history does not: lines of code, and what was logged.

        The run is made once more for it, and not looked at by anybody else.

        Args:
            run: A run of this system with its own budget.

        Returns:
            Nothing where that other run is not the same.
        """
        if self._entry is None:
            return Again()
        with noting_lines() as noted, noting_logs() as logged:
            again = self._made(self._entry, run.items, run.schedule, self.budget)
        if again.digest() != run.digest():
            return Again()
        return Again(noted.lines(), tuple(logged.lines))

    def _made(
        self,
        entry: Callable[..., Any],
        workload: tuple[Any, ...],
        schedule: Schedule,
        budget: Budget,
        plan: Plan = AS_GIVEN,
    ) -> Run:
        enter()  # before anything is touched: modules and the collector are those of all threads
        collecting = gc.isenabled()
        gc.disable()  # nothing of a run can be freed while it lasts: looking for it is waste
        try:
            return self._settled(entry, workload, schedule, budget, plan)
        except NotAwaited as missed:
            if not missed.has_line:
                with keeping_origins():  # the same run again: it is called off with the line
                    self._settled(entry, workload, schedule, budget, plan)
            raise
        finally:
            if collecting:
                gc.enable()
            leave()

    def _settled(
        self,
        entry: Callable[..., Any],
        workload: tuple[Any, ...],
        schedule: Schedule,
        budget: Budget,
        plan: Plan,
    ) -> Run:
        """Run until it is known which contents of modules belong to whom: mostly once."""
        for left in reversed(range(AGAIN_MAX)):
            try:
                run, again = self._play(entry, workload, schedule, budget, plan)
            except Hopeless as error:
                if left and error.is_early:
                    continue
                raise
            if not again:
                break
        return run

    def _play(
        self,
        entry: Callable[..., Any],
        workload: tuple[Any, ...],
        schedule: Schedule,
        budget: Budget,
        plan: Plan,
    ) -> tuple[Run, bool]:
        """Run once; say as well whether modules changed in a way that has it run once more."""
        if self._met != (len(self.resources), len(MEETS)):
            self._meet()
        for prepare in self._prepares:  # what a part does once, and belongs to no run
            prepare()
        world = World(budget=budget, armed=schedule.armed())
        world.may_wait = self.may_wait
        modules, again = self.module_state, False
        modules.begin(world)
        sandbox = put_around(world, salt=plan.salt)
        try:
            stage = Stage(self, world, plan)
            try:
                ending = stage.play(entry, workload)
                again = modules.settle()
                histories = stage.event_histories()
            except Hopeless as error:
                again = error.is_early = modules.is_late
                error.history = History(world.raw)
                raise
            finally:
                stage.strike()
        finally:
            modules.leave(undo=again)
            take_away(sandbox)
        after_answers(world)
        if not schedule:  # what trouble is sized by is asked of runs without any
            world.rest.scan_all(world)
            world.durations |= world.rest.ahead_ms
        history = History(world.raw)
        world.raw = []  # circles that crashed code leaves behind shall not hold the history
        run = Run(
            self,
            workload,
            schedule,
            history,
            ending,
            tuple(world.arms.unused()),
            with_untold(world),
            world.counts_in_chaos,
            tuple(sorted(world.durations)),
            world.long_ms(),
            histories,
            {name: frozenset(passed) for name, passed in sorted(world.spoken.items()) if passed},
            self._unspoken(world),
            tuple(sorted(world.lacked)),
            bool(world.rest.read_at),
        )
        return run, again

    def _meet(self) -> None:
        """Have client libraries met: once for the parts that there are, and whoever meets them."""
        for meet in MEETS:
            for resource in self.resources.values():
                meet(getattr(resource, "speaks", ()))
            meet(())  # what has to be met in every system
        parts = self.resources.values()
        self._prepares = [one.prepare for one in parts if hasattr(one, "prepare")]
        self._speaks = {one for part in parts for one in getattr(part, "speaks", ())}
        self._met = len(self.resources), len(MEETS)

    def _unspoken(self, world: World) -> tuple[str, ...]:
        """Return the libraries of the user's code that did not speak, and what went past."""
        silent = self._speaks - world.spoken.keys()
        held = sorted(self.module_state.holds(silent)) if silent else ()
        compiled = past_everything(self.module_state.holds)
        untested = [
            words
            for name, (package, words) in sorted(UNTESTED.items())
            if name in world.spoken or self.module_state.holds((package,))
        ]
        return (*untested, *held, *compiled, *sorted(world.past))

    def given(self) -> Iterator[Callable[..., Any]]:
        """Yield the functions that the user gave: they lead to the modules of the user's code."""
        for service in self.services.values():
            yield service.factory
            if service.previous is not None:
                yield service.previous
        if self._entry is not None:
            yield self._entry

    def calm(self, items: Sequence[Any] | None = None) -> Run:
        """Run the workload without any fault; the last few such runs are remembered."""
        workload = self.examples if items is None else tuple(items)
        key = _contents(workload)
        found = self._calm.get(key)
        if found is None:
            if len(self._calm) >= CALM_RUNS_KEPT:
                self._calm.pop(next(iter(self._calm)))
            found = self._calm[key] = self.run(workload)
        return found

    def family(self, items: Sequence[Any] | None = None) -> Family:
        """Return the clean runs of a workload; the last few families are remembered."""
        workload = self.examples if items is None else tuple(items)
        key = _contents(workload)
        found = self._families.get(key)
        if found is None:
            if len(self._families) >= FAMILIES_KEPT:
                self._families.pop(next(iter(self._families)))
            found = self._families[key] = Family(
                workload, partial(self._clean, workload), same=self._same, methods=self._methods()
            )
        return found

    def _methods(self) -> dict[str, frozenset[str]]:
        """Return what third parties can be asked for, by their name."""
        servers = ((name, getattr(one, "server", None)) for name, one in self.resources.items())
        return {
            name: frozenset(one for one in dir(server) if not one.startswith("_"))
            for name, server in servers
            if isinstance(server, type)
        }

    def _clean(self, workload: tuple[Any, ...], plan: Plan) -> CleanRun | None:
        """Make one clean run."""
        if self._entry is None:
            return None
        if plan == AS_GIVEN:
            run = self.calm(workload)
        else:
            budget = self.budget
            if plan.refused:  # a message may go round as often as it is refused
                budget = attrs.evolve(budget, hops_max=max(budget.hops_max, FOR_GOOD * HOPS))
            if plan.events_max:
                budget = attrs.evolve(budget, events_max=plan.events_max)
            run = self._made(self._entry, workload, Schedule(plan.faults()), budget, plan)
        most_ms = self.budget.chaos_ms  # trouble ends by then
        longest_ms = max((one for one in run.durations if one < most_ms), default=0)
        return CleanRun(
            run.history,
            run.surfaces,
            run.reached,
            reads_clock=run.reads_clock,
            deals_numbers=any(
                getattr(one, "deals_numbers", False) for one in self.resources.values()
            ),
            longest_ms=longest_ms,
        )


def _contents(workload: tuple[Any, ...]) -> str:
    """Spell a workload by its contents: the `repr` of a user's class may leave out a field."""
    described = [describe(item) for item in workload]
    try:
        return repr((workload, described))
    except Exception:
        return repr(([type(item).__qualname__ for item in workload], described))
