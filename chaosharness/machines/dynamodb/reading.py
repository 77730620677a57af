"""Queries and scans: which items they find, in which order, page by page.

Source:
    Amazon DynamoDB API Reference, Query and Scan; Developer Guide, "Key condition expressions",
    "Paginating table query results" (a limit counts what is looked at, before the filter).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaosharness.machines.dynamodb.evaluating import Item, holds, projected
from chaosharness.machines.dynamodb.parsing import At, Call, Constant, Names, Reader
from chaosharness.machines.dynamodb.tables import Table, place_of, scanned
from chaosharness.machines.dynamodb.values import Invalid

SORTS: Final = ("=", "<", "<=", ">", ">=", "between", "begins_with")
NOT_SUPPORTED: Final = "Query key condition not supported"


def read_items(table: Table, given: Mapping[str, Any], now: int, *, query: bool) -> dict[str, Any]:
    """Return a page of a query or a scan.

    Raises:
        Invalid: It makes no sense.
    """
    index = given.get("IndexName")
    consistent = given.get("ConsistentRead", False)
    if consistent and index is not None:
        raise Invalid("Consistent reads are not supported on global secondary indexes")
    names = Names(given.get("ExpressionAttributeNames"), given.get("ExpressionAttributeValues"))
    condition = None
    if query:
        text = given.get("KeyConditionExpression", "")
        condition = Reader("KeyConditionExpression", text, names).condition()
        _check_keys(condition, table.settings.keys_of(index))
    filtered = _read("FilterExpression", given, names)
    text = given.get("ProjectionExpression")
    paths = None
    if text is not None:
        paths = Reader("ProjectionExpression", text, names).projection()
    names.check()
    forward = given.get("ScanIndexForward", True)
    found = [
        (_order(table, index, item, query=query), item)
        for _, item in table.all(index, now, consistent=consistent)
        if condition is None or holds(condition, item)
    ]
    found.sort(key=lambda one: one[0], reverse=not forward)
    begin = given.get("ExclusiveStartKey")
    if begin is not None:
        begun = _order(table, index, begin, query=query)
        found = [one for one in found if (one[0] > begun if forward else one[0] < begun)]
    seen = [item for _, item in found[: given.get("Limit")]]
    last = seen[-1] if seen and len(seen) == given.get("Limit") else None
    passed = [one for one in seen if filtered is None or holds(filtered, one)]
    answer: dict[str, Any] = {"Count": len(passed), "ScannedCount": len(seen)}
    if given.get("Select") != "COUNT":
        answer["Items"] = [dict(one) if paths is None else projected(one, paths) for one in passed]
    if last is not None:
        named = {*table.settings.keys, *table.settings.keys_of(index)}
        answer["LastEvaluatedKey"] = {name: last[name] for name in sorted(named)}
    return answer


def _read(kind: str, given: Mapping[str, Any], names: Names) -> Any:
    text = given.get(kind)
    return None if text is None else Reader(kind, text, names).condition()


def _check_keys(condition: Any, keys: tuple[str, ...]) -> None:
    """Refuse what is no key condition: the partition key is this, the sort key like that.

    Raises:
        Invalid: It is none.
    """
    parts = condition.operands if condition.name == "and" else (condition,)
    asked: dict[Any, str] = {}
    for part in parts:
        if not isinstance(part, Call) or part.name not in SORTS or part.name == "not":
            raise Invalid("Invalid operator used in KeyConditionExpression: " + part.name.upper())
        first, *others = part.operands
        if not isinstance(first, At) or not all(isinstance(one, Constant) for one in others):
            raise Invalid(NOT_SUPPORTED)
        asked[first.path[0]] = part.name
    if asked.get(keys[0]) != "=":
        if keys[0] in asked:
            raise Invalid(NOT_SUPPORTED)
        raise Invalid(f"Query condition missed key schema element: {keys[0]}")
    for name in asked.keys() - {keys[0]}:
        if len(keys) < 2 or name != keys[1]:
            missed = keys[1] if len(keys) > 1 else keys[0]
            raise Invalid(f"Query condition missed key schema element: {missed}")


def _order(table: Table, index: str | None, item: Item, *, query: bool) -> tuple[Any, ...]:
    """Return where an item comes: in a query by the sort key, in a scan by a hash.

    Raises:
        Invalid: It says where to go on, and is no key.
    """
    keys = table.settings.keys_of(index)
    if any(name not in item for name in (*keys, *table.settings.keys)):
        raise Invalid("The provided starting key is invalid")
    own = tuple(place_of(item[name], name) for name in table.settings.keys)
    if not query:
        return scanned(own)
    return tuple(place_of(item[name], name) for name in keys[1:]), scanned(own)
