"""Lambda: a function that AWS calls with batches of a queue.

Source:
    AWS Lambda Developer Guide, "Using Lambda with Amazon SQS", "Handling errors for an SQS event
    source in Lambda"; answers recorded from AWS (`lambda/` of the recordings): whole batch again
    after an error, partial responses, an invalid entry fails the batch, an empty object is success.

Not modelled:
    Scaling by itself: the replicas of a service are its execution environments and its pollers,
    each with one batch at a time, all there from the start. Provisioned pollers; tenants; that
    other functions of the account use up what it may have.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial as bound
from typing import Any, Final

import attrs

from chaosharness.brokers.intake import Intake
from chaosharness.brokers.settling import carefully
from chaosharness.brokers.sqs.concurrency import Slots, pause_ms
from chaosharness.brokers.sqs.consumers import UNHEARD, delete
from chaosharness.brokers.sqs.context import Context, request_id
from chaosharness.brokers.sqs.desk import Desk, Held, poller_for
from chaosharness.brokers.sqs.event import Records, failures, record_of
from chaosharness.brokers.sqs.rows import SURFACES
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.colours import is_async
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE, NOBODY, strikes, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.handlers.stopping import LAMBDA, Unknown
from chaosharness.kernel.scope import Scope
from chaosharness.machines.sqs.settings import BATCH_MAX, within

BATCH_MAX_STANDARD: Final = 10_000
TIMEOUT_MS_MAX: Final = 900_000
WINDOW_MS_MAX: Final = 300_000
COLD_START_MS_MAX: Final = 10_000
CONCURRENCY_MAX: Final = 1_000

_optional: Final = attrs.validators.optional


@attrs.frozen(eq=False, slots=False)
class Lambda:
    """A function as AWS Lambda calls it: `handler(event, context)`, unchanged.

    `env.consume(sqs, "orders", Lambda(handler))` makes the service its execution environment, and
    each replica another one. A message of a batch that failed comes again when its visibility
    timeout is over. An environment whose function runs too long is killed: its memory is lost.

    Args:
        handler: Called as `handler(event, context)`; plain, as Lambda calls it.
        batch: Messages in one call: 1 to 10; on a standard queue up to 10,000 with a window.
        window_ms: How long it may wait for a full batch, on a standard queue: 0 to 5 minutes.
        partial: Whether it reports single failures (ReportBatchItemFailures):
            `{"batchItemFailures": [{"itemIdentifier": message_id}]}`. Without this, what it
            returns is not read.
        timeout_ms: How long a call may take: 1 s to 15 minutes. AWS wants the visibility timeout
            of the queue to be at least as long.
        cold_start_ms: How long the first call of an environment waits until that has begun, with
            its messages received already: 0 to 10 s.
        concurrency_max: How many of the replicas ask the queue, and so are called, at a time
            (MaximumConcurrency of the mapping): 2 to 1,000; by default all.
        reserved: How many calls go on at a time (reserved concurrency of the function). Who polls
            the queue does not know of it: what is received beyond it is throttled, until its
            visibility timeout is over; then it has been received once more, and handled by nobody.

    Raises:
        InvalidDefinition: The handler is no plain function.
        ValueError: A value is out of the range that AWS accepts.
    """

    handler: Callable[[Any, Any], Any]
    batch: int = attrs.field(default=10, validator=within(1, BATCH_MAX_STANDARD), kw_only=True)
    window_ms: int = attrs.field(default=0, validator=within(0, WINDOW_MS_MAX), kw_only=True)
    partial: bool = attrs.field(default=False, kw_only=True)
    timeout_ms: int = attrs.field(
        default=3_000, validator=within(1_000, TIMEOUT_MS_MAX), kw_only=True
    )
    cold_start_ms: int = attrs.field(
        default=0, validator=within(0, COLD_START_MS_MAX), kw_only=True
    )
    concurrency_max: int | None = attrs.field(
        default=None, validator=_optional(within(2, CONCURRENCY_MAX)), kw_only=True
    )
    reserved: int | None = attrs.field(
        default=None, validator=_optional(within(1, CONCURRENCY_MAX)), kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        if not callable(self.handler) or is_async(self.handler):
            raise InvalidDefinition(
                f"Lambda calls a plain function, handler(event, context), not {self.handler!r}"
            )

    @property
    def __name__(self) -> str:  # what sites call it
        return str(getattr(self.handler, "__name__", type(self.handler).__name__))

    def __call__(self, event: Any) -> Any:
        """Call the function outside of AWS, without a context."""
        return self.handler(event, None)


class Call:
    """One call of the function, with one batch."""

    __slots__ = ("attempts", "held", "over", "scope")

    def __init__(self, scope: Scope, held: list[Held]) -> None:
        self.scope = scope
        self.held = held
        self.attempts: list[int] = []
        self.over = False

    def go_to(self, index: int) -> None:
        """Act on behalf of a record from now on."""
        scope = self.scope
        one = self.held[index]
        if scope.entity != one.message.entity or scope.run is not one:
            scope.entity, scope.hops, scope.cause = one.message.entity, one.message.hops, one.cause
            scope.message = one.message.name
            scope.run = one


class Mapping:
    """The event source mapping of one execution environment: it asks, calls and deletes."""

    def __init__(self, desk: Desk, intake: Intake, queue: str, service: str) -> None:
        function = intake.handler
        assert isinstance(function, Lambda)
        _check(function, desk, queue)
        self.desk = desk
        self.intake = intake
        self.queue = queue
        self.function = function
        self._delete = f"{intake.place}/{desk.name}.delete"
        self._held: list[Held] = []
        self._calls = 0
        self._window: Any = None
        self._throttled = 0
        self._call_now: Call | None = None
        self._cold_ms: int | None = None
        desk.world.know_timeout(function.timeout_ms)
        desk.world.know_duration(function.window_ms)
        desk.world.know_duration(function.cold_start_ms)
        key = (intake.place, queue)
        if key not in desk.slots:
            desk.slots[key] = Slots(function.concurrency_max, function.reserved)
        self._slots = desk.slots[key]
        self._poller = poller_for(desk, intake.incarnation, queue, service, self._take)
        intake.incarnation.on_death.append(self._die)
        Unknown(intake.incarnation, LAMBDA)

    def begin(self) -> None:
        """Ask for a batch; one that is begun is filled before another is."""
        if self.intake.incarnation.alive and self._slots.may_ask(self, self.begin):
            self._poller.most = min(self.function.batch - len(self._held), BATCH_MAX)
            self.desk.lines.ask(self._poller, first=bool(self._held))

    def _die(self) -> None:
        """Leave room for the others, with the incarnation."""
        if self._call_now is not None:
            self._over(self._call_now)
        self._slots.leave(self)

    def _over(self, call: Call) -> None:
        if not call.over:
            call.over = True
            self._call_now = None
            self._slots.give_back()

    def _take(self, held: list[Held]) -> None:
        self._held += held
        function = self.function
        if len(self._held) >= function.batch or not function.window_ms:
            self._call(None)
            return
        if self._window is None:
            world = self.desk.world
            self._window = world.agenda.add(world.now + function.window_ms, self._call, None)
        self.begin()

    def _call(self, _: Any) -> None:
        """Call the function with what is there."""
        desk = self.desk
        world = desk.world
        if self._window is not None:
            world.agenda.cancel(self._window)
            self._window = None
        desk.lines.leave(self._poller)
        intake = self.intake
        if not self._held or not intake.incarnation.alive:
            return
        if not self._calls and self._cold_ms is None and self.function.cold_start_ms:
            self._cold_ms = self.function.cold_start_ms
            world.agenda.add(world.now + self._cold_ms, self._call, None)
            return
        if not self._slots.take():
            self._wait_for_room()
            return
        self._throttled = 0
        held, self._held = self._held, []
        first = held[0]
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
        call = self._call_now = Call(scope, held)
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

    def _wait_for_room(self) -> None:
        """Try again later, as long as the messages are hidden from others; then let them go."""
        world = self.desk.world
        self._throttled += 1
        leases = self.desk.machine.queues[self.queue].leases
        found = [leases.of(one.received.handle.number) for one in self._held]
        due_ms = world.now + pause_ms(self._throttled)
        if all(one is not None and due_ms < (one.until or 0) for one in found):
            world.agenda.add(due_ms, self._call, None)
            return
        self._held, self._throttled = [], 0
        self.begin()

    def _carefully(self, call: Call) -> Script[None]:
        for index, attempt in enumerate(call.attempts):
            call.go_to(index)
            for fault in strikes(call.scope, self.intake.operation, "before", attempt):
                yield from trouble(call.scope, fault, NOBODY)
        call.go_to(0)
        self._begin(call)

    def _begin(self, call: Call) -> None:
        world = self.desk.world
        function = self.function
        due_ms = world.now + function.timeout_ms
        world.agenda.add(due_ms, self._time_out, call, False)
        self._calls += 1
        scope = call.scope
        name = function.__name__
        context = Context(scope, name, request_id(scope, name, self._calls), due_ms)
        records = [record_of(one, self.queue) for one in call.held]
        event = {"Records": Records(records, call.go_to)}
        answers: list[Any] = []

        def run(event: Any, context: Any) -> None:
            answers.append(function.handler(event, context))

        done = bound(self._done, call, answers)
        self.intake.colour.start(scope, run, _as_they_are, (event, context), done)

    def _time_out(self, call: Call) -> None:
        """Kill the environment of a call that takes too long."""
        scope = call.scope
        if call.over or not scope.incarnation.alive:
            return
        seconds = self.function.timeout_ms / 1000
        words = {"error": f"Sandbox.Timedout: Task timed out after {seconds:.2f} seconds"}
        for index, attempt in enumerate(call.attempts):
            call.go_to(index)
            scope.record("raised", self.intake.operation, attempt, words)
        scope.world.crash(scope.incarnation, 1, cause=scope.cause)

    def _done(
        self, call: Call, answers: list[Any], scope: Scope, _: Any, error: BaseException | None
    ) -> None:
        self._over(call)
        world = scope.world
        world.in_flight.pop(scope, None)
        if error is not None:
            if world.is_mistake(error):
                world.refuse(error)
                return
            failed: set[int] | range = range(len(call.held))
            words = told(error)
        else:
            failed = failures(call.held, answers[0], partial=self.function.partial)
            words = {"error": "reported in batchItemFailures"}
        operation = self.intake.operation
        for index, attempt in enumerate(call.attempts):
            call.go_to(index)
            if index in failed:
                scope.record("raised", operation, attempt, words)
            else:
                scope.record("handled", operation, attempt, None)
        if isinstance(error, SystemExit):
            world.crash(scope.incarnation, 1, cause=scope.cause)
            return
        if error is not None and self.desk.machine.queues[self.queue].settings.dead_letter is None:
            tries = max(one.received.receives for one in call.held)
            self.intake.refuse_hopeless(scope, error, tries)
        drive_in_kernel(self._settle(call, set(failed)), world, lambda _: self.begin())

    # ---- deleting

    def _settle(self, call: Call, failed: set[int]) -> Script[None]:
        """Delete what went well; the rest comes again when its time is over."""
        scope = call.scope
        desk = self.desk
        world = desk.world
        handle = self.intake.operation
        for index, attempt in enumerate(call.attempts):
            if handle in world.armed:
                call.go_to(index)
                for fault in strikes(scope, handle, "after", attempt):
                    yield from trouble(scope, fault, NOBODY)
        operation = self._delete
        if operation not in world.surfaces:
            world.meet(operation, SURFACES[desk.profiles[self.queue], "delete"])
        for index, held in enumerate(call.held):
            if index in failed:
                continue
            call.go_to(index)
            attempt = world.reach(operation, scope.entity, scope.message)

            def do(held: Held = held, attempt: int = attempt) -> bool:
                return delete(desk, held, self.queue, scope, operation, attempt) is None

            yield from carefully(desk, scope, operation, attempt, held.message, UNHEARD, do)


def _as_they_are(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments


def _check(function: Lambda, desk: Desk, queue: str) -> None:
    """Refuse a mapping that AWS would refuse.

    Raises:
        ValueError: It says why.
    """
    settings = desk.machine.queues[queue].settings
    if settings.visibility_ms < function.timeout_ms:
        raise ValueError(
            f"Queue visibility timeout: {settings.visibility_ms / 1000:g} seconds is less than "
            f"Function timeout: {function.timeout_ms / 1000:g} seconds"
        )
    if function.batch > BATCH_MAX and not function.window_ms:
        raise ValueError("a batch of more than 10 needs a window of at least 1 s")
    if settings.fifo and (function.batch > BATCH_MAX or function.window_ms):
        raise ValueError("a FIFO queue has batches of 10 at most, and no window")
