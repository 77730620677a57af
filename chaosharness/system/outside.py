"""What lives outside of the services and outlasts a run: for naming what makes two runs differ.

The state of modules is exchanged with each process (`handlers.module_state`). What is left is
what the functions of a system close over, what is shared by name, and objects of installed
packages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from chaosharness.handlers.own_code import Survey, is_own

DEPTH_MAX: Final = 4
PARTS_MAX: Final = 200
LOOKED_AT_MAX: Final = 5_000
NAMED_MAX: Final = 3

Print = tuple[Any, str]
"""What differs when a value has changed, and the value in a few words."""


def outside(functions: Iterable[Callable[..., Any]]) -> dict[str, Print]:
    """Return what outlasts a run, by name: what it holds, as far as that can be told.

    Args:
        functions: What a system was given.
    """
    given = tuple(functions)
    found: dict[str, Print] = {}
    seen: dict[int, Any] = {}
    for function in given:
        for name, value in _closed_over(function):
            _look(value, name, found, seen, 0)
    survey = Survey()
    survey.look(given)
    for names in survey.modules:
        module = str(names.get("__name__", ""))
        for name, value in list(names.items()):
            if not name.startswith("__") and not isinstance(value, _CODE):
                _look(value, f"{module}.{name}", found, seen, 0)
    return found


_CODE: Final = (type, FunctionType, ModuleType, MethodType)


def changed(before: dict[str, Print], after: dict[str, Print], but: Iterable[str]) -> list[str]:
    """Name what has changed, with its words before and after; what belongs to a process is left
    out (`but`, by name), as that begins anew by itself."""
    left_out = tuple(but)
    found: list[tuple[str, str]] = []
    for name, (mark, words) in after.items():
        known = before.get(name)
        inside = any(name == one or name.startswith((f"{one}.", f"{one}[")) for one in left_out)
        if known is None or known[0] == mark or inside:
            continue
        if any(name.startswith((f"{one[0]}.", f"{one[0]}[")) for one in found):
            continue  # the whole is named already
        found.append((name, f"{name} ({known[1]}, then {words})"))
    return [words for _, words in found[:NAMED_MAX]]


def _closed_over(function: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    if not isinstance(function, FunctionType) or not is_own(function.__globals__):
        return
    where = f"{function.__module__}.{function.__qualname__}"
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if isinstance(value, FunctionType):
            if depth < DEPTH_MAX and value is not function:
                yield from _closed_over(value, depth + 1)
        else:
            yield f"{name!r} around {where}", value
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"a default of {where}", value


def _look(value: Any, name: str, found: dict[str, Print], seen: dict[int, Any], depth: int) -> None:
    if isinstance(value, _PLAIN):
        found.setdefault(name, (value, _short(value)))
        return
    if id(value) in seen or len(found) > LOOKED_AT_MAX or isinstance(value, _CODE):
        return
    kind = type(value)
    if kind.__module__.partition(".")[0] == "chaosharness":
        return
    seen[id(value)] = value
    parts = list(islice(_parts(value), PARTS_MAX))
    inside = [one for _, one in parts]
    mark = (kind, _size(value), *(one if isinstance(one, _PLAIN) else id(one) for one in inside))
    words = kind.__name__ if (size := _size(value)) is None else f"a {kind.__name__} of {size}"
    found.setdefault(name, (mark, words))
    if depth < DEPTH_MAX:
        for part, one in parts:
            _look(one, f"{name}{part}", found, seen, depth + 1)


_PLAIN: Final = (type(None), bool, int, float, str, bytes)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _size(value: Any) -> int | None:
    return len(value) if isinstance(value, dict | list | set | frozenset | tuple) else None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a value holds: entries, or attributes."""
    if isinstance(value, dict):
        for key, one in list(value.items()):
            yield f"[{_short(key)}]", one
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield f"[{number}]", one
    elif isinstance(value, set | frozenset):
        for one in sorted(map(_short, value)):
            yield "", one
    else:
        for name, one in list(getattr(value, "__dict__", {}).items()):
            yield f".{name}", one
