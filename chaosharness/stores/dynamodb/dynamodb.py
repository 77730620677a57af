"""DynamoDB in a run: tables, what is done to them, and how far its copies are behind.

Source:
    Amazon DynamoDB Developer Guide, "Read consistency", "Error handling with DynamoDB", "Time to
    Live"; API Reference. See the machine, `chaosharness/machines/dynamodb`, for the rules.

Modelled:
    Each request is a site. A read sees what a copy has, unless it is strongly consistent
    (`ConsistentRead`, `consistent=True`): a copy may be behind (`Delay` at `.../copy`). Single
    writes of a batch may be left undone (`ErrorReply` at `.../write of a batch`:
    `UnprocessedItems`). What is expired stays for 48 hours.

Not modelled:
    What the machine leaves out; capacity, but for refusals. Streams: see `DynamoStream`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Names
from typing import Any, Final

import attrs
import msgspec

from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Delay, ErrorReply
from chaosharness.handlers.port import strikes
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World
from chaosharness.machines.dynamodb import DynamoMachine, TableSettings
from chaosharness.machines.dynamodb.machine import LATE_MS, Changed
from chaosharness.machines.machine import Refusal
from chaosharness.stores.dynamodb.connection import DynamoConnection
from chaosharness.stores.dynamodb.items import images, name_of, shown
from chaosharness.stores.dynamodb.rows import BATCHED, COPY
from chaosharness.stores.repeats import Repeats

READS: Final = frozenset(
    ("GetItem", "Query", "Scan", "BatchGetItem", "TransactGetItems", "DescribeTable", "ListTables")
)


@attrs.frozen
class DynamoTable:
    """A table.

    Args:
        key: The attribute that is its partition key.
        sort: The one that is its sort key, if it has one.
        indexes: Global secondary indexes, each with its partition key, or this and a sort key:
            `{"by-user": ("user", "at")}`.
        ttl: The attribute that says when an item expires, in seconds since 1970.
    """

    key: str = attrs.field(validator=allowed.text())
    sort: str | None = attrs.field(default=None, kw_only=True)
    indexes: Names[str, Any] = attrs.field(factory=dict, kw_only=True)
    ttl: str | None = attrs.field(default=None, kw_only=True)

    def settings(self) -> TableSettings:
        """Return what the machine goes by."""
        indexes = {
            name: (keys, None) if isinstance(keys, str) else (*keys, None)[:2]
            for name, keys in self.indexes.items()
        }
        return TableSettings(key=self.key, sort=self.sort, indexes=indexes, ttl=self.ttl)


def _tables(given: Any) -> dict[str, DynamoTable]:
    if not isinstance(given, Names) or not given:
        right = 'tables with their keys: {"orders": "id"}, or {"orders": DynamoTable("id")}'
        raise allowed.refused("DynamoDB", "tables", right, given)
    return {
        name: one if isinstance(one, DynamoTable) else DynamoTable(one)
        for name, one in given.items()
    }


@attrs.frozen(eq=False)
class DynamoDB:
    """The DynamoDB tables of an account: `env.connect(db)` returns a `DynamoConnection`.

    Code that uses boto3 reaches it where it is a part of `AWS`.

    Args:
        name: What sites and reports call it.
        tables: For each the attribute that is its key, or a `DynamoTable`.
        timeout_ms: How long a caller on a port waits for an answer.

    Raises:
        InvalidDefinition: There is no table.
    """

    name: str = attrs.field(validator=allowed.text())
    tables: Names[str, DynamoTable] = attrs.field(converter=_tables)
    timeout_ms: int = attrs.field(default=5_000, validator=allowed.whole(1), kw_only=True)

    def open(self, world: World) -> OpenDynamoDB:
        """Return these tables, empty, for one run."""
        return OpenDynamoDB(self, world)


class OpenDynamoDB:
    """The tables during one run."""

    def __init__(self, definition: DynamoDB, world: World) -> None:
        self.definition = definition
        self.name: Final = definition.name
        self.timeout_ms: Final = definition.timeout_ms
        self.world = world
        self.machine = DynamoMachine(EPOCH_MS)
        self._repeats = Repeats()
        self.on_change: list[Callable[[Changed, bytes, Scope, str, int], None]] = []
        for name, table in definition.tables.items():
            self.machine.create(name, table.settings())
        world.know_duration(definition.timeout_ms)

    def connect(self, incarnation: Incarnation) -> DynamoConnection:
        """Return an incarnation's access to the tables."""
        return DynamoConnection(self, incarnation)

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a caller sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a caller sees when DynamoDB refuses for now."""
        words = "ProvisionedThroughputExceededException"
        return ConnectionError(f"{operation}: {self.name} refused ({words})")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: two of three copies have it before DynamoDB answers."""

    def check(self, table: str, who: str) -> None:
        """Refuse a table that there is not.

        Raises:
            InvalidDefinition: It says which there are.
        """
        if table not in self.machine.tables:
            known = ", ".join(sorted(self.machine.tables))
            raise InvalidDefinition(f"{who}: {self.name} has no table {table!r}; it has: {known}")

    # ---- requests

    def do(
        self, action: str, given: Names[str, Any], scope: Scope, operation: str, attempt: int
    ) -> Any:
        """Have the machine do what is asked for; return its answer, or its `Refusal`."""
        left: dict[str, list[Any]] = {}
        if action == "BatchWriteItem":
            given, left = self._let_through(given, scope)
        answer = self.machine.call(action, given, self.world.now)
        changes = self.machine.take()
        for one in changes:
            self._changed(one, action, scope, operation, attempt)
        if isinstance(answer, Refusal):
            refused = {"store": self.name, "verb": action, "refused": answer.code}
            scope.record("read", operation, attempt, refused)
        elif not changes:
            scope.record("read", operation, attempt, {"store": self.name, "verb": action})
        if left and not isinstance(answer, Refusal):
            answer["UnprocessedItems"] = left
        return answer

    def _changed(
        self, change: Changed, action: str, scope: Scope, operation: str, attempt: int
    ) -> None:
        world = self.world
        key = name_of(change.table, change.key)
        data: dict[str, Any] = {"store": self.name, "verb": action, "key": key, "value": None}
        if change.after is not None:
            data["value"] = msgspec.json.encode(shown({"M": change.after}))
        if change.why:
            data["why"] = change.why
        scope.record("commit", operation, attempt, data)
        if not self._repeats.unchanged(scope, self.final):
            world.effects += 1
        self._know_expiry(change)
        self._copy(change, scope)
        for tell in self.on_change:
            keys = self.machine.tables[change.table].settings
            tell(change, images(change, (keys.key, keys.sort)), scope, operation, attempt)

    def _know_expiry(self, change: Changed) -> None:
        """Have trouble sized to last just longer than it takes an item to expire."""
        ttl = self.machine.tables[change.table].settings.ttl
        value = (change.after or {}).get(ttl or "", {}).get("N")
        if value is not None:
            left_ms = round(float(value) * 1000) - EPOCH_MS - self.world.now
            if 0 < left_ms <= LATE_MS:
                self.world.know_duration(left_ms)

    def _copy(self, change: Changed, scope: Scope) -> None:
        """Have the other copies get it: at once, or later, where a fault says so."""
        world = self.world
        operation = f"{self.name}.{change.table}/copy"
        attempt = world.reach(operation, scope.entity, scope.message)
        if operation not in world.surfaces:
            world.meet(operation, COPY)
        if operation not in world.armed:
            return
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, Delay):
                until_ms = world.due(fault.lasting)
                self.machine.lag(change.table, change.key, change.before, until_ms)
                world.until(until_ms, self._catch_up, change)

    def _catch_up(self, change: Changed) -> None:
        self.machine.caught_up(change.table, change.key, self.world.now)
        self.world.effects += 1

    def _let_through(
        self, given: Names[str, Any], scope: Scope
    ) -> tuple[Names[str, Any], dict[str, list[Any]]]:
        """Return a batch without the writes that a fault leaves undone, and these."""
        world = self.world
        done: dict[str, list[Any]] = {}
        left: dict[str, list[Any]] = {}
        for table, requests in given["RequestItems"].items():
            operation = f"{self.name}.{table}/write of a batch"
            if operation not in world.surfaces:
                world.meet(operation, BATCHED)
            for one in requests:
                attempt = world.reach(operation, scope.entity, scope.message)
                armed = operation in world.armed
                struck = armed and strikes(scope, operation, "before", attempt)
                refused = struck and any(isinstance(fault, ErrorReply) for fault in struck)
                (left if refused else done).setdefault(table, []).append(one)
        return {**given, "RequestItems": done}, left

    # ---- the end

    def final(self) -> dict[str, Any]:
        """Return what is stored: `{"items": {"orders/o1": {...}}}`, by table and key."""
        items = {
            name_of(name, key): shown({"M": item})
            for name, table in self.machine.tables.items()
            for key, item in table.items.items()
        }
        return {"items": dict(sorted(items.items()))}
