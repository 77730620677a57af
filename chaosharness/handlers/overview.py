"""One look at all things that hold state: nearly always, all are as they were.

Most of them are plain dicts, and names of modules and classes. Those are compared with one
another in C, all at once; only where something differs are they compared one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import c_void_p, sizeof, string_at
from itertools import chain, repeat
from operator import is_, methodcaller
from sys import byteorder, implementation
from typing import Any, Final

from chaosharness.handlers.held import MISSING, Held, Mapping, Variable
from chaosharness.handlers.namespaces import Names

_VALUES: Final = methodcaller("values")


class Look:
    """Copies and compares what many things hold.

    Args:
        things: The things, in the order of their numbers.
    """

    def __init__(self, things: Sequence[Held]) -> None:
        self._things = things
        self._together: list[int] = []
        self._apart: list[int] = []
        self._variables: list[int] = []
        for number, one in enumerate(things):
            together = type(one) is Mapping and type(one.thing) is dict
            together |= type(one) is Names and (
                type(one.thing) is dict or isinstance(one.thing, type)
            )
            if type(one) is Variable and type(one.thing) is dict:
                self._variables.append(number)
            else:
                (self._together if together else self._apart).append(number)
        variables = [one for one in things if type(one) is Variable and type(one.thing) is dict]
        self._homes = [one.thing for one in variables]
        self._names = [one.attribute for one in variables]
        self._plain = [
            things[number].thing for number in self._together if type(things[number].thing) is dict
        ]
        self._classes = [
            things[number].thing
            for number in self._together
            if type(things[number].thing) is not dict
        ]
        self._flat: tuple[tuple[Any, ...], tuple[Any, ...]] = (), ()
        self._counts: list[int] = []
        self._first: list[Any] = []
        self._values: tuple[Any, ...] = ()

    def take(self) -> list[Any]:
        """Return a copy of what each thing holds now."""
        flat, counts = self._now()
        values = self._assigned()
        same = _alike(values, self._values)
        self._values = values
        if not (counts == self._counts and all(map(_alike, flat, self._flat))):
            self._flat, self._counts = flat, counts
            self._first = [one.take() for one in self._things]
        elif self._apart or not same:
            first = list(self._first)
            for number in self._apart:
                first[number] = self._things[number].take()
            for number, value in () if same else zip(self._variables, values, strict=True):
                first[number] = value
            self._first = first
        return self._first

    def changed(self, first: list[Any]) -> list[int]:
        """Return the numbers of the things that do not hold any more what `take` returned."""
        things = self._things
        found = [number for number in self._apart if not things[number].is_as(first[number])]
        if first is not self._first or not _alike(self._assigned(), self._values):
            variables = self._variables
            found += [number for number in variables if not things[number].is_as(first[number])]
        flat, counts = self._now()
        if first is self._first and counts == self._counts and all(map(_alike, flat, self._flat)):
            return sorted(found)
        found += [number for number in self._together if not things[number].is_as(first[number])]
        return sorted(found)

    def _assigned(self) -> tuple[Any, ...]:
        """Return the values of the names that code of the user's assigns to, in modules."""
        return tuple(map(dict.get, self._homes, self._names, repeat(MISSING)))

    def _now(self) -> tuple[tuple[tuple[Any, ...], tuple[Any, ...]], list[int]]:
        """Return the keys and the values of all dicts and classes, and how many each has."""
        spaces = [*self._plain, *map(vars, self._classes)]
        values = chain.from_iterable(map(_VALUES, spaces))
        return (tuple(chain.from_iterable(spaces)), tuple(values)), list(map(len, spaces))


def _one_by_one(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(map(is_, one, other))


def _at_once(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Compare the addresses that both tuples are made of: a twentieth of the time, since a
    large system holds thousands of names, and looks at them twice in each run."""
    size = len(one) * _ADDRESS
    return len(one) == len(other) and _contents(one, size) == _contents(other, size)


def _contents(one: tuple[Any, ...], size: int) -> bytes:
    return string_at(id(one) + tuple.__basicsize__, size)


def _quickest() -> Callable[[tuple[Any, ...], tuple[Any, ...]], bool]:
    """Return what compares tuples: by address only where CPython is seen to lay them out so."""
    if implementation.name != "cpython":
        return _one_by_one
    probe = tuple(object() for _ in range(3))
    addresses = b"".join(id(one).to_bytes(_ADDRESS, byteorder) for one in probe)
    return _at_once if _contents(probe, len(addresses)) == addresses else _one_by_one


_ADDRESS: Final = sizeof(c_void_p)
_alike: Final = _quickest()
