"""A service's access to DynamoDB on ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from chaosharness.errors import UnserialisablePayload
from chaosharness.handlers.port import (
    Peer,
    call_off,
    current_scope,
    operate,
    refuse_stranger,
)
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.machines.machine import Refusal
from chaosharness.stores.dynamodb.items import read, spelled
from chaosharness.stores.dynamodb.rows import READING, WRITING


class Tables(Peer, Protocol):
    """The tables of a run."""

    def check(self, table: str, who: str) -> None:
        """Refuse a table that there is not."""

    def do(
        self, action: str, given: Mapping[str, Any], scope: Scope, operation: str, attempt: int
    ) -> Any:
        """Have the machine do what is asked for; return its answer, or its `Refusal`."""


class DynamoError(Exception):
    """A request that DynamoDB refused, and did nothing of.

    Attributes:
        code: DynamoDB's name of the error: `ConditionalCheckFailedException`.
        response: Shaped as in `botocore.exceptions.ClientError`.
    """

    def __init__(self, operation: str, refusal: Refusal) -> None:
        super().__init__(f"{operation}: {refusal}")
        self.code = refusal.code
        error = {"Code": refusal.code, "Message": refusal.text}
        self.response: dict[str, Any] = {"Error": error, **getattr(refusal, "more", {})}


class DynamoConnection:
    """A service's access to DynamoDB. In an `async` handler, await each method.

    Expressions are DynamoDB's own; `values` are those that they name (`{":paid": True}`), `names`
    the attributes (`{"#status": "status"}`). Items and keys are dicts of text, numbers, bytes,
    lists, dicts, sets, booleans and None; numbers come back as `int`, or `Decimal`.

    Every method raises DynamoError where DynamoDB refuses, ConnectionError where it does for now,
    and TimeoutError where no answer came: then it may have happened.
    """

    __slots__ = ("_owner", "_store")

    def __init__(self, store: Tables, owner: Incarnation) -> None:
        self._store = store
        self._owner = owner

    def get(self, table: str, key: Mapping[str, Any], *, consistent: bool = False) -> Any:
        """Return an item, or None. Unless it is `consistent`, it may be as it was before."""
        given = {"Key": _item(key), "ConsistentRead": consistent}
        return self._ask("get", "GetItem", table, given)

    def put(
        self,
        table: str,
        item: Mapping[str, Any],
        *,
        condition: str | None = None,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Any:
        """Store an item, in the place of the one with its key; with a condition, if that holds."""
        given = {"Item": _item(item), **_condition(condition, values, names)}
        return self._ask("put", "PutItem", table, given)

    def update(
        self,
        table: str,
        key: Mapping[str, Any],
        expression: str,
        *,
        condition: str | None = None,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Any:
        """Change an item, which is made if it is not there; return it as it is now."""
        given = {
            "Key": _item(key),
            "UpdateExpression": expression,
            "ReturnValues": "ALL_NEW",
            **_condition(condition, values, names),
        }
        return self._ask("update", "UpdateItem", table, given)

    def delete(
        self,
        table: str,
        key: Mapping[str, Any],
        *,
        condition: str | None = None,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Any:
        """Delete an item; return it as it was, or None."""
        given = {
            "Key": _item(key),
            "ReturnValues": "ALL_OLD",
            **_condition(condition, values, names),
        }
        return self._ask("delete", "DeleteItem", table, given)

    def query(
        self,
        table: str,
        condition: str,
        *,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
        index: str | None = None,
        consistent: bool = False,
    ) -> Any:
        """Return the items of one partition key as a list, by their sort key."""
        given = _condition(None, values, names)
        given |= {"KeyConditionExpression": condition, "ConsistentRead": consistent}
        if index is not None:
            given["IndexName"] = index
        return self._ask("query", "Query", table, given)

    def scan(self, table: str, *, consistent: bool = False) -> Any:
        """Return all items of a table as a list."""
        return self._ask("scan", "Scan", table, {"ConsistentRead": consistent})

    def transact(self, writes: Sequence[Mapping[str, Any]], *, token: str | None = None) -> Any:
        """Do several writes, or none of them.

        Args:
            writes: As `TransactWriteItems` takes them, with items as DynamoDB spells them:
                `{"Put": {"TableName": ..., "Item": {"id": {"S": "o1"}}}}`.
            token: ClientRequestToken: the same within ten minutes is done once.
        """
        given: dict[str, Any] = {"TransactItems": list(writes)}
        if token is not None:
            given["ClientRequestToken"] = token
        return self._ask("transact", "TransactWriteItems", "", given)

    # ---- asking

    def _ask(self, verb: str, action: str, table: str, given: dict[str, Any]) -> Any:
        store = self._store
        if table:
            store.check(table, current_scope(f"{store.name}.{verb}").place)
            given["TableName"] = table
        kind = READING if verb in ("get", "query", "scan") else WRITING
        name = f"{store.name}.{verb}{table and f' {table}'}"
        return operate(name, self._effect, (action, given), store, kind)

    def _effect(self, scope: Scope, operation: str, attempt: int, asked: Any) -> Any:
        store = self._store
        if scope.incarnation is not self._owner:
            refuse_stranger(scope, f"a connection to {store.name!r}", self._owner)
        action, given = asked
        answer = store.do(action, given, scope, operation, attempt)
        if isinstance(answer, Refusal):
            raise DynamoError(operation, answer)
        if "Items" in answer:
            return [read({"M": one}) for one in answer["Items"]]
        found = answer.get("Item", answer.get("Attributes"))
        return None if found is None else read({"M": found})


def _item(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {name: spelled(value) for name, value in given.items()}
    except UnserialisablePayload as error:
        call_off(error)


def _condition(
    condition: str | None, values: Mapping[str, Any] | None, names: Mapping[str, str] | None
) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if condition is not None:
        given["ConditionExpression"] = condition
    if values:
        given["ExpressionAttributeValues"] = _item(values)
    if names:
        given["ExpressionAttributeNames"] = dict(names)
    return given
