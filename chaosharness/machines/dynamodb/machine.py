"""DynamoDB as a pure machine: actions and parameters by AWS's names in, answers by them out.

`DynamoMachine().call("PutItem", {"TableName": ..., "Item": ...}, now)` returns what a client does,
or a `Refusal`. What changed since is in `take()`.

Source:
    Amazon DynamoDB API Reference, each action; Developer Guide, "Read consistency", "Transactions"
    (`ClientRequestToken`, 10 minutes), "Time to Live" (deleted within a few days: here after 48
    hours), "Query", "Scan".

Not modelled:
    Capacity, and what is refused for it (a fault); parallel scans; local secondary indexes and
    projections of indexes; PartiQL; backups, global tables; reserved words; parameters
    older than expressions (`Expected`, `AttributeUpdates`, `KeyConditions`); the 1 MB of a page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from chaosharness.machines.dynamodb.evaluating import Item, at, holds, projected, updated
from chaosharness.machines.dynamodb.parsing import Action, Names, Path, Reader
from chaosharness.machines.dynamodb.reading import read_items
from chaosharness.machines.dynamodb.tables import Key, Lagging, Table, TableSettings
from chaosharness.machines.dynamodb.values import Invalid
from chaosharness.machines.machine import Refusal

Answer = dict[str, Any] | Refusal
LATE_MS: Final = 172_800_000
"""How long an expired item stays: "within a few days", says the guide."""
TOKEN_MS: Final = 600_000
TRANSACTION_MAX: Final = 100
WRITES_MAX: Final = 25
READS_MAX: Final = 100
FAILED: Final = "The conditional request failed"


@attrs.frozen
class Failure(Refusal):
    """A refusal that says more.

    Attributes:
        more: What the answer holds beside: `Item`, `CancellationReasons`.
    """

    more: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Changed:
    """An item was written, or deleted.

    Attributes:
        table: Its table.
        key: What identifies it.
        before: As it was; None where there was none.
        after: As it is; None where it was deleted.
        why: `""`, or `expired`.
    """

    table: str
    key: Key
    before: Item | None
    after: Item | None
    why: str = ""


class Unmet(Exception):
    """A condition does not hold.

    Attributes:
        item: The item that it was asked of.
    """

    def __init__(self, item: Item | None) -> None:
        super().__init__(FAILED)
        self.item = item


class DynamoMachine:
    """All tables of one account and region.

    Args:
        epoch_ms: Of the moment 0, since 1970: for the times at which items expire.
    """

    def __init__(self, epoch_ms: int = 0) -> None:
        self.tables: dict[str, Table] = {}
        self.epoch_ms = epoch_ms
        self._tokens: dict[str, tuple[int, str]] = {}
        self._changes: list[Changed] = []

    def create(self, name: str, settings: TableSettings) -> None:
        """Make a table."""
        self.tables[name] = Table(name, settings)

    def call(self, action: str, given: Mapping[str, Any], now: int) -> Answer:
        """Do what a client asks for; return the answer without its metadata, or a `Refusal`.

        Raises:
            KeyError: There is no such action here.
        """
        self._expire(now)
        do = ACTIONS[action]
        try:
            return do(self, given, now)
        except Invalid as error:
            return error.refusal
        except Unmet as error:
            shown = given.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            more = {"Item": error.item} if shown and error.item is not None else {}
            return Failure("ConditionalCheckFailedException", FAILED, more=more)
        except KeyError as error:
            return Refusal("ResourceNotFoundException", str(error.args[0]))

    def take(self) -> list[Changed]:
        """Return what changed since this was asked last, in order."""
        changes, self._changes = self._changes, []
        return changes

    def lag(self, table: str, key: Key, item: Item | None, until_ms: int) -> None:
        """Have eventually consistent reads see an item as it was, until a moment."""
        late = self.tables[table].lagging.get(key)
        if late is not None and late.until_ms > until_ms:
            return
        seen = item if late is None else late.item
        self.tables[table].lagging[key] = Lagging(seen, until_ms)

    def caught_up(self, table: str, key: Key, now: int) -> None:
        """Forget that an item lags, once it does not any more."""
        late = self.tables[table].lagging.get(key)
        if late is not None and late.until_ms <= now:
            del self.tables[table].lagging[key]

    # ---- within

    def table(self, given: Mapping[str, Any]) -> Table:
        """Return the table that a request is about.

        Raises:
            KeyError: There is none.
        """
        name = given["TableName"].rpartition("/")[2]
        if name not in self.tables:
            raise KeyError("Requested resource not found")
        return self.tables[name]

    def _expire(self, now: int) -> None:
        """Delete what has been expired for long: nobody is woken for that."""
        late_s = (self.epoch_ms + now - LATE_MS) / 1000
        for table in self.tables.values():
            ttl = table.settings.ttl
            for key, item in list(table.items.items()) if ttl is not None else ():
                value = item.get(ttl or "", {})
                if "N" in value and float(value["N"]) < late_s:
                    self._write(table, key, None, "expired")

    def _write(self, table: Table, key: Key, item: Item | None, why: str = "") -> None:
        before = table.items.get(key)
        table.write(key, item)
        if before != item:
            self._changes.append(Changed(table.name, key, before, item, why))

    # ---- one item

    def _get(self, given: Mapping[str, Any], now: int) -> Answer:
        table = self.table(given)
        names = names_of(given)
        paths = _projection(given, names)
        names.check()
        key = table.key_of(given["Key"], exactly=True)
        item = table.read(key, now, consistent=given.get("ConsistentRead", False))
        if item is None:
            return {}
        return {"Item": dict(item) if paths is None else projected(item, paths)}

    def _put(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._written(given, self._planned_put(given))

    def _delete(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._written(given, self._planned_delete(given))

    def _update(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._written(given, self._planned_update(given))

    def _written(self, given: Mapping[str, Any], plan: Plan) -> Answer:
        before = plan.table.items.get(plan.key)
        after = plan.after(before)
        self._write(plan.table, plan.key, after)
        return returned(given.get("ReturnValues", "NONE"), before, after, plan.actions)

    def _planned_put(self, given: Mapping[str, Any]) -> Plan:
        table = self.table(given)
        names = names_of(given)
        condition = condition_of(given, names)
        names.check()
        key = table.key_of(given["Item"], exactly=False)
        item = table.check(dict(given["Item"]))
        return Plan(table, key, condition, lambda _: item)

    def _planned_delete(self, given: Mapping[str, Any]) -> Plan:
        table = self.table(given)
        names = names_of(given)
        condition = condition_of(given, names)
        names.check()
        return Plan(table, table.key_of(given["Key"], exactly=True), condition, lambda _: None)

    def _planned_update(self, given: Mapping[str, Any]) -> Plan:
        table = self.table(given)
        names = names_of(given)
        text = given.get("UpdateExpression")
        actions = [] if text is None else Reader("UpdateExpression", text, names).update()
        condition = condition_of(given, names)
        names.check()
        key = table.key_of(given["Key"], exactly=True)
        for one in actions:
            if one.path[0] in table.settings.keys:
                raise Invalid(
                    "One or more parameter values were invalid: Cannot update attribute "
                    f"{one.path[0]}. This attribute is part of the key"
                )

        def change(before: Item | None) -> Item:
            item = dict(given["Key"]) if before is None else before
            return table.check(updated(item, actions))

        return Plan(table, key, condition, change, tuple(actions))

    def _planned_check(self, given: Mapping[str, Any]) -> Plan:
        table = self.table(given)
        names = names_of(given)
        condition = condition_of(given, names)
        names.check()
        key = table.key_of(given["Key"], exactly=True)
        return Plan(table, key, condition, lambda before: before)

    # ---- several items

    def _query(self, given: Mapping[str, Any], now: int) -> Answer:
        return read_items(self.table(given), given, now, query=True)

    def _scan(self, given: Mapping[str, Any], now: int) -> Answer:
        return read_items(self.table(given), given, now, query=False)

    def _batch_get(self, given: Mapping[str, Any], now: int) -> Answer:
        asked = given["RequestItems"]
        if sum(len(one["Keys"]) for one in asked.values()) > READS_MAX:
            raise Invalid("Too many items requested for the BatchGetItem call")
        found: dict[str, list[Item]] = {}
        for name, one in asked.items():
            same = {key: value for key, value in one.items() if key != "Keys"}
            found[name] = []
            for key in one["Keys"]:
                answer = self._get({**same, "TableName": name, "Key": key}, now)
                if isinstance(answer, dict) and "Item" in answer:
                    found[name].append(answer["Item"])
        return {"Responses": found, "UnprocessedKeys": {}}

    def _batch_write(self, given: Mapping[str, Any], now: int) -> Answer:
        """Write items, each for itself. Those that a fault leaves are left out by who calls."""
        plans = []
        for name, requests in given["RequestItems"].items():
            for one in requests:
                if "PutRequest" in one:
                    plan = self._planned_put({"TableName": name, **one["PutRequest"]})
                else:
                    plan = self._planned_delete({"TableName": name, **one["DeleteRequest"]})
                plans.append(plan)
        if len(plans) > WRITES_MAX:
            raise Invalid(
                "1 validation error detected: Value at 'requestItems' failed to satisfy "
                "constraint: Map value must satisfy constraint: [Member must have length less than "
                "or equal to 25, Member must have length greater than or equal to 1]"
            )
        if len({(one.table.name, one.key) for one in plans}) < len(plans):
            raise Invalid("Provided list of item keys contains duplicates")
        for plan in plans:
            self._write(plan.table, plan.key, plan.after(plan.table.items.get(plan.key)))
        return {"UnprocessedItems": {}}

    def _transact_get(self, given: Mapping[str, Any], now: int) -> Answer:
        gets = [one["Get"] for one in given["TransactItems"]]
        return {"Responses": [self._get({**one, "ConsistentRead": True}, now) for one in gets]}

    def _transact_write(self, given: Mapping[str, Any], now: int) -> Answer:
        token = given.get("ClientRequestToken")
        asked = json.dumps(given["TransactItems"], sort_keys=True, default=repr)
        if token is not None:
            at_ms, known = self._tokens.get(token, (-TOKEN_MS, ""))
            if now - at_ms < TOKEN_MS:
                if known == asked:
                    return {}
                return Refusal(
                    "IdempotentParameterMismatchException",
                    "The request uses the same client token as a previous, but non-identical "
                    "request.",
                )
        refusal = self._transact(given["TransactItems"])
        if refusal is None and token is not None:
            self._tokens[token] = now, asked
        return {} if refusal is None else refusal

    def _transact(self, items: list[Mapping[str, Any]]) -> Refusal | None:
        """Do all of it or nothing."""
        if len(items) > TRANSACTION_MAX:
            raise Invalid("Member must have length less than or equal to 100")
        plans = []
        for one in items:
            [(kind, request)] = one.items()
            plans.append((PLANS[kind](self, request), request))
        if len({(plan.table.name, plan.key) for plan, _ in plans}) < len(plans):
            raise Invalid("Transaction request cannot include multiple operations on one item")
        reasons: list[dict[str, Any]] = []
        written: list[tuple[Plan, Item | None]] = []
        for plan, request in plans:
            try:
                written.append((plan, plan.after(plan.table.items.get(plan.key))))
                reasons.append({"Code": "None"})
            except Unmet as error:
                reason = {"Code": "ConditionalCheckFailed", "Message": FAILED}
                if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and error.item:
                    reason["Item"] = error.item  # type: ignore[assignment]
                reasons.append(reason)
            except Invalid as error:
                reasons.append({"Code": "ValidationError", "Message": error.refusal.text})
        if len(written) < len(plans):
            return cancelled(reasons)
        for plan, after in written:
            self._write(plan.table, plan.key, after)
        return None

    # ---- tables

    def _describe(self, given: Mapping[str, Any], now: int) -> Answer:
        table = self.table(given)
        kinds = ("HASH", "RANGE")
        keys = zip(table.settings.keys, kinds, strict=False)
        return {
            "Table": {
                "TableName": table.name,
                "TableStatus": "ACTIVE",
                "KeySchema": [{"AttributeName": one, "KeyType": kind} for one, kind in keys],
                "ItemCount": len(table.items),
                "TableArn": f"arn:aws:dynamodb:eu-central-1:000000000000:table/{table.name}",
            }
        }

    def _list(self, given: Mapping[str, Any], now: int) -> Answer:
        return {"TableNames": sorted(self.tables)}


@attrs.frozen
class Plan:
    """What a write would do to one item."""

    table: Table
    key: Key
    condition: Any
    change: Callable[[Item | None], Item | None]
    actions: tuple[Action, ...] = ()

    def after(self, before: Item | None) -> Item | None:
        """Return the item as it would be.

        Raises:
            Unmet: The condition does not hold.
            Invalid: It cannot be done.
        """
        if self.condition is not None and not holds(self.condition, before or {}):
            raise Unmet(before)
        return self.change(before)


def cancelled(reasons: list[dict[str, Any]]) -> Failure:
    """Return that a transaction was not done, and why."""
    codes = ", ".join(one["Code"] for one in reasons)
    return Failure(
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        more={"CancellationReasons": reasons},
    )


def names_of(given: Mapping[str, Any]) -> Names:
    """Return what a request defines for its expressions."""
    return Names(given.get("ExpressionAttributeNames"), given.get("ExpressionAttributeValues"))


def condition_of(given: Mapping[str, Any], names: Names) -> Any:
    """Return the condition of a write, if it has one."""
    text = given.get("ConditionExpression")
    return None if text is None else Reader("ConditionExpression", text, names).condition()


def _projection(given: Mapping[str, Any], names: Names) -> list[Path] | None:
    text = given.get("ProjectionExpression")
    return None if text is None else Reader("ProjectionExpression", text, names).projection()


def returned(
    wanted: str, before: Item | None, after: Item | None, actions: tuple[Action, ...]
) -> dict[str, Any]:
    """Return what a write answers: the item, or the attributes that it touched."""
    if wanted == "NONE":
        return {}
    item = (before if wanted.endswith("OLD") else after) or {}
    if wanted.startswith("UPDATED"):
        touched = [one.path for one in actions if at(item, one.path) is not None]
        item = projected(item, touched)
    return {"Attributes": dict(item)} if item else {}


ACTIONS: Final[dict[str, Callable[[DynamoMachine, Mapping[str, Any], int], Answer]]] = {
    "GetItem": DynamoMachine._get,
    "PutItem": DynamoMachine._put,
    "DeleteItem": DynamoMachine._delete,
    "UpdateItem": DynamoMachine._update,
    "Query": DynamoMachine._query,
    "Scan": DynamoMachine._scan,
    "BatchGetItem": DynamoMachine._batch_get,
    "BatchWriteItem": DynamoMachine._batch_write,
    "TransactGetItems": DynamoMachine._transact_get,
    "TransactWriteItems": DynamoMachine._transact_write,
    "DescribeTable": DynamoMachine._describe,
    "ListTables": DynamoMachine._list,
}
PLANS: Final[dict[str, Callable[[DynamoMachine, Mapping[str, Any]], Plan]]] = {
    "Put": DynamoMachine._planned_put,
    "Delete": DynamoMachine._planned_delete,
    "Update": DynamoMachine._planned_update,
    "ConditionCheck": DynamoMachine._planned_check,
}
