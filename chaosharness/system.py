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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeVar

import attrs
import msgspec

from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import decoder_for, reader_for
from chaosharness.calls import Endpoint, RemoteError, Switchboard
from chaosharness.checkers import Evidence, Property
from chaosharness.errors import ChaosharnessError, IllegalFault, InvalidDefinition
from chaosharness.faults import ClockSkew, Fault, Redeploy
from chaosharness.handlers.carrier import PLAIN, current_crew, dispose
from chaosharness.handlers.colours import check_runtime, colour_for
from chaosharness.handlers.port import Surface, current_scope, sleep, surface
from chaosharness.handlers.sandbox import put_around, take_away
from chaosharness.kernel.history import History, plain
from chaosharness.kernel.scope import BackgroundScope, Incarnation, Scope
from chaosharness.kernel.world import Budget, Ending, World
from chaosharness.schedule import Schedule

Factory = Callable[["Env"], Any]
F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", bound="Resource")

CLIENT: Final = "client"
START: Final = surface(before=(ClockSkew,))
START_OF_EITHER: Final = surface(before=(ClockSkew, Redeploy))
"""The start of a service that has a previous version to be replaced by."""
CALM: Final = Schedule()
CALM_RUNS_KEPT: Final = 64
RESTART_MS: Final = 1_000
"""How long a service that cannot start waits before it tries again."""

OBSERVERS: Final[ContextVar[tuple[Callable[[Run], None], ...]]] = ContextVar(
    "chaosharness.observers", default=()
)
"""Who is told of each run that is over: a search that learns from the runs of a test."""


