"""Filter policies of SNS subscriptions: which messages a subscriber gets.

Source:
    Amazon SNS Developer Guide, "Message filtering" and "Filter policy constraints"; answers
    recorded from AWS (2022 to 2024), among them each refusal below.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from itertools import product
from math import prod
from typing import Any, Final

COMBINATIONS_MAX: Final = 150
KEYS_MAX: Final = 5
OR: Final = "$or"
NESTED: Final = "Filter policy scope MessageAttributes does not support nested filter policy"

Flat = dict[str, list[Any]]
"""Values by path: keys joined with dots, values of lists side by side."""


class BadPolicy(ValueError):
    """A policy that SNS refuses, in its own words."""


# ---- matching


def matches(policy: Mapping[str, Any] | None, payloads: list[Flat]) -> bool:
    """Say whether a message passes a policy: one of its alternatives, in one of its objects."""
    if policy is None:
        return True
    return any(
        all(_one_matches(conditions, flat.get(path)) for path, conditions in rule.items())
        for rule in rules(policy)
        for flat in payloads
    )


def rules(policy: Mapping[str, Any], prefix: str = "") -> list[dict[str, list[Any]]]:
    """Return the alternatives of a policy, each with conditions by path."""
    parts: list[list[dict[str, list[Any]]]] = []
    for key, value in policy.items():
        if key == OR and isinstance(value, list) and value and isinstance(value[0], Mapping):
            parts.append([rule for one in value for rule in rules(one, prefix)])
        elif isinstance(value, Mapping):
            parts.append(rules(value, f"{prefix}{key}."))
        else:
            parts.append([{f"{prefix}{key}": value}])
    return [{k: v for one in combined for k, v in one.items()} for combined in product(*parts)]


def of_body(body: str | bytes) -> list[Flat]:
    """Return what a message body holds; nothing where it is no JSON object."""
    try:
        value = json.loads(body)
    except ValueError:
        return []
    return list(flat(value, "")) if isinstance(value, dict) else []


def of_attributes(attributes: Mapping[str, Any]) -> list[Flat]:
    """Return what message attributes hold: texts, numbers, and lists of either."""
    found: Flat = {}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            continue  # Binary: no condition reads it
        found[name] = list(value) if isinstance(value, list | tuple) else [value]
    return [found]


def flat(value: Any, path: str = "") -> Iterator[Flat]:
    """Yield the objects of a payload, each with the values by path: one for each in a list."""
    if isinstance(value, dict):
        parts = [list(flat(item, f"{path}.{key}" if path else key)) for key, item in value.items()]
        for combined in product(*parts):
            yield {name: values for one in combined for name, values in one.items()}
    elif isinstance(value, list):
        objects = [one for one in value if isinstance(one, dict | list)]
        plain = [one for one in value if not isinstance(one, dict | list)]
        if objects:
            for one in objects:
                yield from flat(one, path)
        elif plain:
            yield {path: plain}
        else:
            yield {}
    else:
        yield {path: [value]}


def _one_matches(conditions: list[Any], values: list[Any] | None) -> bool:
    return any(_matches(condition, values) for condition in conditions)


def _matches(condition: Any, values: list[Any] | None) -> bool:
    if isinstance(condition, Mapping):
        [(operator, wanted)] = condition.items()
        if operator == "exists":
            return (values is not None) is wanted
        if values is None:
            return False
        return any(holds(operator, wanted, value) for value in values)
    return values is not None and any(same(condition, value) for value in values)


def same(wanted: Any, value: Any) -> bool:
    """Say whether two plain values are the same: no number is a text, and True is not 1."""
    if isinstance(wanted, bool) or isinstance(value, bool) or wanted is None or value is None:
        return wanted is value
    if isinstance(wanted, str) or isinstance(value, str):
        return isinstance(value, str) and wanted == value
    return bool(wanted == value)


def holds(operator: str, wanted: Any, value: Any) -> bool:
    """Say whether a value passes one condition with an operator."""
    match operator:
        case "prefix":
            return isinstance(value, str) and value.startswith(wanted)
        case "suffix":
            return isinstance(value, str) and value.endswith(wanted)
        case "equals-ignore-case":
            return isinstance(value, str) and value.casefold() == wanted.casefold()
        case "anything-but":
            return not _but(wanted, value)
        case "numeric":
            return _in_range(wanted, value)
        case "cidr":
            return _in_network(wanted, value)
    return False


def _but(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, Mapping):
        return any(holds(operator, one, value) for operator, one in wanted.items())
    return any(same(one, value) for one in (wanted if isinstance(wanted, list) else [wanted]))


def _in_range(wanted: list[Any], value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    for sign, bound in zip(wanted[::2], wanted[1::2], strict=True):
        held = {
            "=": value == bound,
            "<": value < bound,
            "<=": value <= bound,
            ">": value > bound,
            ">=": value >= bound,
        }[sign]
        if not held:
            return False
    return True


def _in_network(wanted: str, value: Any) -> bool:
    try:
        return ip_address(value) in ip_network(wanted, strict=False)
    except ValueError:
        return False


# ---- refusing


def check(policy: Any, *, body: bool) -> None:
    """Refuse a policy as SNS does.

    Raises:
        BadPolicy: It says why, in the words of SNS.
    """
    if not body and any(isinstance(value, Mapping) for value in policy.values()):
        values = [value for value in policy.values() if isinstance(value, Mapping)]
        if all(isinstance(one, list) for value in values for one in value.values()):
            raise BadPolicy(NESTED)
    _check_level(policy)
    keys = {path for rule in rules(policy) for path in rule}
    if len(keys) > KEYS_MAX:
        raise BadPolicy(f"Filter policy can not have more than {KEYS_MAX} keys")
    combinations = sum(
        prod(len(conditions) * (path.count(".") + 1) for path, conditions in rule.items())
        for rule in rules(policy)
    )
    if combinations > COMBINATIONS_MAX:
        raise BadPolicy("Filter policy is too complex")


def _check_level(policy: Mapping[str, Any]) -> None:
    for key, value in policy.items():
        if key == OR and isinstance(value, list) and all(isinstance(o, Mapping) for o in value):
            for one in value:
                _check_level(one)
        elif isinstance(value, Mapping):
            _check_level(value)
        elif not isinstance(value, list):
            raise BadPolicy(f'"{key}" must be an object or an array')
        elif not value:
            raise BadPolicy("Empty arrays are not allowed")
        else:
            for condition in value:
                check_condition(condition)


def check_condition(condition: Any) -> None:
    """Refuse a condition that is none.

    Raises:
        BadPolicy: It says why.
    """
    if isinstance(condition, list):
        raise BadPolicy("Match value must be String, number, true, false, or null")
    if not isinstance(condition, Mapping):
        return
    operator, wanted = next(iter(condition.items()))
    match operator:
        case "prefix" | "suffix" | "equals-ignore-case":
            _check_text(operator, wanted)
        case "cidr":
            _check_text("prefix", wanted)
            _check_network(wanted)
        case "exists":
            if not isinstance(wanted, bool):
                raise BadPolicy("exists match pattern must be either true or false.")
        case "anything-but":
            if isinstance(wanted, Mapping):
                [(inner, text)] = wanted.items()
                if inner != "prefix":
                    raise BadPolicy(f"Unsupported anything-but pattern: {inner}")
                _check_text(inner, text)
        case "numeric":
            _check_range(wanted)
        case _:
            raise BadPolicy(f"Unrecognized match type {operator}")
    if len(condition) > 1:
        raise BadPolicy("Only one key allowed in match expression")


def _check_text(operator: str, wanted: Any) -> None:
    if not isinstance(wanted, str):
        raise BadPolicy(f"{operator} match pattern must be a string")


def _check_network(wanted: str) -> None:
    if wanted.count("/") != 1:
        raise BadPolicy("Malformed CIDR, one '/' required")
    address, bits = wanted.split("/")
    if not bits.isdecimal():
        raise BadPolicy("Malformed CIDR, mask bits must be an integer")
    try:
        ip_address(address)
    except ValueError:
        raise BadPolicy(f"Nonstandard IP address: {address}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_range(wanted: Any) -> None:
    """Refuse a numeric condition: `["=", 5]`, `[">", 0]`, or `[">", 0, "<=", 10]`."""
    if not isinstance(wanted, list) or not wanted:
        raise BadPolicy("Invalid member in numeric match: ]")
    sign, *rest = wanted
    if not isinstance(sign, str):
        raise BadPolicy(f"Invalid member in numeric match: {sign}")
    if sign not in ("=", "<", "<=", ">", ">="):
        raise BadPolicy(f"Unrecognized numeric range operator: {sign}")
    if not rest or not _is_number(rest[0]):
        raise BadPolicy(f"Value of {'equals' if sign == '=' else sign} must be numeric")
    if len(rest) == 1:
        return
    if sign not in (">", ">="):
        raise BadPolicy("Too many elements in numeric expression")
    second, *last = rest[1:]
    if not isinstance(second, str):
        raise BadPolicy(f"Bad value in numeric range: {second}")
    if second not in ("<", "<="):
        raise BadPolicy(f"Bad numeric range operator: {second}")
    if not last or not _is_number(last[0]):
        raise BadPolicy(f"Value of {second} must be numeric")
    if not rest[0] < last[0]:
        raise BadPolicy("Bottom must be less than top")
    if len(last) > 1:
        raise BadPolicy("Too many terms in numeric range expression")
