"""One execution environment of a function that reads a stream: its calls, and how they end."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from chaosharness.brokers.dynamodb.event import Held, event_of, lowest_failed
from chaosharness.brokers.dynamodb.reader import Reader, Shard
from chaosharness.brokers.dynamodb.rows import CHECKPOINT
from chaosharness.brokers.intake import Intake
from chaosharness.brokers.settling import carefully
from chaosharness.brokers.sqs.context import Context, request_id
from chaosharness.brokers.sqs.event import Records
from chaosharness.brokers.sqs.function import Call, Lambda
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE, NOBODY, strikes, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Scope
from chaosharness.machines.dynamodb.stream import (
    Checkpoint,
    Take,
)

UNHEARD: Final = "no answer to the checkpoint"


class Function:
    """One execution environment of a function that reads a stream."""

    def __init__(self, reader: Reader, intake: Intake) -> None:
        function = intake.handler
        assert isinstance(function, Lambda)
        self.reader = reader
        self.intake = intake
        self.function = function
        self.label = intake.incarnation.label
        self.shard: Shard | None = None
        self._calls = 0
        world = reader.stream.world
        world.know_timeout(function.timeout_ms)
        world.know_duration(function.window_ms)

    def call(self, shard: Shard) -> None:
        """Call the function with the next batch of a shard."""
        reader = self.reader
        stream = reader.stream
        world = stream.world
        most = shard.most or self.function.batch
        records = stream.machine.left(reader.place, shard.number)[:most]
        if not records:
            reader.idle.append(self)
            reader.done(shard)
            return
        self.shard = shard
        delivered = reader.apply(Take(reader.place, shard.number, most, self), None, "", 0)
        held = [Held(one.message, delivered[one.number], one) for one in records]
        first = held[0]
        intake = self.intake
        scope = Scope(
            world,
            intake.incarnation,
            intake.place,
            first.message.entity,
            first.cause,
            intake.colour,
            first.message.hops,
            first.message.name,
        )
        call = Call(scope, held)  # type: ignore[arg-type]
        world.in_flight[scope] = intake.place
        operation = intake.operation
        if operation not in world.surfaces:
            world.meet(operation, HANDLE)
        call.attempts = [
            world.reach(operation, one.message.entity, one.message.name) for one in held
        ]
        if operation in world.armed:
            drive_in_kernel(self._carefully(call), world)
        else:
            self._begin(call)

    @property
    def operation(self) -> str:
        """Of the site of a delivery."""
        return self.reader.operation

    def _carefully(self, call: Call) -> Script[None]:
        for index, attempt in enumerate(call.attempts):
            call.go_to(index)
            for fault in strikes(call.scope, self.intake.operation, "before", attempt):
                yield from trouble(call.scope, fault, NOBODY)
        call.go_to(0)
        self._begin(call)

    def _begin(self, call: Call) -> None:
        world = self.reader.stream.world
        function = self.function
        due_ms = world.now + function.timeout_ms
        world.agenda.add(due_ms, self._time_out, call, False)
        self._calls += 1
        name = function.__name__
        context = Context(call.scope, name, request_id(call.scope, name, self._calls), due_ms)
        records = [event_of(one, self.reader.stream.table) for one in call.held]  # type: ignore[arg-type]
        event = {"Records": Records(records, call.go_to)}
        answers: list[Any] = []

        def run(event: Any, context: Any) -> None:
            answers.append(function.handler(event, context))

        done = partial(self._done, call, answers)
        self.intake.colour.start(call.scope, run, tuple, (event, context), done)

    def _time_out(self, call: Call) -> None:
        """Kill an environment whose call takes too long."""
        scope = call.scope
        if call.over or not scope.incarnation.alive:
            return
        seconds = self.function.timeout_ms / 1000
        words = {"error": f"Sandbox.Timedout: Task timed out after {seconds:.2f} seconds"}
        self._record(call, range(len(call.held)), words)
        scope.world.crash(scope.incarnation, 1, cause=scope.cause)

    def _record(self, call: Call, failed: range, words: Any) -> None:
        for index, attempt in enumerate(call.attempts):
            call.go_to(index)
            if index in failed:
                call.scope.record("raised", self.intake.operation, attempt, words)
            else:
                call.scope.record("handled", self.intake.operation, attempt, None)

    def _done(
        self, call: Call, answers: list[Any], scope: Scope, _: Any, error: BaseException | None
    ) -> None:
        call.over = True
        world = scope.world
        world.in_flight.pop(scope, None)
        first = 0
        words: Any = {"error": "reported in batchItemFailures"}
        if error is not None:
            if world.is_mistake(error):
                world.refuse(error)
                return
            words = told(error)
        else:
            held: Any = call.held
            first = lowest_failed(held, answers[0], partial=self.function.partial)
        self._record(call, range(first, len(call.held)), words)
        if isinstance(error, SystemExit):
            world.crash(scope.incarnation, 1, cause=scope.cause)
            return
        if error is not None and self.shard is not None:
            self.intake.refuse_hopeless(scope, error, self.shard.tries + 1)
        drive_in_kernel(self._settle(call, first), world)

    def _settle(self, call: Call, first: int) -> Script[None]:
        """Say how far the shard is read: up to the first record that failed."""
        reader, shard, scope = self.reader, self.shard, call.scope
        stream = reader.stream
        world = stream.world
        assert shard is not None
        handle = self.intake.operation
        for index, attempt in enumerate(call.attempts):
            if handle in world.armed:
                call.go_to(index)
                for fault in strikes(scope, handle, "after", attempt):
                    yield from trouble(scope, fault, NOBODY)
        told_so = True
        if first:
            call.go_to(first - 1)
            operation = f"{self.intake.place}/{stream.name}.checkpoint"
            if operation not in world.surfaces:
                world.meet(operation, CHECKPOINT)
            attempt = world.reach(operation, scope.entity, scope.message)
            last: Any = call.held[first - 1]

            def do() -> bool:
                done = Checkpoint(reader.place, shard.number, last.record.number, self)
                reader.apply(done, scope, operation, attempt)
                return True

            told_so = yield from carefully(
                stream, scope, operation, attempt, last.message, UNHEARD, do
            )
        self.shard = None
        reader.idle.append(self)
        if told_so and first == len(call.held):
            reader.done(shard)
            return
        if first and told_so:
            shard.tries = 0
        if reader.options.bisect and len(call.held) - first > 1:
            shard.most = (len(call.held) - first + 1) // 2
        reader.again(shard)
        reader.look()