class Resource(Protocol):
    """Something a system is made of: a broker, a store, a third party."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def open(self, world: World) -> Any:
        """Return it, new, for one run."""


@attrs.define
class Service:
    """How a service is built."""

    name: str
    factory: Factory
    replicas: int
    runtime: str | None
    previous: Factory | None
    operation: str = attrs.field(init=False)
    place: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.operation = f"{self.name}/start"
        self.place = f"{self.name}.start"


@attrs.frozen(eq=False)
class Run:
    """One execution of a system, over.

    Attributes:
        system: The system that ran.
        items: The workload.
        schedule: The faults that were armed.
        history: What happened.
        ending: How it ended.
        unused: Faults that found no site.
        surfaces: Which faults may strike at each operation that was reached.
        reached: How often each `(operation, entity)` was reached before the calm: attempts
            1 to that many are the sites of this run.
    """

    system: System
    items: tuple[Any, ...]
    schedule: Schedule
    history: History
    ending: Ending
    unused: tuple[Fault, ...]
    surfaces: Mapping[str, Surface] = attrs.field(repr=False)
    reached: Mapping[tuple[str, int], int] = attrs.field(repr=False)

    def evidence(self) -> Evidence:
        """Return what properties are judged by."""
        unused = set(self.unused)
        struck = tuple(fault for fault in self.schedule if fault not in unused)
        return Evidence(self.history, self.items, self.calm, struck)

    def calm(self) -> History:
        """Return the history of the same workload without any fault."""
        if not self.schedule.faults:
            return self.history
        return self.system.calm(self.items).history

    def check(self, *properties: Property) -> None:
        """Judge the run; raise for the first property that does not hold.

        Without arguments it judges what the system claims.

        Raises:
            PropertyViolated: A subclass of its own for each property.
        """
        __tracebackhide__ = True
        evidence = self.evidence()
        for one in properties or tuple(self.system.properties):
            if one.when == "sometimes":
                continue  # a claim about the campaign, not about one run
            findings = one.findings(evidence)
            if findings:
                violation = one.violation(findings)
                violation.run = self
                violation.findings = findings
                violation.property = one
                raise violation

    def digest(self) -> str:
        """Return 16 hexadecimal digits that differ when any event differs."""
        return self.history.digest()


class System:
    """A system under test.

    Args:
        name: What reports and schedule files call it.
        budget: How much one run may use.
        arrival_ms: Virtual time between two items of the workload.
    """

    def __init__(self, name: str, *, budget: Budget | None = None, arrival_ms: int = 10) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidDefinition(f"a system needs a name, not {name!r}")
        self.name = name
        self.budget = budget or Budget()
        self.arrival_ms = arrival_ms
        self.resources: dict[str, Any] = {}
        self.services: dict[str, Service] = {}
        self.examples: tuple[Any, ...] = ()
        self.items: Any = None
        self.properties: list[Any] = []
        self._entry: Callable[..., Any] | None = None
        self._calm: dict[str, Run] = {}

    def __repr__(self) -> str:
        return f"System({self.name!r})"

    # ---- putting it together

    def add(self, resource: R) -> R:
        """Add a broker, a store or a third party; return it."""
        if not callable(getattr(resource, "open", None)):
            raise InvalidDefinition(
                f"{resource!r} is no part of a system; add a broker (Kafka, RabbitMQ), a store "
                "(SQLite, KeyValue) or a third party (Gateway, External)"
            )
        self._take_name(resource.name)
        self.resources[resource.name] = resource
        return resource

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
            replicas: How many run side by side.
            runtime: For `async def` handlers: `asyncio`, `trio`, or `ports` (nothing is
                awaited but what env gave: stepped directly, and fastest). By default
                trio where the handler's module imports trio, else asyncio.
            previous: Builds the version before this one, for `Redeploy`.
        """
        if not isinstance(replicas, int) or replicas < 1:
            raise InvalidDefinition(f"service {name!r} needs at least 1 replica, not {replicas!r}")
        check_runtime(runtime, name)
        self._take_name(name)

        def add(factory: F) -> F:
            if not callable(factory):
                raise InvalidDefinition(f"service {name!r} needs a function that builds it")
            self.services[name] = Service(name, factory, replicas, runtime, previous)
            return factory

        return add

    def entry(self, *, examples: Iterable[Any], items: Any = None) -> Callable[[F], F]:
        """Say how a workload item enters: `place(env, item)`, run by a client that never fails.

        Args:
            examples: A few items, for runs that are not given any: the command line, and
                the search for sites. The plainest first.
            items: A Hypothesis strategy for one item, for tests that are not given any.
        """

        def add(function: F) -> F:
            if self._entry is not None:
                raise InvalidDefinition(f"system {self.name!r} has an entry already")
            if not callable(function):
                raise InvalidDefinition(f"the entry of {self.name!r} must be a function")
            self._entry = function
            self.examples = tuple(examples)
            self.items = items
            return function

        return add

    def claim(self, *properties: Any) -> None:
        """Say which properties the system promises: what the command line checks."""
        self.properties.extend(properties)

    def _take_name(self, name: str) -> None:
        if not isinstance(name, str) or not name or set(name) & set("/, \n"):
            raise InvalidDefinition(
                f"{name!r} cannot be a name: use letters, digits, '-', '_' and '.'"
            )
        if name in self.resources or name in self.services or name == CLIENT:
            raise InvalidDefinition(f"system {self.name!r} has a part named {name!r} already")

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
            raise InvalidDefinition(f"{schedule!r} is not a Schedule")
        workload = self.examples if items is None else tuple(items)
        collecting = gc.isenabled()
        gc.disable()  # nothing of a run can be freed while it lasts: looking for it is waste
        try:
            run = self._play(self._entry, workload, schedule, budget or self.budget)
        finally:
            if collecting:
                gc.enable()
        for see in OBSERVERS.get():
            see(run)
        return run

    def _play(
        self,
        entry: Callable[..., Any],
        workload: tuple[Any, ...],
        schedule: Schedule,
        budget: Budget,
    ) -> Run:
        world = World(budget=budget, armed=schedule.armed())
        sandbox = put_around(world)
        try:
            stage = Stage(self, world)
            try:
                ending = stage.play(entry, workload)
            finally:
                stage.strike()
        finally:
            take_away(sandbox)
        history = History(world.raw)
        world.raw = []  # circles that crashed code leaves behind shall not hold the history
        return Run(
            self,
            workload,
            schedule,
            history,
            ending,
            tuple(world.unused()),
            world.surfaces,
            world.counts_in_chaos,
        )

    def calm(self, items: Sequence[Any] | None = None) -> Run:
        """Run the workload without any fault; the last few such runs are remembered."""
        workload = self.examples if items is None else tuple(items)
        # By its contents: the `repr` of a user's class may leave out just what differs.
        key = repr((workload, [describe(item) for item in workload]))
        found = self._calm.get(key)
        if found is None:
            if len(self._calm) >= CALM_RUNS_KEPT:
                self._calm.pop(next(iter(self._calm)))
            found = self._calm[key] = self.run(workload)
        return found


