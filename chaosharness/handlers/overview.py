"""One look at all things that hold state: nearly always, all are as they were.

Most of them are plain dicts, and names of modules and classes. Those are compared with one
another in C, all at once; only where something differs are they compared one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from ctypes import c_void_p, sizeof, string_at
from itertools import chain, repeat
from operator import methodcaller
from sys import byteorder, implementation
from typing import Any, Final

from chaosharness.handlers.held import MISSING, Held, Mapping, Variable
from chaosharness.handlers.namespaces import Names

_VALUES: Final = methodcaller("values")

Sight = tuple[tuple[Any, ...], list[int], Hashable]
"""Objects, which are kept so that no other takes the address of one; how many stand in each place;
and their addresses: of two sights these two are compared, and never the objects."""

NOTHING: Final[Sight] = (), [], None


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
        self._flat = NOTHING
        self._first: list[Any] = []
        self._values = NOTHING

    def take(self) -> list[Any]:
        """Return a copy of what each thing holds now."""
        flat, values = self._now(), self._assigned()
        same = values[1:] == self._values[1:]
        self._values = values
        if flat[1:] != self._flat[1:]:
            self._flat = flat
            self._first = [one.take() for one in self._things]
        elif self._apart or not same:
            first = list(self._first)
            for number in self._apart:
                first[number] = self._things[number].take()
            for number, value in () if same else zip(self._variables, values[0], strict=True):
                first[number] = value
            self._first = first
        return self._first

    def changed(self, first: list[Any]) -> list[int]:
        """Return the numbers of the things that do not hold any more what `take` returned."""
        things = self._things
        found = [number for number in self._apart if not things[number].is_as(first[number])]
        if first is not self._first or self._assigned()[1:] != self._values[1:]:
            variables = self._variables
            found += [number for number in variables if not things[number].is_as(first[number])]
        if first is self._first and self._now()[1:] == self._flat[1:]:
            return sorted(found)
        found += [number for number in self._together if not things[number].is_as(first[number])]
        return sorted(found)

    def _assigned(self) -> Sight:
        """Return the values of the names that code of the user's assigns to, in modules."""
        if not self._variables:
            return NOTHING
        values = tuple(map(dict.get, self._homes, self._names, repeat(MISSING)))
        return values, [], _addresses(values)

    def _now(self) -> Sight:
        """Return the keys and the values of all dicts and classes, and how many each has."""
        spaces = [*self._plain, *map(vars, self._classes)]
        flat = *chain.from_iterable(spaces), *chain.from_iterable(map(_VALUES, spaces))
        return flat, [*map(len, spaces)], _addresses(flat)


def _one_by_one(objects: tuple[Any, ...]) -> Hashable:
    return tuple(map(id, objects))


def _at_once(objects: tuple[Any, ...]) -> Hashable:
    """Return the memory that the tuple is: a twentieth of the time that asking each takes. A large
    system holds thousands of names, which are looked at twice in each run."""
    return string_at(id(objects) + _HEADER, len(objects) * _ADDRESS)


def _quickest() -> Callable[[tuple[Any, ...]], Hashable]:
    """Return what tells addresses: from memory only where a tuple is seen to be made of them."""
    if implementation.name != "cpython":
        return _one_by_one
    probe = tuple(object() for _ in range(3))
    known = b"".join(id(one).to_bytes(_ADDRESS, byteorder) for one in probe)
    return _at_once if _at_once(probe) == known else _one_by_one


_ADDRESS: Final = sizeof(c_void_p)
_HEADER: Final = tuple.__basicsize__
_addresses: Final = _quickest()
