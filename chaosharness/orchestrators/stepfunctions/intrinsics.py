"""The intrinsic functions of JSONPath states: `States.Format('{} paid', $.order)`.

*Source*: Amazon States Language, "Intrinsic Functions"; 119 answers recorded from AWS.
*Not modelled*: the limit of 10 nested calls.
"""

import base64
import functools
import hashlib
import json
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol

import attrs

from chaosharness.orchestrators.stepfunctions.errors import INTRINSIC, StateError
from chaosharness.orchestrators.stepfunctions.paths import Path, Scope, compile_path

__all__ = ["Call", "Chance", "compile_call", "is_call"]


class Chance(Protocol):
    """Where `States.UUID` and `States.MathRandom` take their answers from: never a real source."""

    def uuid(self) -> str: ...

    def fraction(self, seed: Any = None) -> float: ...


class BadCall(Exception):
    """The text is no call of an intrinsic function."""


@attrs.frozen
class Literal:
    """A quoted text, a number, `true`, `false` or `null`."""

    value: Any


@attrs.frozen
class Call:
    """A call that was read: the function's name and its arguments."""

    text: str
    name: str
    arguments: "tuple[Call | Path | Literal, ...]"

    def evaluate(self, scope: Scope, chance: Chance) -> Any:
        """The answer; raises StateError `States.IntrinsicFailure`, or NoSuchPath."""
        values = [_value(argument, scope, chance) for argument in self.arguments]
        function = _FUNCTIONS[self.name]
        try:
            return function(chance, *values)
        except _Refused as refused:
            raise StateError(INTRINSIC, str(refused)) from None
        except (AttributeError, TypeError, ValueError) as error:
            raise StateError(INTRINSIC, f"{self.text}: {error}") from None


class _Refused(Exception):
    """A function does not take these arguments."""


def _value(argument: "Call | Path | Literal", scope: Scope, chance: Chance) -> Any:
    match argument:
        case Literal(value):
            return value
        case Path():
            return argument.read(scope)
    return argument.evaluate(scope, chance)


def is_call(text: str) -> bool:
    """Whether a text is meant as a call."""
    return text.startswith("States.")


@functools.lru_cache(maxsize=4096)
def compile_call(text: str) -> Call:
    """Read a call; raises BadCall or BadPath where it is none."""
    call, end = _read_call(text, 0)
    if text[end:].strip():
        raise BadCall(f"{text!r}: {text[end:]!r} is left over")
    return call


_HEAD = re.compile(r"\s*States\.(\w+)\s*\(")
_QUOTED = re.compile(r"\s*'((?:\\.|[^'\\])*)'", re.DOTALL)
_PLAIN = re.compile(r"\s*([^,()\s]+)")


def _read_call(text: str, at: int) -> tuple[Call, int]:
    if not (head := _HEAD.match(text, at)):
        raise BadCall(f"{text!r} is no call of an intrinsic function")
    if head.group(1) not in _FUNCTIONS:
        raise BadCall(f"{text!r}: there is no function States.{head.group(1)}")
    arguments: list[Call | Path | Literal] = []
    at = head.end()
    while True:
        at = _spaces(text, at)
        if at >= len(text):
            raise BadCall(f"{text!r} has a ( without its )")
        if text[at] == ")":
            return Call(text, head.group(1), tuple(arguments)), at + 1
        if arguments:
            if text[at] != ",":
                raise BadCall(f"{text!r}: a comma is missing before {text[at:]!r}")
            at += 1
        argument, at = _read_argument(text, at)
        arguments.append(argument)


