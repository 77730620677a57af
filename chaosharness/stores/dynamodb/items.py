"""Items as Python has them, and as DynamoDB spells them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from chaosharness.errors import UnserialisablePayload
from chaosharness.machines.dynamodb.machine import Changed
from chaosharness.machines.dynamodb.tables import Key


def spelled(value: Any) -> dict[str, Any]:
    """Return a value as DynamoDB spells it.

    Raises:
        UnserialisablePayload: DynamoDB has no such type.
    """
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | Decimal():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": {str(name): spelled(one) for name, one in value.items()}}
        case list() | tuple():
            return {"L": [spelled(one) for one in value]}
        case set() | frozenset() if value:
            kinds = {next(iter(spelled(one))) for one in value}
            if len(kinds) == 1 and kinds <= {"S", "N", "B"}:
                [kind] = kinds
                return {f"{kind}S": [spelled(one)[kind] for one in sorted(value)]}
    raise UnserialisablePayload(
        f"DynamoDB has no type for {value!r}: give it text, whole numbers and Decimals, bytes, "
        "lists, dicts, sets of one of these, booleans or None"
    )


def read(value: Mapping[str, Any]) -> Any:
    """Return a value as Python has it: whole numbers as `int`, others as `Decimal`."""
    kind, held = next(iter(value.items()))
    match kind:
        case "N":
            return _number(held)
        case "M":
            return {name: read(one) for name, one in held.items()}
        case "L":
            return [read(one) for one in held]
        case "SS" | "BS":
            return set(held)
        case "NS":
            return {_number(one) for one in held}
        case "NULL":
            return None
    return held


def _number(text: str) -> int | Decimal:
    found = Decimal(text)
    return int(found) if found == found.to_integral_value() else found


def shown(value: Mapping[str, Any]) -> Any:
    """Return a value as histories and states show it: as plain data."""
    kind, held = next(iter(value.items()))
    match kind:
        case "N":
            found = _number(held)
            return found if isinstance(found, int) else str(found)
        case "M":
            return {name: shown(one) for name, one in sorted(held.items())}
        case "L":
            return [shown(one) for one in held]
        case "SS":
            return sorted(held)
        case "NS":
            return sorted(held, key=Decimal)
        case "B":
            return held.decode("utf-8", "backslashreplace")
        case "BS":
            return sorted(one.decode("utf-8", "backslashreplace") for one in held)
        case "NULL":
            return None
    return held


def name_of(table: str, key: Key) -> str:
    """Return what reports call an item: `orders/o1`."""
    parts = (
        held.decode("utf-8", "backslashreplace") if kind != "N" else f"{held:f}"
        for kind, held in key
    )
    return "/".join((table, *parts))


def images(change: Changed, keys: tuple[str, str | None]) -> bytes:
    """Return a change as a stream has it, in JSON: both images, and whether it is an expiry."""
    before, after = change.before, change.after
    some = after if after is not None else before or {}
    made: dict[str, Any] = {
        "eventName": "REMOVE" if after is None else "INSERT" if before is None else "MODIFY",
        "Keys": {name: some[name] for name in keys if name is not None and name in some},
    }
    if after is not None:
        made["NewImage"] = after
    if before is not None:
        made["OldImage"] = before
    if change.why:
        made["expired"] = True
    return json.dumps(made, default=_binary, sort_keys=True).encode()


def _binary(value: Any) -> Any:
    """Return bytes and sets as an event of Lambda has them."""
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    return sorted(value)
