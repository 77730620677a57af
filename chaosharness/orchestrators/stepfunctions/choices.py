"""The rules of a Choice state in JSONPath: `{"Variable": "$.sum", "NumericGreaterThan": 10}`.

*Source*: Amazon States Language, "Choice State", and its table of comparison operators.
"""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from chaosharness.orchestrators.stepfunctions.errors import RUNTIME, StateError
from chaosharness.orchestrators.stepfunctions.paths import NoSuchPath, Scope, compile_path

__all__ = ["OPERATORS", "TIMESTAMP", "chosen", "parse_timestamp"]

#: What AWS takes as a time: ISO-8601 with T and an offset.
TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})")


def parse_timestamp(text: Any) -> datetime | None:
    """The time, or None where the text is not one that AWS takes."""
    if not isinstance(text, str) or not TIMESTAMP.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    return value if _is_number(value) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_KINDS: dict[str, Callable[[Any], Any]] = {
    "String": _text,
    "Numeric": _number,
    "Boolean": _truth,
    "Timestamp": parse_timestamp,
}
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
}
_IS: dict[str, Callable[[Any], bool]] = {
    "IsNull": lambda value: value is None,
    "IsString": lambda value: isinstance(value, str),
    "IsNumeric": _is_number,
    "IsBoolean": lambda value: isinstance(value, bool),
    "IsTimestamp": lambda value: parse_timestamp(value) is not None,
}
_COMPARISONS = {
    f"{kind}{sign}{path}": (read, compare, bool(path))
    for kind, read in _KINDS.items()
    for sign, compare in _SIGNS.items()
    for path in ("", "Path")
    if kind != "Boolean" or sign == "Equals"
}

#: Every word that may stand beside `Variable`.
OPERATORS = frozenset(_COMPARISONS) | frozenset(_IS) | {"IsPresent", "StringMatches"}


def chosen(rule: Mapping[str, Any], scope: Scope) -> bool:
    """Whether a rule holds; raises StateError where its Variable denotes nothing."""
    if "And" in rule:
        return all(chosen(each, scope) for each in rule["And"])
    if "Or" in rule:
        return any(chosen(each, scope) for each in rule["Or"])
    if "Not" in rule:
        return not chosen(rule["Not"], scope)
    word = next(word for word in rule if word in OPERATORS)
    wanted = rule[word]
    if word == "IsPresent":
        return bool(_present(rule["Variable"], scope) == wanted)
    value = _read(rule["Variable"], scope)
    if word in _IS:
        return bool(_IS[word](value) == wanted)
    if word == "StringMatches":
        return isinstance(value, str) and bool(_wildcard(wanted).fullmatch(value))
    read, compare, by_path = _COMPARISONS[word]
    one, other = read(value), read(_read(wanted, scope) if by_path else wanted)
    return one is not None and other is not None and compare(one, other)


def _present(path: str, scope: Scope) -> bool:
    try:
        compile_path(path).read(scope)
    except NoSuchPath:
        return False
    return True


def _read(path: str, scope: Scope) -> Any:
    try:
        return compile_path(path).read(scope)
    except NoSuchPath:
        raise StateError(
            RUNTIME, f"Invalid path '{path}': The choice state's condition path references an "
            "invalid value."
        ) from None  # fmt: skip


def _wildcard(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\\.|\*)", pattern)
    return re.compile(
        "".join(
            ".*" if part == "*" else re.escape(part[1:] if part.startswith("\\") else part)
            for part in parts
        ),
        re.DOTALL,
    )