class Stage:
    """One run of a system while it goes on: builds services, sends the workload in."""

    def __init__(self, system: System, world: World) -> None:
        self.system = system
        self.world = world
        world.on_armed = self._check_legal
        self.switchboard = Switchboard(world)
        self.client: Env | None = None
        for name, resource in system.resources.items():
            world.states[name] = resource.open(world)

    def play(self, entry: Callable[..., Any], items: tuple[Any, ...]) -> Ending:
        """Run to the end."""
        world = self.world
        for service in self.system.services.values():
            for replica in range(1, service.replicas + 1):
                world.after(0, self._start_first, (service, replica))
        incarnation = Incarnation(world, CLIENT, 1, 1, CLIENT)
        self.client = Env(self, incarnation, CLIENT, None)
        self.entry = entry
        self.entry_place = f"{CLIENT}.{name_of(entry)}"
        self.entry_colour = colour_for(entry, None, incarnation)
        self.items = items
        if items:
            world.after(0, self._send, 0)
        ending = current_crew().play(world)
        for state in world.states.values():
            final = getattr(state, "final", None)
            if final is not None and world.error is None:
                world.record("state", state.name, data=final())
        if world.error is not None:
            raise world.error
        return ending

    def strike(self) -> None:
        """Take the stage down: code that was abandoned ends now, with its ports dead."""
        world = self.world
        if world.ending is None:
            world.end("stuck", "the run was broken off")
        incarnations = list(world.incarnations)
        if self.client is not None:
            incarnations.append(self.client.incarnation)
        for incarnation in incarnations:
            incarnation.alive = False
            if incarnation.kept:
                for carrier in tuple(incarnation.kept):
                    dispose(carrier)
                incarnation.kept.clear()
            if incarnation.guests:
                for guest in incarnation.guests.values():  # after what was blocked inside them
                    guest.dispose()
                incarnation.guests.clear()
            incarnation.on_death.clear()
        for state in world.states.values():
            close = getattr(state, "close", None)
            if close is not None:
                close()
        world.forget()  # break the circles, so that all this is freed here and now
        self.switchboard.endpoints.clear()
        self.client = None

    def _check_legal(self, operation: str, surface: Surface) -> None:
        """Refuse a fault that could not happen at this operation."""
        for one in self.world.armed[operation]:
            kinds = surface.before if one.site.phase == "before" else surface.after
            if operation.startswith(f"{CLIENT}."):
                kinds = tuple(kind for kind in kinds if kind in OUTSIDE)
            if type(one.fault) not in kinds:
                legal = ", ".join(kind.__name__ for kind in kinds) or "none"
                self.world.refuse(
                    IllegalFault(
                        f"{one.fault} can never happen in a real deployment. "
                        f"Legal {one.site.phase} {operation}: {legal}."
                    )
                )

    def _send(self, index: int) -> None:
        """Have the next item of the workload enter."""
        client = self.client
        assert client is not None
        world = self.world
        item = self.items[index]
        if index + 1 < len(self.items):
            world.after(self.system.arrival_ms, self._send, index + 1)
        entity = index + 1
        raw = world.raw
        cause = len(raw)
        data = {"item": describe(item)}
        raw.append((world.now, "arrive", CLIENT, "", entity, 0, -1, data))
        world.effects += 1
        colour = self.entry_colour
        scope = Scope(world, client.incarnation, self.entry_place, entity, cause, colour)
        world.in_flight[scope] = self.entry_place
        colour.start(scope, self.entry, _as_is, (client, item), self._sent)

    def _sent(self, scope: Scope, _: Any, error: BaseException | None) -> None:
        scope.world.in_flight.pop(scope, None)
        if error is not None:
            words = {"error": f"{type(error).__name__}: {error}"}
            scope.record("raised", scope.place, 1, words)
            if isinstance(error, ChaosharnessError):
                scope.world.refuse(error)
            elif not isinstance(error, ANSWERS) and not scope.world.struck():
                self._refuse_entry(scope, error)

    def _refuse_entry(self, scope: Scope, error: BaseException) -> None:
        """Say that the entry fails by itself: nothing came in, so nothing would be tested."""
        entry = scope.place.removeprefix(f"{CLIENT}.")
        refusal = InvalidDefinition(
            f"the entry {entry!r} of {self.system.name!r} raised {type(error).__name__}: {error} "
            f"for item {scope.entity}, {clipped(self.items[scope.entity - 1])}, without any "
            "fault. If the client has to expect this, catch it in the entry."
        )
        refusal.__cause__ = error
        self.world.refuse(refusal)

    def _start_first(self, argument: tuple[Service, int]) -> None:
        service, replica = argument
        self._start(service, replica, 1, -1)

    def _start(self, service: Service, replica: int, number: int, cause: int) -> None:
        """Build an incarnation of a service, from nothing but its durable stores."""
        world = self.world
        incarnation = Incarnation(world, service.name, replica, number)
        world.incarnations.append(incarnation)
        operation = service.operation
        attempt = world.reach(operation, 0)
        if operation not in world.surfaces:
            world.meet(operation, START if service.previous is None else START_OF_EITHER)
        scope = Scope(world, incarnation, service.place, 0, cause, PLAIN)
        factory = service.factory
        if operation in world.armed:
            factory = self._suffer_at_start(scope, service, attempt)
        scope.record("start", operation, attempt, None)
        incarnation.restart = lambda: self._start(service, replica, number + 1, len(world.raw) - 1)
        env = Env(self, incarnation, service.name, service.runtime)
        scope.run = (env, operation, attempt)
        PLAIN.start(scope, factory, _as_is, (env,), self._started)

    def _suffer_at_start(self, scope: Scope, service: Service, attempt: int) -> Factory:
        """Let the faults of this start strike; return what builds the service."""
        world = self.world
        incarnation = scope.incarnation
        operation = service.operation
        factory = service.factory
        for fault in world.strikes(operation, "before", 0, attempt):
            scope.record("fault", operation, attempt, {"fault": str(fault)})
            if isinstance(fault, ClockSkew):
                incarnation.skew_ms = fault.skew_ms
            elif isinstance(fault, Redeploy) and service.previous is not None:
                factory = service.previous
                world.at_calm(lambda: world.crash(incarnation, "next", cause=-1))
        return factory

    def _started(self, scope: Scope, _: Any, error: BaseException | None) -> None:
        """The factory of a service has ended: begin its main loops, or try again later."""
        world = self.world
        env, operation, attempt = scope.run
        if error is None:
            for begin in env.loops:
                world.after(0, begin)
            return
        words = {"error": f"{type(error).__name__}: {error}"}
        scope.record("raised", operation, attempt, words)
        if isinstance(error, ChaosharnessError):
            world.refuse(error)
        elif scope.incarnation.number == 1 and not world.struck():
            refusal = InvalidDefinition(f"{operation} raised {words['error']}")
            refusal.__cause__ = error
            world.refuse(refusal)
        else:
            world.crash(scope.incarnation, RESTART_MS, cause=scope.cause)


