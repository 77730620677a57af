"""What a service is built with: its ports to the rest of the world."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from inspect import unwrap
from types import FunctionType, MethodType
from typing import Any, Final, Protocol

from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import decoder_for, reader_for, wanted_by
from chaosharness.brokers.trouble import publisher_with
from chaosharness.calls import Endpoint, Switchboard
from chaosharness.errors import InvalidDefinition, RefusedValue
from chaosharness.handlers.blame import refuse_hopeless
from chaosharness.handlers.blocking import BlockingClient
from chaosharness.handlers.blocking import blocking as block
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.clocks import MILLISECONDS, clock_read
from chaosharness.handlers.colours import check_handler, colour_for, is_async
from chaosharness.handlers.fingerprint import of_function
from chaosharness.handlers.places import at_line, told, words_of
from chaosharness.handlers.port import call_off, current_scope, read_clock, refuse_stranger, sleep
from chaosharness.handlers.recall import of_stack
from chaosharness.kernel.allowed import is_time, spelled
from chaosharness.kernel.history import plain
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import SCOPE, BackgroundScope, Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.system.parts import die, name_of, no_part
from chaosharness.system.wires import Wire, WireKind

LEAVES: Final = (SystemExit, KeyboardInterrupt, asyncio.CancelledError)
"""What a main loop may end with that was told to stop."""

_OPENED: Final = {"publish": "publisher"}
"""What a method of a part is called in `Env`, where it has another name there."""


class Declared(Protocol):
    """What ports ask about the system they belong to."""

    name: str
    openable: dict[tuple[int, str], str]
    resources: dict[str, Any]
    wires: list[Wire] | None


class Surroundings(Protocol):
    """What ports need of the run they belong to."""

    world: World
    switchboard: Switchboard
    opened: dict[tuple[int, str], Any]
    """Parts, by what a system holds while it lasts, and what was asked of them."""

    @property
    def system(self) -> Declared:
        """The system that runs."""

    def fork(self, host: Incarnation, cause: int, begin: Callable[[Incarnation], None]) -> None:
        """Begin a process on a host: its service built anew, for one piece of work."""

    def spare(
        self,
        replica: Incarnation,
        cause: int,
        begin: Callable[[BaseException | None, Incarnation], None],
    ) -> None:
        """Begin one more environment of a replica's service, which lives and dies by itself."""


