"""What lives outside of the services and outlasts a run: for naming what makes two runs differ.

The state of modules is exchanged with each process (`handlers.module_state`). What is left is
what the functions of a system close over, what is shared by name, and objects of installed
packages.
"""

from __future__ import annotations

import builtins
import decimal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from chaosharness.handlers.insides import dict_of
from chaosharness.handlers.own_code import Survey, is_own, is_unready
from chaosharness.kernel.allowed import spelled

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
    roots = [pair for function in given for pair in _closed_over(function)]
    survey = Survey()
    survey.look(given)
    for names in survey.modules:
        module = str(names.get("__name__", ""))
        for name, value in list(names.items()):
            if not (name.startswith("__") or is_unready(value) or isinstance(value, _CODE)):
                roots.append((f"{module}.{name}", value))
    _look(roots, found)
    for one in (sys, builtins):
        there = frozenset(vars(one))
        found[one.__name__] = there, f"a module of {len(there)} names"
    found["sys.modules"] = frozenset(sys.modules), f"{len(sys.modules)} modules"
    numbers = decimal.getcontext()
    found["decimal.getcontext()"] = repr(numbers), f"prec {numbers.prec}, {numbers.rounding}"
    return found


_CODE: Final = (type, FunctionType, ModuleType, MethodType)


def changed(before: dict[str, Print], after: dict[str, Print], but: Iterable[str]) -> list[str]:
    """Name what has changed, with its words before and after; what belongs to a process is left
    out (`but`, by name), as that begins anew by itself."""
    left_out = tuple(but)
    around = {one.rpartition(".")[0] for one in left_out}  # looks another with what is in it
    found: list[tuple[str, str]] = []
    for name, (mark, words) in after.items():
        known = before.get(name)
        inside = any(name == one or name.startswith((f"{one}.", f"{one}[")) for one in left_out)
        if known is None or known[0] == mark or inside or name in around:
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


def _look(roots: Iterable[tuple[str, Any]], found: dict[str, Print]) -> None:
    """Note what these hold, and what is in it, what is nearest first: it has the plainest name."""
    ahead = deque((name, value, 0) for name, value in roots)
    seen: dict[int, Any] = {}
    while ahead and len(found) <= LOOKED_AT_MAX:
        name, value, depth = ahead.popleft()
        if is_unready(value):
            continue
        if isinstance(value, _PLAIN):
            found.setdefault(name, (value, _short(value)))
            continue
        kind = type(value)
        ours = kind.__module__.partition(".")[0] == "chaosharness"
        if id(value) in seen or ours or isinstance(value, _CODE):
            continue
        seen[id(value)] = value
        parts = list(islice(_parts(value), PARTS_MAX))
        size = _size(value)
        inside = [one if type(one) in _PLAIN else id(one) for _, one in parts]
        words = kind.__name__ if size is None else f"a {kind.__name__} of {size}"
        found.setdefault(name, ((kind, size, *inside), words))
        if depth < DEPTH_MAX:
            ahead.extend((f"{name}{part}", one, depth + 1) for part, one in parts)


_PLAIN: Final = (type(None), bool, int, float, str, bytes)


def _short(value: Any) -> str:
    text = spelled(value)
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
        for name, one in list((dict_of(value) or {}).items()):
            yield f".{name}", one