def _spaces(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _read_argument(text: str, at: int) -> tuple[Call | Path | Literal, int]:
    if _HEAD.match(text, at):
        return _read_call(text, at)
    if quoted := _QUOTED.match(text, at):
        return Literal(quoted.group(1)), quoted.end()
    start = _spaces(text, at)
    if text.startswith("$", start):
        end = _end_of_path(text, start)
        return compile_path(text[start:end].strip()), end
    if not (plain := _PLAIN.match(text, at)):
        raise BadCall(f"{text!r} has an empty argument")
    try:
        return Literal(json.loads(plain.group(1))), plain.end()
    except ValueError:
        raise BadCall(f"{text!r}: {plain.group(1)!r} is no argument") from None


def _end_of_path(text: str, at: int) -> int:
    depth, quote = 0, ""
    while at < len(text):
        letter = text[at]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([":
            depth += 1
        elif depth and letter in ")]":
            depth -= 1
        elif not depth and letter in ",)":
            break
        at += 1
    return at


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def java_text(value: Any) -> str:
    """A value as `States.Format` prints it: objects as Java prints a map."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={java_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(java_text(each) for each in value) + "]"
    return json.dumps(value)


def _format(chance: Chance, template: str, *values: Any) -> str:
    parts = re.split(r"(\\.|\{\})", template)
    if parts.count("{}") != len(values):
        raise _Refused(
            f"States.Format: {parts.count('{}')} places and {len(values)} values: {template!r}"
        )
    left = iter(values)
    return "".join(java_text(next(left)) if part == "{}" else _unescaped(part) for part in parts)


def _string_to_json(chance: Chance, text: str) -> Any:
    return json.loads(text) if text.strip() else None


def _json_to_string(chance: Chance, value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _array(chance: Chance, *values: Any) -> list[Any]:
    return [
        _unescaped(each) if isinstance(each, str) and "\\'" in each else each for each in values
    ]


def _partition(chance: Chance, values: list[Any], size: float) -> list[list[Any]]:
    step = _whole(size)
    if not isinstance(values, list) or step < 1:
        raise _Refused("States.ArrayPartition takes an array and a positive number")
    return [values[at : at + step] for at in range(0, len(values), step)]


def _contains(chance: Chance, values: list[Any], wanted: Any) -> bool:
    if not isinstance(values, list):
        raise _Refused("States.ArrayContains takes an array")
    return any(_same(each, wanted) for each in values)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _range(chance: Chance, first: float, last: float, step: float) -> list[int]:
    by = _whole(step)
    if by == 0:
        raise _Refused("States.ArrayRange cannot step by 0")
    end = _whole(last) + (1 if by > 0 else -1)
    numbers = range(_whole(first), end, by)
    if len(numbers) > 1000:
        raise _Refused("States.ArrayRange gives at most 1000 numbers")
    return list(numbers)


def _get_item(chance: Chance, values: list[Any], index: float) -> Any:
    at = _whole(index)
    if not isinstance(values, list) or not 0 <= at < len(values):
        raise _Refused(f"States.ArrayGetItem: there is no item {at}")
    return values[at]


def _length(chance: Chance, values: list[Any]) -> int:
    if not isinstance(values, list):
        raise _Refused("States.ArrayLength takes an array")
    return len(values)


def _unique(chance: Chance, values: list[Any]) -> list[Any]:
    if not isinstance(values, list):
        raise _Refused("States.ArrayUnique takes an array")
    kept: list[Any] = []
    for each in values:
        if not any(_same(each, other) for other in kept):
            kept.append(each)
    return kept


def _encode(chance: Chance, text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(chance: Chance, text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384",
           "SHA-512": "sha512"}  # fmt: skip


def _hash(chance: Chance, data: Any, algorithm: str) -> str:
    if algorithm not in _HASHES:
        raise _Refused(f"States.Hash: {algorithm!r} is none of {', '.join(_HASHES)}")
    text = data if isinstance(data, str) else _json_to_string(chance, data)
    return hashlib.new(_HASHES[algorithm], text.encode()).hexdigest()


def _merge(chance: Chance, one: dict[str, Any], other: dict[str, Any], deep: bool) -> Any:
    if deep:
        raise _Refused("States.JsonMerge: only the shallow form exists (false)")
    if not isinstance(one, dict) or not isinstance(other, dict):
        raise _Refused("States.JsonMerge takes two objects")
    return {**one, **other}


def _random(chance: Chance, first: float, last: float, seed: Any = None) -> int:
    low, high = _whole(first), _whole(last)
    return low + int(chance.fraction(seed) * (high - low))


def _add(chance: Chance, one: float, other: float) -> int:
    return _whole(one) + _whole(other)


def _split(chance: Chance, text: str, letters: str) -> list[str]:
    cut = re.split("[" + re.escape(_unescaped(letters)) + "]", text)
    return [part for part in cut if part]


def _uuid(chance: Chance) -> str:
    return chance.uuid()


def _whole(number: float) -> int:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _Refused(f"{number!r} is no number")
    return int(Decimal(str(number)).to_integral_value(ROUND_HALF_UP))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Array": _array,
    "ArrayContains": _contains,
    "ArrayGetItem": _get_item,
    "ArrayLength": _length,
    "ArrayPartition": _partition,
    "ArrayRange": _range,
    "ArrayUnique": _unique,
    "Base64Decode": _decode,
    "Base64Encode": _encode,
    "Format": _format,
    "Hash": _hash,
    "JsonMerge": _merge,
    "JsonToString": _json_to_string,
    "MathAdd": _add,
    "MathRandom": _random,
    "StringSplit": _split,
    "StringToJson": _string_to_json,
    "UUID": _uuid,
}
