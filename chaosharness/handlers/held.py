"""Things that hold state in a module of the user's: how each is copied, compared and put back.

A copy is shallow and what is put back goes into the same object, so that whoever else holds
the object (a closure, another module's `from shop import SEEN`) sees it. What is inside, and can
itself change, is a thing of its own.
"""

from __future__ import annotations

import ast
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import _lru_cache_wrapper, lru_cache
from itertools import count, repeat
from operator import is_
from types import CellType, MemberDescriptorType, MethodWrapperType
from typing import Any, Final

from chaosharness.handlers.insides import dict_of
from chaosharness.handlers.pools import Pool

MISSING: Final = object()

SEEN_MAX: Final = 10_000
"""Entries of a list, at least, that a test sees after many runs: the last ones."""


class Held:
    """One thing that holds state, and how to move that state.

    Attributes:
        name: Where it is found, as in `shop.payments.SEEN`.
        thing: The object.
        is_lost: Whether nothing of what a run did to it is left for tests to see: a connection.
    """

    __slots__ = ("is_lost", "name", "thing")

    def __init__(self, name: str, thing: Any) -> None:
        self.name = name
        self.thing = thing
        self.is_lost = False

    def take(self) -> Any:
        """Return a copy of what it holds now."""
        raise NotImplementedError

    def put(self, held: Any) -> None:
        """Have it hold what `take` once returned."""
        raise NotImplementedError

    def is_as(self, held: Any) -> bool:
        """Say whether it still holds what `take` once returned."""
        raise NotImplementedError

    def seen(self, outside: Any, was: Any, now: Any) -> Any:
        """Return what it would hold if all processes shared it: what a test sees afterwards.

        Called only where `now` is not as it `was`.

        Args:
            outside: That, so far.
            was: What it held when a process went on.
            now: What it holds as that process stops.
        """
        return now

    def own(self, first: Any, seen: Any) -> list[str]:
        """Name what of it belongs to a process, with all below.

        Args:
            first: What it held when the run began.
            seen: What it would hold if all processes shared it.
        """
        return [self.name]


def alike(one: Any, other: Any) -> bool:
    """Say whether two sequences hold the very same objects, in the same order."""
    return len(one) == len(other) and all(map(is_, one, other))


class Mapping(Held):
    """A dict of any kind, or the attributes of an object."""

    __slots__ = ()

    def take(self) -> Any:
        return list(self.thing), list(self.thing.values())

    def put(self, held: Any) -> None:
        thing = self.thing
        ordered = isinstance(thing, OrderedDict)
        (OrderedDict if ordered else dict).clear(thing)
        put: Callable[..., Any] = OrderedDict.__setitem__ if ordered else dict.__setitem__
        for key, value in zip(*held, strict=True):
            put(thing, key, value)

    def is_as(self, held: Any) -> bool:
        thing = self.thing
        keys, values = held
        return len(thing) == len(keys) and (
            all(map(is_, thing.values(), values)) and all(map(is_, thing, keys))
        )

    def seen(self, outside: Any, was: Any, now: Any) -> Any:
        together = dict(zip(*outside, strict=True))
        before, after = dict(zip(*was, strict=True)), dict(zip(*now, strict=True))
        for key in before:
            if key not in after:
                together.pop(key, None)
        for key, value in after.items():
            if key not in before or before[key] is not value:
                together[key] = value
        return list(together), list(together.values())


class PoolOfThreads(Held):
    """A pool of threads: each process has its own."""

    __slots__ = ()

    def take(self) -> Any:
        return Pool(self.thing)

    def put(self, held: Any) -> None:
        held.put(self.thing)

    def is_as(self, held: Any) -> bool:
        return bool(held.is_as(self.thing))

    def seen(self, outside: Any, was: Any, now: Any) -> Any:
        return outside  # no thread of a run is left once it is over


