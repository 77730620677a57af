"""Event patterns: which events a rule takes.

Source:
    Amazon EventBridge User Guide, "Event patterns" and "Comparison operators for use in event
    patterns". What SNS filters have as well is the same there: both come of one library.

Not modelled:
    That numbers are compared as they are spelled (300 and 300.0 are the same here); how complex a
    pattern may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from chaosharness.machines.sns.filters import (
    OR,
    BadPolicy,
    check_condition,
    flat,
    holds,
    rules,
    same,
)

TEXTS: Final = ("prefix", "suffix", "equals-ignore-case", "wildcard")


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Say whether an event passes a pattern."""
    objects = list(flat(event))
    return any(
        all(_passes(conditions, found.get(path)) for path, conditions in rule.items())
        for rule in rules(pattern)
        for found in objects
    )


def _passes(conditions: list[Any], values: list[Any] | None) -> bool:
    return any(_condition(one, values) for one in conditions)


def _condition(condition: Any, values: list[Any] | None) -> bool:
    if not isinstance(condition, Mapping):
        return values is not None and any(same(condition, value) for value in values)
    [(operator, wanted)] = condition.items()
    if operator == "exists":
        return (values is not None) is wanted
    return values is not None and any(_operator(operator, wanted, value) for value in values)


def _operator(operator: str, wanted: Any, value: Any) -> bool:
    match operator:
        case "wildcard":
            return isinstance(value, str) and _like(wanted, value)
        case "prefix" | "suffix" if isinstance(wanted, Mapping):
            text = wanted["equals-ignore-case"].casefold()
            return isinstance(value, str) and holds(operator, text, value.casefold())
        case "anything-but" if isinstance(wanted, Mapping):
            [(inner, texts)] = wanted.items()
            several = texts if isinstance(texts, list) else [texts]
            return not any(_operator(inner, one, value) for one in several)
    return holds(operator, wanted, value)


def _like(wanted: str, value: str) -> bool:
    """Say whether a text is like one with `*` in it; `\\*` is a star."""
    parts = re.split(r"(\\.|\*)", wanted)
    spelled = "".join(
        ".*" if one == "*" else re.escape(one[1:] if one.startswith("\\") else one) for one in parts
    )
    return re.fullmatch(spelled, value, re.DOTALL) is not None


# ---- refusing


def check(pattern: Any) -> None:
    """Refuse what is no event pattern.

    Raises:
        BadPolicy: It says why.
    """
    if not isinstance(pattern, Mapping):
        raise BadPolicy("Filter is not an object")
    if not pattern:
        raise BadPolicy("Empty objects are not allowed")
    for key, value in pattern.items():
        _check_value(key, value)


def _check_value(key: str, value: Any) -> None:
    if key == OR and isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        for one in value:
            check(one)
    elif isinstance(value, Mapping):
        check(value)
    elif not isinstance(value, list):
        raise BadPolicy(f'"{key}" must be an object or an array')
    elif not value:
        raise BadPolicy("Empty arrays are not allowed")
    else:
        for condition in value:
            _check_condition(condition)


def _check_condition(condition: Any) -> None:
    if not isinstance(condition, Mapping) or len(condition) != 1:
        check_condition(condition)
        return
    [(operator, wanted)] = condition.items()
    if operator == "wildcard":
        _check_texts(operator, wanted)
    elif operator in ("prefix", "suffix") and isinstance(wanted, Mapping):
        [*names] = wanted
        if names != ["equals-ignore-case"]:
            raise BadPolicy(f"Unsupported {operator} pattern: {', '.join(names)}")
        _check_texts(operator, wanted["equals-ignore-case"])
    elif operator == "anything-but" and isinstance(wanted, Mapping):
        for inner, texts in wanted.items():
            if inner not in TEXTS:
                raise BadPolicy(f"Unsupported anything-but pattern: {inner}")
            for text in texts if isinstance(texts, list) else [texts]:
                _check_texts(inner, text)
    else:
        check_condition(condition)


def _check_texts(operator: str, wanted: Any) -> None:
    if not isinstance(wanted, str):
        raise BadPolicy(f"{operator} match pattern must be a string")


def detail_types(pattern: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a pattern asks of the type of an event, alternative by alternative."""
    for rule in rules(pattern):
        conditions = rule.get("detail-type")
        yield {} if conditions is None else {"detail-type": conditions}
