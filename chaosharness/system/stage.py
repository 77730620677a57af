"""One run of a system while it goes on: builds services, sends the workload in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from chaosharness.calls import RemoteError, Switchboard
from chaosharness.checkers.outcomes.plan import AS_GIVEN, Plan
from chaosharness.errors import Abandoned, ChaosharnessError, IllegalFault, InvalidDefinition
from chaosharness.faults import ClockSkew, Redeploy
from chaosharness.handlers.blame import refuse_hopeless
from chaosharness.handlers.carrier import PLAIN, current_crew, dispose
from chaosharness.handlers.colours import colour_for
from chaosharness.handlers.later import refuse_kept
from chaosharness.handlers.places import at_line, because, told, words_of
from chaosharness.handlers.port import TAKES_OVER, Surface, with_stops
from chaosharness.handlers.unlogged import unlogged
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import Ending, World
from chaosharness.system.env import Env
from chaosharness.system.given import check_names_that_wait
from chaosharness.system.parts import (
    CLIENT,
    OUTSIDE,
    START,
    START_OF_EITHER,
    Factory,
    Service,
    clipped,
    describe,
    die,
    name_of,
)
from chaosharness.system.wires import Wire

ANSWERS: Final = (RemoteError, OSError)
"""What a client is told by the system, or hears nothing: no mistake of its own."""

PATIENCE_MS: Final = 10_000
"""How long services may take until their workers are there."""


class Declared(Protocol):
    """What a stage is built from."""

    name: str
    arrival_ms: int
    settles: bool
    waits_at: str
    resources: dict[str, Any]
    instead: Mapping[str, Any]
    openable: dict[tuple[int, str], str]
    services: dict[str, Service]
    wires: list[Wire] | None


class Stage:
    """One run of a system while it goes on: builds services, sends the workload in."""

    def __init__(self, system: Declared, world: World, plan: Plan = AS_GIVEN) -> None:
        self.system = system
        self.plan = plan
        self.world = world
        world.on_armed = self._check_legal
        self.switchboard = Switchboard(world)
        self.opened: dict[tuple[int, str], Any] = {}
        self.client: Env | None = None
        self.factories: dict[Incarnation, Factory] = {}
        self.environments: dict[str, int] = {}  # how many a service has, where beside its replicas
        self.loops: list[list[Callable[[Any], None]]] = []
        """Those of each service: a process keeps what its loops have made (a connection on which
        it listens), also where they have ended."""
        instead = system.instead
        parts = {**system.resources, **instead} if instead else system.resources
        for name, resource in parts.items():
            world.states[name] = resource.open(world)
            if name in instead:  # before a part is opened that asks for what was declared
                world.states[name].stands_for = system.resources[name]
        if plan.latency != 1:
            for state in world.states.values():
                if hasattr(state, "latency_ms"):
                    state.latency_ms *= plan.latency
                if hasattr(state, "lines"):
                    state.lines.slow_down(plan.latency)
        world.rest.tick_ms = plan.tick_ms
        if plan.first_offset:
            for state in world.states.values():
                if hasattr(state, "begin_at"):
                    state.begin_at(plan.first_offset)
        if plan.first_number:
            for state in world.states.values():
                if hasattr(state, "number_after"):
                    state.number_after(plan.first_number)
        if plan.before:
            for state in world.states.values():
                if hasattr(state, "stay_before"):
                    state.stay_before()

    def play(self, entry: Callable[..., Any], items: tuple[Any, ...]) -> Ending:
        """Run to the end."""
        world = self.world
        world.unbuilt.update(self.system.services)
        for service in self.system.services.values():
            for replica in range(1, service.replicas + 1):
                world.after(0, self._start_first, (service, replica))
        incarnation = Incarnation(world, CLIENT, 1, 1, CLIENT)
        incarnation.skew_ms = self.plan.clock_ms
        self.client = Env(self, incarnation, CLIENT, None)
        self.entry = entry
        self.entry_place = f"{CLIENT}.{name_of(entry)}"
        self.entry_colour = colour_for(entry, None, incarnation)
        self.items = items
        gap = self.system.arrival_ms
        self.arrivals = self.plan.arrivals(len(items), gap)
        for at_ms in self.plan.restarts(len(items), gap):
            world.after(at_ms, self._restart_all)
        if self.arrivals:
            world.after(self.arrivals[0][0], self._send, 0)
        ending = current_crew().play(world)
        refuse_kept(world, (incarnation, *world.incarnations))
        self._miss_workers()
        if world.may_wait and world.error is None and not world.struck():
            check_names_that_wait(self.system.name, world, self.system.waits_at)
        if world.error is None:
            for state in world.states.values():
                if hasattr(state, "final"):
                    world.record("state", state.name, data=state.final())
                if hasattr(state, "tables"):
                    world.record("tables", state.name, data=state.tables())
        if world.error is not None:
            raise world.error
        return ending

    def _miss_workers(self) -> None:
        """Have orchestrators refuse what waits for somebody whom there never was."""
        for state in self.world.states.values():
            if hasattr(state, "miss_workers"):
                state.miss_workers()

    def event_histories(self) -> dict[str, str]:
        """Return what orchestrators have recorded, by workflow or execution."""
        found: dict[str, str] = {}
        for state in self.world.states.values():
            histories = getattr(state, "event_histories", None)
            if histories is not None:
                found.update(histories())
        return found

    def strike(self) -> None:
        """Take the stage down: code that was abandoned ends now, with its ports dead."""
        with unlogged():
            self._strike()

    def _strike(self) -> None:
        world = self.world
        if world.ending is None:
            world.end("stuck", "the run was broken off")
        incarnations = list(world.incarnations)
        if self.client is not None:
            client = self.client.incarnation
            client.on_death.clear()  # of all others the world lets go
            client.takers.clear()
            incarnations.append(client)
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
        for state in world.states.values():
            close = getattr(state, "close", None)
            if close is not None:
                close()
        self.factories.clear()
        for loops in self.loops:
            loops.clear()  # they know them, too
        world.forget()  # break the circles, so that all this is freed here and now
        self.switchboard.endpoints.clear()
        self.opened.clear()
        self.client = None

    def _check_legal(self, operation: str, surface: Surface) -> None:
        """Refuse a fault that could not happen at this operation; it does not strike either, for
        what happens in the same breath knows nothing of it."""
        armed = self.world.armed[operation]
        for one in armed[:]:
            kinds = with_stops(surface.before if one.site.phase == "before" else surface.after)
            planned = any(refused.operation == operation for refused in self.plan.refused)
            if operation.startswith(f"{CLIENT}.") and not planned:  # a clean run may ask for more
                kinds = tuple(kind for kind in kinds if kind in OUTSIDE)
            if type(one.fault) not in kinds:
                armed.remove(one)
                legal = ", ".join(kind.__name__ for kind in kinds) or "none"
                self.world.refuse(
                    IllegalFault(
                        f"{one.fault} can never happen in a real deployment. "
                        f"Legal {one.site.phase} {operation}: {legal}."
                    )
                )

    def _restart_all(self, _: Any) -> None:
        """Have every service begin anew, as a clean run with restarts does."""
        for incarnation in list(self.world.incarnations):
            if incarnation.alive and incarnation.restart is not None:
                self.world.crash(incarnation, 1, cause=-1)

    def _send(self, place: int) -> None:
        """Have the next item of the workload enter."""
        client = self.client
        assert client is not None
        world = self.world
        at_ms, entity = self.arrivals[place]
        item = self.items[entity - 1]
        if place + 1 < len(self.arrivals):
            gap_ms = self.arrivals[place + 1][0] - at_ms
            world.after(gap_ms, self._send, place + 1)
            if self.system.settles:
                world.after(gap_ms // 2, world.end_trouble)
            else:
                world.know_duration(gap_ms)
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
            scope.record("raised", scope.place, 1, told(error))
            if scope.world.is_mistake(error):
                scope.world.refuse(error)
            elif not isinstance(error, ANSWERS) and not scope.world.struck():
                self._refuse_entry(scope, error)

    def _refuse_entry(self, scope: Scope, error: BaseException) -> None:
        """Say that the entry fails by itself: nothing came in, so nothing would be tested."""
        if self.world.now >= PATIENCE_MS:
            self._miss_workers()  # that is what it has waited for, then
        entry = scope.place.removeprefix(f"{CLIENT}.")
        refusal = InvalidDefinition(
            f"the entry {entry!r} of {self.system.name!r} raised {words_of(error)}"
            f"{because(error)}{at_line(error)} for item {scope.entity}, "
            f"{clipped(self.items[scope.entity - 1])}, without any fault. "
            "If the client has to expect this, catch it in the entry."
        )
        refusal.__cause__ = error
        self.world.refuse(refusal)

    def _start_first(self, argument: tuple[Service, int]) -> None:
        service, replica = argument
        self._start(service, replica, 1, -1)

    def _start(
        self,
        service: Service,
        replica: int,
        number: int,
        cause: int,
        factory: Factory | None = None,
    ) -> None:
        """Build an incarnation of a service, from nothing but its durable stores.

        Args:
            service: Whose.
            replica: Which one, from 1.
            number: The nth incarnation of it.
            cause: The event that has it begun.
            factory: Builds it, where a `Redeploy` has chosen the version.
        """
        world = self.world
        name = service.name
        label = f"{name}#{replica}" if number == 1 else f"{name}#{replica}/{number}"
        incarnation = Incarnation(world, name, replica, number, label)
        if self.plan.clock_ms:
            incarnation.skew_ms = self.plan.clock_ms
        world.incarnations.append(incarnation)
        operation = service.operation
        attempt = world.reach(operation, 0)
        if operation not in world.surfaces:
            world.meet(operation, START if service.previous is None else START_OF_EITHER)
        scope = Scope(world, incarnation, service.place, 0, cause, PLAIN)
        if factory is None and number == 1 and self._is_taken_over(service):
            factory = service.previous
        on_its_own = factory is None
        if factory is None:
            factory = (service.previous if self.plan.before else None) or service.factory
        if operation in world.armed:
            factory = self._suffer_at_start(scope, service, attempt, factory)
        if service.previous is not None:
            self._may_change(incarnation, service, factory, on_its_own=on_its_own)
        scope.record("start", operation, attempt, None)
        world.effects += 1  # whom it could not answer before may ask it again
        incarnation.restart = lambda: self._start(service, replica, number + 1, len(world.raw) - 1)
        self.factories[incarnation] = factory
        env = Env(self, incarnation, service.name, service.runtime)
        self.loops.append(env.loops)
        scope.run = (env, operation, attempt)
        PLAIN.start(scope, factory, _as_is, (env,), self._started)

    def fork(self, host: Incarnation, cause: int, begin: Callable[[Incarnation], None]) -> None:
        """Begin a process on a host: its service built anew, for one piece of work.

        Args:
            host: The incarnation that it lives on, and dies with.
            cause: The event that has it begun.
            begin: Told the process, once it is built.
        """
        process = Incarnation(self.world, host.service, host.replica, host.number, host.label)
        process.host = host
        host.processes.append(process)

        def built(scope: Scope, _: Any, error: BaseException | None) -> None:
            if error is None:
                begin(process)
            else:
                self._started(scope, None, error)

        self._build_beside(host, process, cause, built, is_spare=False)

    def spare(
        self,
        replica: Incarnation,
        cause: int,
        begin: Callable[[BaseException | None, Incarnation], None],
    ) -> None:
        """Begin one more environment of a replica's service, which lives and dies by itself.

        It counts on from the replicas, and can be nothing but a function's.

        Args:
            replica: The incarnation beside which it is.
            cause: The event that has it begun.
            begin: Told the environment once it is built, or why it was not: what that has raised,
                or `Abandoned` where it died meanwhile.
        """
        name = replica.service
        number = self.environments.get(name, self.system.services[name].replicas) + 1
        self.environments[name] = number
        one = Incarnation(self.world, name, number, 1, f"{name}#{number}")

        def died() -> None:
            begin(Abandoned(one.label), one)

        one.on_death.append(died)

        def built(scope: Scope, _: Any, error: BaseException | None) -> None:
            one.on_death.remove(died)
            if error is not None and not isinstance(error, InvalidDefinition):
                self._started(scope, None, error)
            begin(error, one)

        self._build_beside(replica, one, cause, built, is_spare=True)

    def _build_beside(
        self,
        replica: Incarnation,
        process: Incarnation,
        cause: int,
        built: Callable[..., None],
        *,
        is_spare: bool,
    ) -> None:
        service = self.system.services[replica.service]
        process.skew_ms = replica.skew_ms
        self.world.incarnations.append(process)
        scope = Scope(self.world, process, service.place, 0, cause, PLAIN)
        env = Env(self, process, service.name, service.runtime)
        env.is_spare = is_spare
        self.loops.append(env.loops)
        scope.run = (env, service.operation, 0)
        PLAIN.start(scope, self.factories[replica], _as_is, (env,), built)

    def _may_change(
        self, incarnation: Incarnation, service: Service, factory: Factory, *, on_its_own: bool
    ) -> None:
        """Say what a `Redeploy` in mid-flight starts in an incarnation's place."""
        world = self.world
        previous = service.previous
        other = service.factory if factory is previous else previous
        next_one = (service, incarnation.replica, incarnation.number + 1)

        def redeploy() -> None:
            self._start(*next_one, len(world.raw) - 1, other if world.chaos else None)

        incarnation.redeploy = redeploy
        if factory is previous and not on_its_own:
            world.at_calm(lambda: world.crash(incarnation, "next", cause=-1))

    def _is_taken_over(self, service: Service) -> bool:
        """Say whether a fault has the later version take over what the one before has begun.

        It strikes from here on: that this replica is in the version before is its doing, also
        where that never comes to its place.
        """
        if service.previous is None:
            return False
        found = [
            one
            for operation, armed in self.world.armed.items()
            if operation.startswith(f"{service.name}.") and operation.endswith(TAKES_OVER)
            for one in armed
            if isinstance(one.fault, Redeploy)
        ]
        for one in found:
            one.struck = True
        return bool(found)

    def _suffer_at_start(
        self, scope: Scope, service: Service, attempt: int, factory: Factory
    ) -> Factory:
        """Let the faults of this start strike; return what builds the service."""
        world = self.world
        incarnation = scope.incarnation
        operation = service.operation
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
            self._built(scope.incarnation.service)
            return
        words = told(error)
        scope.record("raised", operation, attempt, words)
        if isinstance(error, ChaosharnessError):
            world.refuse(error)
        elif scope.incarnation.number == 1 and not world.struck():
            cure = "Nothing of the service can run before it returns."
            refuse_hopeless(world, f"{operation} raised", error, cure)
        else:
            die(scope, f"{operation} raised {words_of(error)}{at_line(error)}")

    def _built(self, service: str) -> None:
        """Tell those who wait for what services have, once all are there."""
        unbuilt = self.world.unbuilt
        if service in unbuilt:
            unbuilt.discard(service)
            if not unbuilt:
                for tell in self.world.on_built:
                    tell()


def _as_is(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments
