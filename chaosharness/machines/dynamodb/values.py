"""Attribute values as DynamoDB spells them: `{"S": "text"}`, `{"N": "12.5"}`, `{"M": {...}}`.

Source:
    Amazon DynamoDB Developer Guide, "Data types" (38 digits, item size 400 KB), "Comparison
    operator and function reference"; API Reference, AttributeValue.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

from chaosharness.machines.machine import Refusal

Value = Mapping[str, Any]
SIZE_MAX: Final = 409_600
DIGITS: Final = Context(prec=38)
SETS: Final = {"SS": "S", "NS": "N", "BS": "B"}
ORDERED: Final = ("S", "N", "B")


def invalid(text: str) -> Refusal:
    """Return what DynamoDB says of a request that makes no sense."""
    return Refusal("ValidationException", text)


class Invalid(Exception):
    """A request that makes no sense.

    Attributes:
        refusal: What DynamoDB says of it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.refusal = invalid(text)


def type_of(value: Value) -> str:
    """Return the type of a value: `S`, `N`, `B`, `SS`, `NS`, `BS`, `M`, `L`, `NULL`, `BOOL`."""
    [name] = value
    return name


def plain(value: Value) -> Any:
    """Return what can be compared of a value: numbers as numbers, sets as sets."""
    name, held = next(iter(value.items()))
    match name:
        case "N":
            return Decimal(held)
        case "NS":
            return frozenset(Decimal(one) for one in held)
        case "SS" | "BS":
            return frozenset(held)
        case "M":
            return {key: (type_of(one), plain(one)) for key, one in held.items()}
        case "L":
            return [(type_of(one), plain(one)) for one in held]
    return held


def equal(one: Value, other: Value) -> bool:
    """Say whether two values are the same: of one type, numbers by what they are."""
    return type_of(one) == type_of(other) and bool(plain(one) == plain(other))


def number(value: Decimal) -> Value:
    """Return a number as DynamoDB spells it: without zeros that say nothing.

    Raises:
        Invalid: It has more digits than DynamoDB keeps.
    """
    short = value.normalize(DIGITS)
    if short != value:
        raise Invalid("Attempting to store more than 38 significant digits in a Number")
    return {"N": f"{short:f}"}


def normal(value: Value) -> Value:
    """Return a value as DynamoDB keeps it.

    Raises:
        Invalid: It cannot be kept.
    """
    name, held = next(iter(value.items()))
    try:
        match name:
            case "N":
                return number(Decimal(held))
            case "NS":
                found = {one["N"]: None for one in (number(Decimal(text)) for text in held)}
                _check_set(held, len(found))
                return {name: list(found)}
            case "SS" | "BS":
                _check_set(held, len(set(held)))
                return {name: list(held)}
            case "M":
                return {name: {key: normal(one) for key, one in held.items()}}
            case "L":
                return {name: [normal(one) for one in held]}
    except InvalidOperation:
        raise Invalid(f"The parameter cannot be converted to a numeric value: {held}") from None
    return {name: held}


def _check_set(held: Any, distinct: int) -> None:
    if not held:
        raise Invalid("One or more parameter values were invalid: An string set  may not be empty")
    if distinct < len(held):
        raise Invalid(
            "One or more parameter values were invalid: Input collection contains duplicates."
        )


def size(value: Value) -> int:
    """Return the length of a value, as the function `size` and limits have it."""
    name, held = next(iter(value.items()))
    match name:
        case "S":
            return len(held.encode())
        case "B":
            return len(held)
        case "N":
            return (len(held) + 1) // 2 + 1
        case "M" | "L" | "SS" | "NS" | "BS":
            return len(held)
    return 1


def bytes_of(value: Value) -> int:
    """Return how many bytes a value takes in an item."""
    name, held = next(iter(value.items()))
    match name:
        case "M":
            return 3 + sum(1 + len(key.encode()) + bytes_of(one) for key, one in held.items())
        case "L":
            return 3 + sum(1 + bytes_of(one) for one in held)
        case "SS" | "NS" | "BS":
            return sum(bytes_of({SETS[name]: one}) for one in held)
    return size(value)