OUTSIDE: Final = frozenset(
    kind for kind in Fault.__subclasses__() if kind.__name__ in ("Delay", "Poison", "Duplicate")
)
"""What may strike a client of the system: it is outside, and its own crashes are not ours."""


ANSWERS: Final = (RemoteError, OSError)
"""What a client is told by the system, or hears nothing: no mistake of its own."""


def _as_is(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments


def clipped(item: Any) -> str:
    """Return an item as code, or the beginning of it."""
    text = repr(item)
    return text if len(text) <= 80 else f"{text[:79]}…"


def describe(item: Any) -> Any:
    """Return a workload item as plain values, for the history."""
    try:
        return msgspec.to_builtins(item)
    except TypeError:
        return plain(vars(item)) if hasattr(item, "__dict__") else plain(item)


class Env:
    """What a service is built with: its ports to the rest of the world.

    The ports work in the code that the harness runs for this incarnation, and nowhere else.
    """

    def __init__(
        self, stage: Stage, incarnation: Incarnation, service: str, runtime: str | None
    ) -> None:
        self._stage = stage
        self.incarnation = incarnation
        self._service = service
        self._runtime = runtime
        self.loops: list[Callable[[Any], None]] = []

    def _open(self, resource: Any, method: str, what: str) -> Any:
        stage = self._stage
        name = getattr(resource, "name", "")
        found = stage.world.states.get(name)
        if found is None or stage.system.resources.get(name) is not resource:
            raise InvalidDefinition(
                f"{resource!r} is no part of system {self._stage.system.name!r}"
            )
        if not hasattr(found, method):
            raise InvalidDefinition(f"{name!r} is no {what}")
        return found

    # ---- messages

    def publisher(self, broker: Any) -> Callable[..., Any]:
        """Return what publishes to a broker: `publish(topic, value, key=..., headers=...)`.

        See the `publish` of the broker. In an `async` handler, await it.
        """
        return self._open(broker, "publish", "broker").publish  # type: ignore[no-any-return]

    def consume(
        self,
        broker: Any,
        source: str,
        handler: Callable[..., Any],
        *,
        read_as: Any = None,
        **options: Any,
    ) -> None:
        """Have a handler called with each message; it is acknowledged when that returns.

        Args:
            broker: Where from.
            source: Topic (Kafka) or queue (RabbitMQ).
            handler: `handler(value)`, `handler(value, delivery)`, or one whose first
                parameter is annotated `Delivery`; plain or `async`. The annotation of
                `value` says what the payload is decoded into.
            read_as: The type to decode into, where there is no annotation; or a function
                that decodes bytes.
            options: The broker's own, as its class says.
        """
        state = self._open(broker, "consume", "broker")
        if not callable(handler):
            raise InvalidDefinition(
                f"service {self._service!r} consumes {source!r} with {handler!r}, which cannot "
                "be called"
            )
        place = f"{self._service}.{name_of(handler)}"
        colour = colour_for(handler, self._runtime, self.incarnation)
        reader = reader_for(handler, read_as)
        intake = Intake(self.incarnation, place, handler, reader, colour)
        state.consume(intake, source, service=self._service, **options)

    def consumer(self, broker: Any, *sources: str, read_as: Any = None, **options: Any) -> Any:
        """Return a consumer for the service's own main loop.

        Args:
            broker: Where from.
            sources: Topics (Kafka) or queues (RabbitMQ).
            read_as: The type to decode payloads into, or a function that decodes bytes.
            options: The broker's own, as its class says.
        """
        state = self._open(broker, "consumer", "broker")
        if not sources:
            raise InvalidDefinition(f"service {self._service!r} has a consumer of nothing")
        return state.consumer(
            self.incarnation, sources, decoder_for(read_as), service=self._service, **options
        )

    def main(self, function: Callable[[], Any], *, background: bool = False) -> None:
        """Run a service's own main loop, from when it is built until it crashes.

        Args:
            function: The loop, plain or `async`.
            background: Whether it does something again and again for ever, by design: a
                heartbeat, a report every hour. A run does not wait for its sleep to be over
                (`env.sleep`, or asyncio's); without this it would never become quiet.
        """
        if not callable(function):
            raise InvalidDefinition(f"service {self._service!r}: main needs a function")
        place = f"{self._service}.{name_of(function)}"
        colour = colour_for(function, self._runtime, self.incarnation)
        kind = BackgroundScope if background else Scope
        scope = kind(self.incarnation.world, self.incarnation, place, 0, -1, colour)

        def done(scope: Scope, _: Any, error: BaseException | None) -> None:
            scope.world.in_flight.pop(scope, None)
            if error is not None:
                words = {"error": f"{type(error).__name__}: {error}"}
                scope.record("raised", place, 1, words)
                if isinstance(error, ChaosharnessError) and not scope.poisoned:
                    scope.world.refuse(error)
                else:
                    scope.world.crash(self.incarnation, RESTART_MS, cause=scope.cause)

        def begin(_: Any) -> None:
            if self.incarnation.alive:
                colour.start(scope, function, None, None, done)

        self.loops.append(begin)

    # ---- calls between services

    def serve(self, name: str, handler: Callable[..., Any], *, read_as: Any = None) -> None:
        """Answer calls of other services: the caller gets what `handler(value)` returns."""
        place = f"{self._service}.{name_of(handler)}"
        colour = colour_for(handler, self._runtime, self.incarnation)
        reader = reader_for(handler, read_as)
        endpoint = Endpoint(self.incarnation, place, handler, reader, colour)
        self._stage.switchboard.serve(self._service, name, endpoint)

    def call(
        self,
        service: str,
        name: str,
        value: Any = None,
        *,
        timeout_s: float = 10.0,
        read_as: Any = None,
    ) -> Any:
        """Call an endpoint of another service. In an `async` handler, await it.

        Raises:
            TimeoutError: No answer: it may have happened, or be happening now.
            ConnectionError: Nobody picked up: it did not happen.
            RemoteError: The other service raised.
        """
        timeout_ms = round(timeout_s * 1000)
        return self._stage.switchboard.call(service, name, value, timeout_ms, read_as)

    # ---- stores and third parties

    def connect(self, store: Any) -> Any:
        """Return a connection to a store.

        Of `SQLite` it is an ordinary `sqlite3.Connection`, which is never awaited; what
        `KeyValue` gives is awaited in an `async` handler.
        """
        return self._open(store, "connect", "store").connect(self.incarnation)

    def client(self, external: Any) -> Any:
        """Return what calls a third party: its methods."""
        return self._open(external, "client", "third party").client()

    # ---- time, and things worth knowing

    def sleep(self, seconds: float) -> Any:
        """Let virtual time pass. In an `async` handler, await it."""
        return sleep(seconds)

    def now_ms(self) -> int:
        """Return the virtual time as this replica's clock has it, in whole milliseconds."""
        return self._stage.world.now + self.incarnation.skew_ms

    def note(self, what: str, **words: Any) -> None:
        """Say something about the state of the business, for properties and reports."""
        scope = current_scope("note")
        data = {"what": what, **{name: plain(value) for name, value in words.items()}}
        scope.record("note", "", 0, data)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name that sites use for a handler."""
    name = getattr(function, "__name__", None)
    if name is None:
        if isinstance(function, partial):
            return name_of(function.func)
        return type(function).__name__
    return str(name)