class Sequence(Held):
    """A list, or a deque."""

    __slots__ = ()

    def take(self) -> Any:
        return list(self.thing)

    def put(self, held: Any) -> None:
        self.thing.clear()
        self.thing.extend(held)

    def is_as(self, held: Any) -> bool:
        return alike(self.thing, held)

    def seen(self, outside: Any, was: Any, now: Any) -> Any:
        if not alike(now[: len(was)], was):
            return now
        outside.extend(now[len(was) :])
        return outside[-SEEN_MAX:] if len(outside) > 2 * SEEN_MAX else outside


class Set(Held):
    """A set."""

    __slots__ = ()

    def take(self) -> Any:
        return self.thing.copy()

    def put(self, held: Any) -> None:
        self.thing.clear()
        self.thing.update(held)

    def is_as(self, held: Any) -> bool:
        return len(self.thing) == len(held) and bool(self.thing == held)

    def seen(self, outside: Any, was: Any, now: Any) -> Any:
        outside |= now - was
        outside -= was - now
        return outside


class Bytes(Held):
    """A bytearray."""

    __slots__ = ()

    def take(self) -> Any:
        return bytes(self.thing)

    def put(self, held: Any) -> None:
        self.thing[:] = held

    def is_as(self, held: Any) -> bool:
        return bool(self.thing == held)


class Chance(Held):
    """A generator of random numbers."""

    __slots__ = ()

    def take(self) -> Any:
        return self.thing.getstate()

    def put(self, held: Any) -> None:
        self.thing.setstate(held)

    def is_as(self, held: Any) -> bool:
        return bool(self.thing.getstate() == held)


class Cell(Held):
    """A variable of an outer function, as a decorator's own."""

    __slots__ = ()
    thing: CellType

    def take(self) -> Any:
        try:
            return self.thing.cell_contents
        except ValueError:
            return MISSING

    def put(self, held: Any) -> None:
        if held is MISSING:
            del self.thing.cell_contents
        else:
            self.thing.cell_contents = held

    def is_as(self, held: Any) -> bool:
        return self.take() is held


class Slots(Held):
    """The attributes of an object that has `__slots__`."""

    __slots__ = ("names", "read")

    def __init__(self, name: str, thing: Any, names: Iterable[str]) -> None:
        super().__init__(name, thing)
        self.names = tuple(names)
        self.read = _slot if hasattr(type(thing), "__getattr__") else getattr

    def take(self) -> Any:
        return list(map(self.read, repeat(self.thing), self.names, repeat(MISSING)))

    def put(self, held: Any) -> None:
        for name, value in zip(self.names, held, strict=True):
            if value is not MISSING:
                object.__setattr__(self.thing, name, value)
            elif self.read(self.thing, name, MISSING) is not MISSING:
                object.__delattr__(self.thing, name)

    def is_as(self, held: Any) -> bool:
        return alike(self.take(), held)


def _slot(thing: Any, name: str, default: Any) -> Any:
    """Return what a slot holds, without asking the `__getattr__` of code that is not running."""
    try:
        return object.__getattribute__(thing, name)
    except AttributeError:
        return default


class Variable(Held):
    """One name of a module or a class, that code of the user's assigns to."""

    __slots__ = ("attribute",)

    def __init__(self, name: str, thing: Any, attribute: str) -> None:
        super().__init__(name, thing)
        self.attribute = attribute

    def take(self) -> Any:
        thing = self.thing
        names = vars(thing) if isinstance(thing, type) else thing
        return names.get(self.attribute, MISSING)

    def put(self, held: Any) -> None:
        assign(self.thing, self.attribute, held)

    def is_as(self, held: Any) -> bool:
        return self.take() is held


class Stand(Held):
    """A thing that cannot be set back (a count, an `lru_cache`): each process has another one.

    It is found by name in modules and classes; who holds it by other means keeps the first.

    Attributes:
        now: What stands there now.
        places: Where it is found: names of a module, or a class, and the name there.
        wrapped: What it is wrapped in at some of those, by place: `staticmethod`, `classmethod`.
    """

    __slots__ = ("_fresh", "now", "places", "wrapped")

    def __init__(self, name: str, thing: Any, fresh: Callable[[Any], Any]) -> None:
        super().__init__(name, thing)
        self._fresh = fresh
        self.now = thing
        self.places: list[tuple[Any, str]] = []
        self.wrapped: dict[tuple[int, str], Callable[[Any], Any]] = {}

    def take(self) -> Any:
        return self.now, _mark(self.now)

    def put(self, held: Any) -> None:
        one, mark = held
        if _mark(one) != mark:
            one = self._fresh((one, mark))
        self.now = one
        for thing, attribute in self.places:
            wrap = self.wrapped.get((id(thing), attribute))
            assign(thing, attribute, one if wrap is None else wrap(one))

    def is_as(self, held: Any) -> bool:
        return held[0] is self.now and held[1] == _mark(self.now)


