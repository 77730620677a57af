"""Expressions of DynamoDB, evaluated on an item; updates, done to one.

Source:
    Amazon DynamoDB Developer Guide, "Condition and filter expressions, operators, and functions",
    "Update expressions".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Any, Final

from chaosharness.machines.dynamodb.parsing import Action, At, Call, Constant, Path
from chaosharness.machines.dynamodb.values import (
    ORDERED,
    SETS,
    Invalid,
    Value,
    equal,
    normal,
    number,
    plain,
    size,
    type_of,
)

Item = dict[str, Any]
"""The attributes of an item, each a value as DynamoDB spells it."""

ABSENT: Final = "The provided expression refers to an attribute that does not exist in the item"
WRONG_PATH: Final = "The document path provided in the update expression is invalid for update"
WRONG_TYPE: Final = "An operand in the update expression has an incorrect data type"


def at(item: Mapping[str, Any], path: Path) -> Value | None:
    """Return what is at a path of an item; None where nothing is."""
    held: Any = {"M": item}
    for step in path:
        name, inside = next(iter(held.items()))
        if isinstance(step, str):
            if name != "M" or step not in inside:
                return None
            held = inside[step]
        else:
            if name != "L" or step >= len(inside):
                return None
            held = inside[step]
    found: Value = held
    return found


def holds(condition: Any, item: Mapping[str, Any]) -> bool:
    """Say whether a condition holds for an item."""
    name, operands = condition.name, condition.operands
    match name:
        case "and":
            return holds(operands[0], item) and holds(operands[1], item)
        case "or":
            return holds(operands[0], item) or holds(operands[1], item)
        case "not":
            return not holds(operands[0], item)
        case "attribute_exists":
            return _value(operands[0], item) is not None
        case "attribute_not_exists":
            return _value(operands[0], item) is None
    values = [_value(one, item) for one in operands]
    if name == "<>":
        return values[0] is None or values[1] is None or not equal(values[0], values[1])
    if values[0] is None:
        return False
    if name == "in":
        return any(one is not None and equal(values[0], one) for one in values[1:])
    if None in values:
        return False
    return _compare(name, values)


def _compare(name: str, values: Sequence[Any]) -> bool:
    first, second = values[:2]
    match name:
        case "=":
            return equal(first, second)
        case "between":
            return _less(second, first, True) and _less(first, values[2], True)
        case "<" | "<=":
            return _less(first, second, name == "<=")
        case ">" | ">=":
            return _less(second, first, name == ">=")
        case "attribute_type":
            return bool(type_of(first) == plain(second))
        case "begins_with":
            same = type_of(first) == type_of(second) in ("S", "B")
            return same and bool(plain(first).startswith(plain(second)))
    return _contains(first, second)


def _less(one: Value, other: Value, or_equal: bool) -> bool:
    kind = type_of(one)
    if kind != type_of(other) or kind not in ORDERED:
        return False
    left, right = _ordered(one), _ordered(other)
    return bool(left <= right if or_equal else left < right)


def _ordered(value: Value) -> Any:
    found = plain(value)
    return found.encode() if isinstance(found, str) else found


def _contains(held: Value, sought: Value) -> bool:
    kind = type_of(held)
    if kind in ("S", "B"):
        return type_of(sought) == kind and plain(sought) in plain(held)
    if kind in SETS:
        return type_of(sought) == SETS[kind] and plain(sought) in plain(held)
    return kind == "L" and any(equal(one, sought) for one in held["L"])


def _value(operand: Any, item: Mapping[str, Any]) -> Value | None:
    match operand:
        case Constant(value):
            return value
        case At(path):
            return at(item, path)
        case Call("size", (inner,)):
            found = _value(inner, item)
            return None if found is None else {"N": str(size(found))}
    raise Invalid(f"Invalid ConditionExpression: Invalid function name; function: {operand.name}")


# ---- updates


def updated(item: Mapping[str, Any], actions: Sequence[Action]) -> Item:
    """Return an item after an update. Each action sees it as it was before.

    Raises:
        Invalid: It cannot be done.
    """
    new: Item = deepcopy(dict(item))
    sets = [(one, _operand(one.operand, item)) for one in actions if one.clause not in ("REMOVE",)]
    for action, value in sets:
        match action.clause:
            case "SET":
                _put(new, action.path, value)
            case "ADD":
                _add(new, action.path, value)
            case _:
                _delete(new, action.path, value)
    removed = [one.path for one in actions if one.clause == "REMOVE"]
    for path in removed:
        if at(item, path[:-1]) is None and len(path) > 1:
            raise Invalid(WRONG_PATH)
    for path in sorted(removed, key=_place, reverse=True):  # from the end of lists
        _remove(new, path)
    return new


def _place(path: Path) -> tuple[int, int]:
    last = path[-1]
    return len(path), last if isinstance(last, int) else -1


def _operand(operand: Any, item: Mapping[str, Any]) -> Value:
    match operand:
        case Constant(value):
            return normal(value)
        case At(path):
            found = at(item, path)
            if found is None:
                raise Invalid(ABSENT)
            return deepcopy(found)
        case Call("if_not_exists", (At(path), other)):
            found = at(item, path)
            return _operand(other, item) if found is None else deepcopy(found)
        case Call("list_append", (first, second)):
            lists = [_operand(one, item) for one in (first, second)]
            if any(type_of(one) != "L" for one in lists):
                raise Invalid(WRONG_TYPE)
            return {"L": [*lists[0]["L"], *lists[1]["L"]]}
        case Call("+" | "-" as sign, (first, second)):
            left, right = (_operand(one, item) for one in (first, second))
            if type_of(left) != "N" or type_of(right) != "N":
                raise Invalid(WRONG_TYPE)
            one, other = Decimal(left["N"]), Decimal(right["N"])
            return number(one + other if sign == "+" else one - other)
    raise Invalid(f"Invalid UpdateExpression: Invalid function name; function: {operand.name}")


def _parent(item: Item, path: Path) -> Any:
    """Return what holds the end of a path: a map or a list.

    Raises:
        Invalid: Nothing does.
    """
    if len(path) == 1:
        return item
    held = at(item, path[:-1])
    kind = "M" if isinstance(path[-1], str) else "L"
    if held is None or type_of(held) != kind:
        raise Invalid(WRONG_PATH)
    return held[kind]


def _put(item: Item, path: Path, value: Value) -> None:
    parent, last = _parent(item, path), path[-1]
    if isinstance(last, int) and last >= len(parent):
        parent.append(value)
    else:
        parent[last] = value


def _remove(item: Item, path: Path) -> None:
    parent, last = _parent(item, path), path[-1]
    if isinstance(last, str):
        parent.pop(last, None)
    elif last < len(parent):
        del parent[last]


def _add(item: Item, path: Path, value: Value) -> None:
    kind = type_of(value)
    if kind != "N" and kind not in SETS:
        raise Invalid(
            "Invalid UpdateExpression: Incorrect operand type for operator or function; "
            f"operator: ADD, operand type: {_WORDS.get(kind, kind)}, "
            "typeSet: ALLOWED_FOR_ADD_OPERAND"
        )
    found = at(item, path)
    if found is None:
        _put(item, path, value)
        return
    if type_of(found) != kind:
        raise Invalid(WRONG_TYPE)
    if kind == "N":
        _put(item, path, number(Decimal(found["N"]) + Decimal(value["N"])))
    else:
        more = [one for one in value[kind] if one not in found[kind]]
        _put(item, path, {kind: [*found[kind], *more]})


def _delete(item: Item, path: Path, value: Value) -> None:
    kind = type_of(value)
    if kind not in SETS:
        raise Invalid(
            "Invalid UpdateExpression: Incorrect operand type for operator or function; "
            f"operator: DELETE, operand type: {_WORDS.get(kind, kind)}, "
            "typeSet: ALLOWED_FOR_DELETE_OPERAND"
        )
    found = at(item, path)
    if found is None:
        return
    if type_of(found) != kind:
        raise Invalid(WRONG_TYPE)
    left = [one for one in found[kind] if one not in value[kind]]
    if left:
        _put(item, path, {kind: left})
    else:
        _remove(item, path)


_WORDS: Final = {
    "S": "STRING",
    "N": "NUMBER",
    "B": "BINARY",
    "M": "MAP",
    "L": "LIST",
    "BOOL": "BOOLEAN",
}


def projected(item: Mapping[str, Any], paths: Sequence[Path]) -> Item:
    """Return what is at some paths of an item, with what holds it."""
    found: Item = {}
    for path in paths:
        value = at(item, path)
        if value is not None:
            _keep(found, path, value)
    return found


def _keep(found: Item, path: Path, value: Value) -> None:
    """Put a value where it was; places of a list close up."""
    held: Any = found
    for step, below in zip(path, (*path[1:], None), strict=True):
        inner = value if below is None else {"M": {}} if isinstance(below, str) else {"L": []}
        if isinstance(held, list):
            held.append(inner)
            inner = held[-1]
        elif below is None:
            held[step] = inner
        else:
            inner = held.setdefault(step, inner)
        held = next(iter(inner.values()))
