"""A stream of DynamoDB in a run: what changes is written down, and who reads it.

Source:
    Amazon DynamoDB Developer Guide, "Change data capture for DynamoDB Streams"; AWS Lambda
    Developer Guide, "Using AWS Lambda with Amazon DynamoDB". See the machine,
    `chaosharness/machines/dynamodb/stream.py`, and `rows.py` for what may strike where.

Not modelled:
    Readers that are no Lambda functions (Kinesis adapters, `GetRecords`); other view types than
    NEW_AND_OLD_IMAGES; where a reader starts (here with the first change of a run); filters;
    parallelization factors.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import attrs

from chaosharness.brokers.dynamodb.function import Function
from chaosharness.brokers.dynamodb.reader import Options, Reader
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.intake import Intake
from chaosharness.brokers.message import NO_HEADERS, Message
from chaosharness.brokers.sqs.function import Lambda
from chaosharness.brokers.sqs.sqs import SQS, OpenSQS
from chaosharness.brokers.trouble import wired_wrongly
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel import allowed
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.machines.dynamodb.stream import Append, StreamMachine, Subscribe


class Store(Protocol):
    """The tables that a stream belongs to."""

    @property
    def name(self) -> str:
        """Of the store."""

    @property
    def tables(self) -> Any:
        """By name."""


@attrs.frozen(eq=False)
class DynamoStream:
    """The stream of a DynamoDB table, with the images of an item before and after each change.

    `env.consume(stream, table, Lambda(handler), retries_max=..., bisect=..., age_ms_max=...,
    on_failure=...)` makes a service the execution environment of a function that gets the changes
    in batches, one batch of a shard at a time. A batch that fails is tried again, and all that is
    behind it in its shard waits:

    - `retries_max`: how often; by default until the changes are a day old, and gone.
    - `age_ms_max`: how old a change may be for that.
    - `bisect`: whether a batch that failed is cut in two (BisectBatchOnFunctionError).
    - `on_failure`: the queue of `queues` that is told of what was given up. It gets no change, only
      where it was.

    Of a `Lambda`, `batch`, `window_ms`, `partial` and `timeout_ms` count.

    Args:
        name: What reports call it.
        store: The `DynamoDB`; a part of the same system, added before.
        table: Whose changes.
        shards: How many there are: the changes of one item are in one of them.
        queues: The SQS of `on_failure`.
        latency_ms: From a change to a function that waits: it asks four times a second.

    Raises:
        InvalidDefinition: There is no such table.
    """

    name: str = attrs.field(validator=allowed.text())
    store: Store
    table: str = attrs.field(validator=allowed.text())
    shards: int = attrs.field(default=1, validator=allowed.whole(1), kw_only=True)
    queues: SQS | None = attrs.field(default=None, kw_only=True)
    latency_ms: int = attrs.field(default=250, validator=allowed.whole(0), kw_only=True)

    def __attrs_post_init__(self) -> None:
        tables = getattr(self.store, "tables", None)
        if tables is None or self.table not in tables:
            known = ", ".join(sorted(tables or ())) or "none"
            raise InvalidDefinition(
                f"{self.name} is the stream of {self.table!r}, but there is no such table; there "
                f"are: {known}{asked_at()}"
            )

    def open(self, world: World) -> OpenDynamoStream:
        """Return this stream, empty, for one run."""
        state = world.states.get(self.store.name)
        if state is None or not hasattr(state, "on_change"):
            raise InvalidDefinition(
                f"{self.name} is a stream of {self.store.name}, which the system must be given "
                f"before it: system.add({self.store.name}), then system.add({self.name})"
            )
        desk = None if self.queues is None else world.states.get(self.queues.name)
        opened = OpenDynamoStream(self, world, desk if isinstance(desk, OpenSQS) else None)
        state.on_change.append(opened.changed)
        return opened


class OpenDynamoStream:
    """The stream during one run."""

    def __init__(self, definition: DynamoStream, world: World, desk: OpenSQS | None) -> None:
        self.definition = definition
        self.name: Final = definition.name
        self.table: Final = definition.table
        self.timeout_ms: Final = 60_000
        self.latency_ms = definition.latency_ms
        self.world = world
        self.desk = desk
        self.machine = StreamMachine(definition.table, definition.shards)
        self.journal = Journal(world, definition.name)
        self.readers: dict[str, Reader] = {}

    def close(self) -> None:
        """Let go of the functions, at the end of a run."""
        self.readers.clear()

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what nobody sees: Lambda asks, and asks again."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what nobody sees."""
        return ConnectionError(f"{operation}: {self.name} refused")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: a change is in the stream as soon as it is in the table."""

    def publisher(self, **_: Any) -> Any:
        """Refuse to publish: what is in a stream was written to its table."""
        raise InvalidDefinition(f"{self.name}: write to the table {self.table!r}{asked_at()}")

    # ---- changes

    def changed(
        self, change: Any, value: bytes, scope: Scope, operation: str, attempt: int
    ) -> None:
        """Take note of a change of the table, made by the code of a scope."""
        if change.table != self.table:
            return
        key = "/".join(map(str, change.key)) if isinstance(change.key, tuple) else str(change.key)
        message = Message(self.table, key, NO_HEADERS, value, scope.entity, scope.hops + 1)
        names = self.world.publications
        message.name = names.name(operation, scope.entity, scope.message, value)
        self.machine.apply(Append(key, message), self.world.now)
        for fact in self.machine.take():
            self.journal.write(fact, scope, operation, attempt)
        for reader in self.readers.values():
            reader.look()

    # ---- consuming

    def consume(self, intake: Intake, table: str, *, service: str, **options: Any) -> None:
        """Have a function called with batches of changes: see `DynamoStream` for the options."""
        try:
            if table != self.table:
                raise ValueError(f"this is the stream of {self.table!r}")
            if not isinstance(intake.handler, Lambda):
                raise ValueError("a stream is read by functions of Lambda: give Lambda(handler)")
            given = Options.of(options, self.desk)
        except (TypeError, ValueError) as error:
            raise wired_wrongly(intake.place, repr(table), error) from None
        reader = self.readers.get(intake.place)
        if reader is None:
            self.machine.apply(Subscribe(intake.place), self.world.now)
            reader = self.readers[intake.place] = Reader(self, intake.place, given)
        reader.join(Function(reader, intake))

    def consumer(self, incarnation: Any, sources: tuple[str, ...], decode: Any, **_: Any) -> Any:
        """Refuse a loop: a stream is read by functions of Lambda."""
        raise InvalidDefinition(
            f"{self.name} is read by functions of Lambda: env.consume({self.name}, "
            f"{self.table!r}, Lambda(handler)){asked_at()}"
        )