def assign(thing: Any, name: str, value: Any) -> None:
    """Bind a name of a module, given as its dict, or of a class; or take it away."""
    if isinstance(thing, type):
        if value is not MISSING:
            type.__setattr__(thing, name, value)
        elif name in vars(thing):
            type.__delattr__(thing, name)
    elif value is MISSING:
        thing.pop(name, None)
    else:
        thing[name] = value


def _mark(one: Any) -> Any:
    """Return what differs when a count or a cache has been used."""
    if isinstance(one, _lru_cache_wrapper):
        return one.cache_info().currsize
    return repr(one.__self__ if isinstance(one, MethodWrapperType) else one)


def _fresh_cache(held: Any) -> Any:
    one = held[0]
    made = lru_cache(**one.cache_parameters())(one.__wrapped__)
    vars(made).update(vars(one))
    return made


def _fresh_count(held: Any) -> Any:
    one, mark = held
    made = count(*ast.literal_eval(f"({mark.removeprefix('count(').removesuffix(')')},)"))
    return made.__next__ if isinstance(one, MethodWrapperType) else made


def held(name: str, value: Any) -> Held | None:
    """Return how the state of a built-in thing is moved; None where it has none, or none we know.

    Objects of the user's classes are not decided here. Locks need no moving: each incarnation
    has a state of them already (see `locks`).
    """
    if type(value) is ThreadPoolExecutor:
        return PoolOfThreads(name, value)
    if isinstance(value, dict):
        return Mapping(name, value)
    if isinstance(value, list | deque):
        return Sequence(name, value)
    if isinstance(value, set):
        return Set(name, value)
    if isinstance(value, bytearray):
        return Bytes(name, value)
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return Chance(name, value)
    return None


def stand(name: str, value: Any) -> Stand | None:
    """Return how a thing is replaced that cannot be set back; None if it is not of that kind."""
    if isinstance(value, _lru_cache_wrapper):
        return Stand(name, value, _fresh_cache)
    counts = value.__self__ if isinstance(value, MethodWrapperType) else value
    if type(counts) is count:
        return Stand(name, value, _fresh_count)
    return None


def attributes(name: str, thing: Any) -> list[Held]:
    """Return how the attributes of an object are moved: its `__dict__`, and its slots."""
    found: list[Held] = []
    names = dict_of(thing)
    if type(thing).__module__ == "threading":
        # what it borrows from its lock is put there anew while a run lasts, and is no state
        found.append(
            Slots(name, thing, [one for one, now in vars(thing).items() if not callable(now)])
        )
    elif isinstance(names, MutableMapping):
        found.append(Mapping(name, names))
    slots = [slot for kind in type(thing).__mro__ for slot in _slots(kind)]
    if slots:
        found.append(Slots(name, thing, slots))
    return found


def fields(thing: Any) -> list[tuple[str, Any]]:
    """Return the attributes of an object, by name, without having code of its class run."""
    names = dict_of(thing)
    found = list(names.items()) if isinstance(names, dict) else []
    for kind in type(thing).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, MemberDescriptorType):
                try:
                    found.append((name, slot.__get__(thing)))
                except AttributeError:
                    continue  # nothing is there yet
    return found


def _slots(kind: type) -> list[str]:
    given = vars(kind).get("__slots__", ())
    names = [given] if isinstance(given, str) else list(given)
    private = f"_{kind.__name__.lstrip('_')}"
    return [
        f"{private}{name}" if name.startswith("__") and not name.endswith("__") else name
        for name in names
        if name not in ("__dict__", "__weakref__")
    ]
