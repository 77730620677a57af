"""What the options of a definition may be: checked when it is made, and told in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from math import inf
from typing import Any, Final

from chaosharness.errors import InvalidValue
from chaosharness.kernel.places import asked_at

NAME_MAX: Final = 60
NAMES_MAX: Final = 20
LINE_MAX: Final = 400
"""How much of a name, of a list of names, and of a line about a mistake a sentence has room for."""

Validator = Callable[[Any, Any, Any], None]
"""As attrs calls it: with the definition, its attribute and the value."""


def refused(owner: str, name: str, allowed: str, value: Any) -> InvalidValue:
    """Return the error for a value that is not allowed, with the user's line.

    Args:
        owner: What takes the option: `Budget`, `check`.
        name: The option.
        allowed: What it may be: `a whole number from 1`.
        value: What it is.
    """
    return InvalidValue(f"{owner}: {name} must be {allowed}, not {spelled(value)}{asked_at()}")


def spelled(value: Any) -> str:
    """Return a value as code, cut where it is long, whatever its `__repr__` does."""
    try:
        text = repr(value)
    except Exception as error:
        return f"a {type(value).__name__} (its repr raised {type(error).__name__})"
    return text if len(text) <= 80 else f"{text[:79]}…"


def listed(names: Iterable[Any]) -> str:
    """Return names as a list in a sentence: long ones are cut, and of many the first are told."""
    found = [_cut(str(name), NAME_MAX) for name in names]
    rest = len(found) - NAMES_MAX
    return ", ".join(found[:NAMES_MAX]) + (f" and {rest} more" if rest > 0 else "")


def meant(name: str, known: Collection[str], *, least: float = 0.6) -> str:
    """Return ` Is 'approve' meant?` where a name that there is not is near to one that there is."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=least)
    return f" Is {near[0]!r} meant?" if near else ""


def mistakes(lines: list[str]) -> str:
    """Return what is wrong with a definition, a line each: of many the first are told."""
    rest = len(lines) - NAMES_MAX
    told = [_cut(line, LINE_MAX) for line in lines[:NAMES_MAX]]
    return "\n  ".join([*told, f"and {rest} more"] if rest > 0 else told)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _validator(is_allowed: Callable[[Any], bool], allowed: str) -> Validator:
    def validate(instance: Any, attribute: Any, value: Any) -> None:
        if not is_allowed(value):
            raise refused(type(instance).__name__, attribute.name, allowed, value)

    return validate


def is_whole(value: Any, least: int) -> bool:
    """Say whether a value is a whole number, and large enough."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_time(value: Any) -> bool:
    """Say whether a value is a number of seconds from 0 that comes to an end."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and 0 <= value < inf


def whole(least: int) -> Validator:
    """Allow a whole number, from the least one on."""
    return _validator(lambda value: is_whole(value, least), f"a whole number from {least}")


def whole_or_none(least: int) -> Validator:
    """Allow a whole number, from the least one on, or None."""
    return _validator(
        lambda value: value is None or is_whole(value, least),
        f"a whole number from {least}, or None",
    )


def text() -> Validator:
    """Allow text that is not empty."""
    return _validator(lambda value: isinstance(value, str) and value != "", "text")


def text_or_none() -> Validator:
    """Allow text, also empty, or None."""
    return _validator(lambda value: value is None or isinstance(value, str), "text, or None")


def flag() -> Validator:
    """Allow True or False."""
    return _validator(lambda value: isinstance(value, bool), "True or False")


def one_of(*choices: Any) -> Validator:
    """Allow one of these values."""
    kinds = {type(one) for one in choices}
    return _validator(
        lambda value: type(value) in kinds and value in choices,
        f"one of {', '.join(map(repr, choices))}",
    )


def maker_of_errors() -> Validator:
    """Allow a class of errors, or a function that makes an error of a text."""
    return _validator(
        lambda value: (
            issubclass(value, BaseException)
            if isinstance(value, type)
            else callable(value) and not isinstance(value, BaseException)
        ),
        "an exception class, or a function that makes an exception of a text",
    )


def function_or_none() -> Validator:
    """Allow a function, or None."""
    return _validator(lambda value: value is None or callable(value), "a function, or None")