class Env:
    """What a service is built with: its ports to the rest of the world.

    The ports work in the code that the harness runs for this incarnation, and nowhere else.
    """

    is_spare = False  # one more environment of a function, beside that of a replica

    def __init__(
        self, stage: Surroundings, incarnation: Incarnation, service: str, runtime: str | None
    ) -> None:
        self._stage = stage
        self.incarnation = incarnation
        self._service = service
        self._runtime = runtime
        self.loops: list[Callable[[Any], None]] = []
        self._opened = stage.opened
        self._wires = stage.system.wires
        if self._wires is not None:
            self._wire("env", None, (), self)

    def _mine(self, what: str) -> None:
        """See that who uses a port is the incarnation that it was made for."""
        scope = SCOPE.get()
        if scope is not None and scope.incarnation is not self.incarnation:
            refuse_stranger(scope, f"env.{what} of an env", self.incarnation)

    def _open(self, resource: Any, method: str, what: str) -> Any:
        scope = SCOPE.get()
        if scope is not None and scope.incarnation is not self.incarnation:
            self._mine(_OPENED.get(method, method))
        return self._opened.get((id(resource), method)) or self._first(resource, method, what)

    def _first(self, resource: Any, method: str, what: str) -> Any:
        """Return what a part is in this run, asked for a method for the first time."""
        stage = self._stage
        key = (id(resource), method)
        known = stage.system.openable.get(key)
        if known is not None:
            found = stage.opened[key] = stage.world.states[known]
            return found
        name = getattr(resource, "name", "")
        found = stage.world.states.get(name)
        if found is None or stage.system.resources.get(name) is not resource:
            raise InvalidDefinition(no_part(resource, stage.system.name, stage.system.resources))
        if not hasattr(found, method):
            raise InvalidDefinition(
                f"{name!r} is no {what}, but a {type(resource).__name__}{asked_at()}: give it a "
                f"{what}, as system.add(...) returned it"
            )
        stage.opened[key] = found
        stage.system.openable[key] = name  # which stays so: a part is added once, and for good
        return found

    def _wire(
        self, kind: WireKind, part: Any, sources: tuple[str, ...], value: Any, place: str = ""
    ) -> None:
        """Have it known what the service was given; for callers who see that somebody reads it."""
        assert self._wires is not None
        name = part if isinstance(part, str) else getattr(part, "name", "")
        self._wires.append(Wire(kind, name, sources, place or self._service, value))

    def _alone(self, what: str) -> None:
        """See that a service whose work has processes of its own does nothing beside it."""
        if self.is_spare or self.incarnation.host is not None:
            raise InvalidDefinition(
                f"service {self._service!r} runs tasks, each in a process of its own that builds "
                f"the service anew: put {what} into another service"
            )

    # ---- messages

    def publisher(
        self, broker: Any, *, blocking: bool = False, schemas: Any = None, **options: Any
    ) -> Any:
        """Return what publishes to a broker: `publish(topic, value, key=..., headers=...)`.

        It is one producer (RabbitMQ: one channel): what is sent with it stays in its order,
        whichever handlers and tasks send it. Call this again for another one. See the
        `publish` of the broker. In an `async` handler, await it; with `blocking` it is never
        awaited (see `client`). With `schemas`, a `Registry` or its `at(...)`, the events of its
        subjects are written as their versions say. Further options are the broker's own, as its
        class says.
        """
        opened = self._open(broker, "publisher", "broker")
        make = opened.publisher
        publish = publisher_with(make, options, self._service, broker.name) if options else make()
        if schemas is self._wires is None and not blocking:
            return publish
        if schemas is not None:
            registry, pins = self._versions(schemas)
            text = getattr(opened, "text_only", False)
            publish = registry.publisher(publish, pins, text=text)
        made = block(publish) if blocking else publish
        if self._wires is not None:
            self._wire("publisher", broker, (), made)
        return made

    def _versions(self, schemas: Any) -> tuple[Any, dict[str, int]]:
        """Return a registry of this run, and the versions of subjects that are not the latest."""
        registry = getattr(schemas, "registry", schemas)
        return self._open(registry, "decoder", "registry"), dict(getattr(schemas, "pins", ()))

    def _read_as(self, schemas: Any, wanted: Any) -> Any:
        """Return what a consumer reads with: what is wanted, or what its schemas make of it."""
        if schemas is None:
            return wanted
        registry, pins = self._versions(schemas)
        return registry.decoder(pins, wanted)

    def consume(
        self,
        broker: Any,
        source: str,
        handler: Callable[..., Any],
        *,
        read_as: Any = None,
        schemas: Any = None,
        **options: Any,
    ) -> None:
        """Have a handler called with each message; it is acknowledged when that returns.

        Args:
            broker: Where from.
            source: What it consumes, in the words of the broker: a topic, a queue, a consumer.
            handler: `handler(value)`, `handler(value, delivery)`, or one whose first
                parameter is annotated `Delivery`; plain or `async`. The annotation of
                `value` says what the payload is decoded into.
            read_as: The type to decode into, where there is no annotation; or a function
                that decodes bytes.
            schemas: A `Registry`, or its `at(...)`: events are read as its versions say.
            options: The broker's own, as its class says.
        """
        if self.is_spare or self.incarnation.host is not None:
            self._alone("env.consume")
        state = self._open(broker, "consume", "broker")
        if not isinstance(source, str):
            raise self._no_name("env.consume", source)
        if type(handler) is not FunctionType and type(handler) is not MethodType:
            check_handler(handler, f"service {self._service!r} consumes {source!r}")
        place = f"{self._service}.{name_of(handler)}"
        if schemas is not None:
            read_as = self._read_as(schemas, read_as or wanted_by(handler))
        reader = reader_for(handler, read_as)
        colour = PLAIN
        if not reader.plain or self._runtime is not None:
            colour = colour_for(handler, self._runtime, self.incarnation)
        intake = Intake(self.incarnation, place, handler, reader.read, colour, f"{place}/handle")
        state.consume(intake, source, service=self._service, **options)
        if self._wires is not None:
            self._wire("consume", broker, (source,), handler, place)

    def consumer(
        self,
        broker: Any,
        *sources: str,
        read_as: Any = None,
        blocking: bool = False,
        schemas: Any = None,
        **options: Any,
    ) -> Any:
        """Return a consumer for the service's own main loop.

        Args:
            broker: Where from.
            sources: Likewise; several where the broker can read them together.
            read_as: The type to decode payloads into, or a function that decodes bytes.
            blocking: Whether its methods block in `async` code too (see `client`).
            schemas: A `Registry`, or its `at(...)`: events are read as its versions say.
            options: The broker's own, as its class says.
        """
        self._alone("env.consumer")
        state = self._open(broker, "consumer", "broker")
        if not sources:
            raise InvalidDefinition(f"service {self._service!r} has a consumer of nothing")
        for one in sources:
            if not isinstance(one, str):
                raise self._no_name("env.consumer", one)
        made = state.consumer(
            self.incarnation,
            sources,
            decoder_for(self._read_as(schemas, read_as)),
            service=self._service,
            **options,
        )
        made = BlockingClient(made) if blocking else made
        if self._wires is not None:
            self._wire("consumer", broker, sources, made)
        return made

    def _no_name(self, what: str, source: Any) -> InvalidDefinition:
        """Say how sources are named: not by a list of topics, as client libraries take it."""
        each = f'one after the other, {what}(bus, "a", "b")'
        advice = each if what == "env.consumer" else "one, with a handler"
        return InvalidDefinition(
            f"service {self._service!r}: {what} takes names as text, {advice}, not "
            f"{spelled(source)}{asked_at()}"
        )

    def main(self, function: Callable[[], Any], *, background: bool = False) -> None:
        """Run a service's own main loop, from when it is built until it crashes.

        Args:
            function: The loop, plain or `async`.
            background: Whether it does something again and again for ever, by design: a
                heartbeat, a report every hour. A run does not wait for its sleep to be over
                (`env.sleep`, or asyncio's); without this it would never become quiet.
        """
        check_handler(function, f"service {self._service!r} has a main loop")
        self._run(function, function, background, own=not background)

    def every(
        self, seconds: float, function: Callable[[], Any], *, background: bool = False
    ) -> None:
        """Call a function again and again, with a pause in between: a timer, a scheduled job.

        The first call comes after the first pause. An error that leaves the function is the
        end of the process, as in a main loop.

        Args:
            seconds: The pause, from the end of one call to the next: more than 0.
            function: What is called, plain or `async`.
            background: Whether it does something each time, for ever, by design: a run does
                not wait for it then. See `main`.
        """
        check_handler(function, f"service {self._service!r} has a timer")
        if not isinstance(seconds, (int, float)) or not seconds > 0:
            raise InvalidDefinition(
                f"service {self._service!r}: every needs a number of seconds above 0 between two "
                f"calls of {name_of(function)}, not {seconds!r}"
            )

        def loop() -> None:
            while True:
                sleep(seconds, of_function, function)
                function()

        async def loop_async() -> None:
            while True:
                await sleep(seconds, of_function, function)
                await function()

        self._run(function, loop_async if is_async(function) else loop, background)

    def _run(
        self,
        named: Callable[[], Any],
        loop: Callable[[], Any],
        background: bool,
        *,
        own: bool = False,
    ) -> None:
        """Have a loop run in this incarnation, under the name and in the colour of a function.

        It is its `own` where the process lives as long as it does.
        """
        self._alone("its main loop or timer")
        world = self.incarnation.world
        place = f"{self._service}.{name_of(named)}"
        colour = colour_for(named, self._runtime, self.incarnation)
        if self._wires is not None:
            self._wire("main", None, (), named, place)
        kind = BackgroundScope if background else Scope
        scope = kind(world, self.incarnation, place, 0, -1, colour)

        def begin(_: Any) -> None:
            if self.incarnation.alive:
                if own:
                    self.incarnation.mains.append(scope)
                colour.start(scope, loop, None, None, self._ended)

        self.loops.append(begin)

    def _ended(self, scope: Scope, _: Any, error: BaseException | None) -> None:
        """A main loop has ended: the process dies if it raised, and is started again later."""
        world = scope.world
        world.in_flight.pop(scope, None)
        incarnation = scope.incarnation
        if scope in incarnation.mains:
            incarnation.mains.remove(scope)
        if incarnation.stopping is not None and (error is None or isinstance(error, LEAVES)):
            incarnation.stopping.look()
            return
        if error is None:
            return
        at_once = scope.cause < 0
        scope.record("raised", scope.place, 1, told(error))
        if world.is_mistake(error):
            world.refuse(error)
        elif at_once and scope.incarnation.number == 1 and not world.struck():
            cure = "It has done nothing before that: it would die like this each time."
            refuse_hopeless(world, f"{scope.place} raised", error, cure)
        else:
            die(scope, f"{scope.place} raised {words_of(error)}{at_line(error)}")

    def app(self, web: Any, application: Any) -> None:
        """Answer for a host name with a web application, as it is.

        It is started when the service is (its lifespan, where it has one), and takes requests
        from then on: of other services, of third parties, of the entry.

        Args:
            web: The host name, a `Web`.
            application: An ASGI application (FastAPI, Starlette) or a WSGI one (Flask, Django), or
                one of aiohttp that was made for this process alone.
        """
        self._alone("env.app")
        state = self._open(web, "app", "host name")

        def colour_of(function: Any) -> Any:
            return colour_for(function, self._runtime, self.incarnation)

        lifespan = state.app(self.incarnation, self._service, application, colour_of)
        if lifespan is not None:
            self._run(lifespan, lifespan, False)

    # ---- calls between services

    def serve(self, name: str, handler: Callable[..., Any], *, read_as: Any = None) -> None:
        """Answer calls of other services: the caller gets what `handler(value)` returns."""
        self._alone("env.serve")
        check_handler(handler, f"service {self._service!r} serves {name!r}")
        place = f"{self._service}.{name_of(handler)}"
        colour = colour_for(handler, self._runtime, self.incarnation)
        reader = reader_for(handler, read_as)
        endpoint = Endpoint(self.incarnation, place, handler, reader, colour)
        self._stage.switchboard.serve(self._service, name, endpoint)
        if self._wires is not None:
            self._wire("serve", self._service, (name,), handler, place)

    def call(
        self,
        service: str,
        name: str,
        value: Any = None,
        *,
        timeout_s: float = 10.0,
        read_as: Any = None,
        blocking: bool = False,
    ) -> Any:
        """Call an endpoint of another service. In an `async` handler, await it.

        With `blocking` it is never awaited (see `client`).

        Raises:
            TimeoutError: No answer: it may have happened, or be happening now.
            ConnectionError: Nobody picked up: it did not happen.
            RemoteError: The other service raised.
            RefusedValue: `timeout_s` is no time.
        """
        self._mine("call")
        if not is_time(timeout_s):
            call_off(
                RefusedValue(
                    f"a call of {service}.{name} must have a timeout_s of seconds from 0, not "
                    f"{spelled(timeout_s)}{asked_at()}"
                )
            )
        timeout_ms = round(timeout_s * 1000)
        call = self._stage.switchboard.call
        if blocking:
            call = block(call)
        return call(service, name, value, timeout_ms, read_as)

    def function(self, engine: Any, name: str, handler: Callable[..., Any]) -> None:
        """Have a handler run for the tasks of state machines: a Lambda function, as it is.

        Args:
            engine: The `StepFunctions` whose tasks run it, or the `DurableFunctions`.
            name: The function's name, as a Resource or a FunctionName says it.
            handler: `handler(event, context)`, plain or `async`; what it returns is the task's
                result, what it raises the task's error, by the name of its class. For
                `DurableFunctions`, one under `@durable_execution`.
        """
        if not self.is_spare:
            self._alone("env.function")
        state = self._open(engine, "function", "orchestrator")
        check_handler(handler, f"service {self._service!r} has the function {name!r}")
        place = f"{self._service}.{name_of(handler)}"
        colour = colour_for(handler, self._runtime, self.incarnation)
        spare = None if self.is_spare else self._stage.spare
        state.function(name, self.incarnation, place, handler, colour, spare)
        if self._wires is not None:
            self._wire("task", engine, (name,), handler, place)

    def worker(
        self,
        server: Any,
        *,
        task_queue: str,
        workflows: Sequence[type] = (),
        activities: Sequence[Callable[..., Any]] = (),
        max_cached_workflows: int = 1_000,
        interceptors: Sequence[Any] = (),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        graceful_shutdown_timeout: timedelta = timedelta(),
        max_concurrent_workflow_tasks: int | None = None,
        max_concurrent_activities: int | None = None,
        max_concurrent_local_activities: int | None = None,
    ) -> None:
        """Run a Temporal worker: polls a task queue as long as this incarnation lives.

        Args:
            server: The `Temporal` it polls.
            task_queue: Its task queue.
            workflows: Classes with `@workflow.defn`.
            activities: Functions or methods with `@activity.defn`, plain or `async`.
            max_cached_workflows: As of the library's `Worker`: those that were awake longest ago
                are put out of its cache, and read again from their history. 0: after each task.
            interceptors: Of the library's: `temporalio.worker.Interceptor`; those of the
                `Temporal` come before them.
            workflow_failure_exception_types: As of the library's `Worker`.
            graceful_shutdown_timeout: As of the library's `Worker`: how long activities go on, once
                the process is told to stop (`GracefulStop`), before they are cancelled.
            max_concurrent_workflow_tasks: As of the library's `Worker`: how many it has in hand at
                once; 100 by default.
            max_concurrent_activities: Likewise, of activities.
            max_concurrent_local_activities: Likewise, of local ones.
        """
        self._alone("env.worker")
        state = self._open(server, "worker", "Temporal server")
        made = state.worker(
            self.incarnation,
            self._service,
            task_queue,
            workflows,
            activities,
            lambda function: colour_for(function, self._runtime, self.incarnation),
            max_cached_workflows,
            interceptors,
            workflow_failure_exception_types,
            graceful_shutdown_timeout,
            limits={
                "max_concurrent_workflow_tasks": max_concurrent_workflow_tasks,
                "max_concurrent_activities": max_concurrent_activities,
                "max_concurrent_local_activities": max_concurrent_local_activities,
            },
        )
        if self._wires is not None:
            for name, activity in made.activities.items():
                self._wire("task", server, (name,), activity, f"{self._service}.{name}")

    def task_worker(
        self,
        engine: Any,
        handler: Callable[..., Any],
        *,
        name: str | None = None,
        threads: int | None = None,
        domain: str | None = None,
    ) -> None:
        """Have a function polled for: tasks of a Conductor workflow, as long as this lives.

        Args:
            engine: The `Conductor` whose tasks it works on.
            handler: A function with `@worker_task`, or any other; plain or `async`. It is called
                with the task, or with the task's input by the names of its parameters.
            name: The name of the tasks; by default what `@worker_task` says, else the function's.
            threads: How many tasks at once; by default what `@worker_task` says, else one.
            domain: Whose tasks: those of workflows that were started with a `taskToDomain` which
                says so; by default what `@worker_task` says, else those of no domain.
        """
        self._alone("env.task_worker")
        state = self._open(engine, "task_worker", "Conductor server")
        check_handler(handler, f"service {self._service!r} has a worker for tasks")
        named = state.task_worker(
            self.incarnation,
            self._service,
            handler,
            name,
            threads,
            domain,
            lambda function: colour_for(function, self._runtime, self.incarnation),
        )
        if self._wires is not None:
            place = f"{self._service}.{name_of(handler)}"
            self._wire("task", engine, (named,), unwrap(handler), place)

    def task_endpoint(self, engine: Any, target: str, handler: Callable[..., Any]) -> None:
        """Answer what workflows of Conductor ask outside: HTTP tasks, EVENT tasks.

        Args:
            engine: The `Conductor` whose tasks ask.
            target: The `uri` of an HTTP task's request, or the `sink` of an EVENT task.
            handler: `handler(body)`, plain or `async`. What it returns is the response's body;
                what it raises is a response with status 500.
        """
        self._alone("env.task_endpoint")
        state = self._open(engine, "task_endpoint", "Conductor server")
        check_handler(handler, f"service {self._service!r} answers {target!r}")
        place = f"{self._service}.{name_of(handler)}"
        colour = colour_for(handler, self._runtime, self.incarnation)
        state.task_endpoint(target, self.incarnation, place, handler, colour)
        if self._wires is not None:
            self._wire("task", engine, (target,), handler, place)

    def tasks(self, airflow: Any, callables: Mapping[str, Any] | None = None) -> None:
        """Be a worker of Airflow: runs task instances, each in a process of its own.

        Each process builds this service anew, as a worker reads the DAG file anew for each task;
        so it can do nothing else beside.

        Args:
            airflow: The `Airflow` whose tasks it runs.
            callables: What tasks run, by task id or `dag_id.task_id`: plain or `async`
                functions that take what a `PythonOperator` passes (`ti`, `dag_run`, `params`
                and so on, by the names of their parameters), or whole operators. Tasks that
                it does not name run what the DAG has.
        """
        state = self._open(airflow, "host", "Airflow")
        state.host(
            self.incarnation,
            self._service,
            callables or {},
            lambda function: colour_for(function, self._runtime, self.incarnation),
            self._stage.fork,
        )
        if self._wires is not None:
            for name, function in airflow.functions(callables or {}).items():
                self._wire("task", airflow, (name,), function, f"{self._service}.{name}")

    # ---- stores and third parties

    def connect(self, store: Any, *, blocking: bool = False) -> Any:
        """Return a connection to a store.

        Of `SQLite` it is an ordinary `sqlite3.Connection`, which is never awaited; what
        `KeyValue` gives is awaited in an `async` handler, unless it is `blocking` (see
        `client`).
        """
        made = self._open(store, "connect", "store").connect(self.incarnation)
        if not blocking or isinstance(made, sqlite3.Connection):
            return made
        return BlockingClient(made)

    def client(self, external: Any, *, blocking: bool = False) -> Any:
        """Return what calls a third party: its methods.

        Args:
            external: Which one.
            blocking: For `async` code that calls a client which is not async, as much real
                code does: the call happens inside the coroutine, takes virtual time, and the
                event loop of this incarnation stands still meanwhile. Plain code blocks anyway.
        """
        made = self._open(external, "client", "third party").client()
        made = BlockingClient(made) if blocking else made
        if self._wires is not None:
            self._wire("client", external, (), made)
        return made

    # ---- time, and things worth knowing

    def sleep(self, seconds: float) -> Any:
        """Let virtual time pass. In an `async` handler, await it."""
        self._mine("sleep")
        return sleep(seconds, of_stack, sys._getframe(1))

    def now_ms(self) -> int:
        """Return the virtual time as this replica's clock has it, in whole milliseconds."""
        self._mine("now_ms")
        world = self._stage.world
        read_clock(world)
        clock_read(sys._getframe(1), MILLISECONDS)
        return world.now + self.incarnation.skew_ms

    def note(self, what: str, **words: Any) -> None:
        """Say something about the state of the business, for properties and reports."""
        self._mine("note")
        scope = current_scope("note")
        data = {"what": what, **{name: plain(value) for name, value in words.items()}}
        scope.record("note", "", 0, data)
