"""What kinds of objects hold what a program knows, and how that is read.

An object of the standard library or of a client library is nobody's state, as a rule: a
connection, a lock, an event loop. Some of them gather what the program gives them, and do
something with it later: those are read, by what they keep it in.

Not modelled:
    State inside objects that are written in C, and inside third-party objects below their own
    attributes.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from types import BuiltinFunctionType, MemberDescriptorType, ModuleType
from typing import Any, Final
from uuid import UUID

from chaosharness.handlers.insides import dict_of, reader_of

__all__ = ["ATOMS", "ITERATORS", "SHAPES", "STATELESS", "VALUES", "Shape", "attributes", "shape_of"]

ATOMS: Final = frozenset({int, float, str, bytes, bool, type(None), complex})
VALUES: Final = frozenset({date, datetime, time_of_day, timedelta, Decimal, UUID})
_NOTHING: Final[dict[str, int]] = {}
ITERATORS: Final = frozenset(
    {
        *map(type, (iter([]), iter(()), iter(""), iter(range(1)), iter(range(1 << 70)))),
        *map(type, (iter(_NOTHING), iter(_NOTHING.values()), iter(_NOTHING.items()))),
    }
)
STATELESS: Final = frozenset(
    {ModuleType, BuiltinFunctionType, property, range, slice, ThreadPoolExecutor}
)
_STATELESS_HOMES: Final = frozenset(
    {
        *("chaosharness", "sqlite3", "logging", "random", "typing", "re", "abc", "msgspec", "json"),
        *("_asyncio", "_thread", "_contextvars", "contextvars", "greenlet", "weakref", "outcome"),
        *("asyncio", "trio", "anyio", "types", "time", "operator", "datetime", "zoneinfo"),
        # clients of databases: what a program knows lies there, and caches of theirs count uses
        *("sqlalchemy", "aiosqlite", "psycopg", "psycopg_binary", "asyncpg", "redis", "fakeredis"),
        *("boto3", "botocore", "aiobotocore", "aioboto3"),  # clients: what they know is on AWS
    }
)
_CARRIERS: Final = frozenset(
    {
        *("Queue", "LifoQueue", "PriorityQueue", "Event", "Lock", "Condition", "Semaphore"),
        *(
            "BoundedSemaphore",
            "SimpleNamespace",
            "MemorySendChannel",
            "MemoryReceiveChannel",
            "MemoryChannelState",
        ),
    }
)
"""Classes of these homes whose objects do hold what the program knows."""


_READERS: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (tuple, tuple.__iter__),
    (list, list.__iter__),
    (deque, deque.__iter__),
    (dict, dict.items),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
    (int, lambda one: (int.__int__(one),)),
    (float, lambda one: (float.__float__(one),)),
    (str, lambda one: (str.__str__(one),)),
)
"""How to read what a container, or a subclass of a plain value, holds: by no code of its class."""


def _thread_local(one: Any) -> Any:
    return dict_of(one)


def _session(one: Any) -> Any:
    """What an SQLAlchemy session will write: new objects, deleted ones, changed ones."""
    changed = [state.obj() for state in one.identity_map._modified]
    return list(one._new.values()), list(one._deleted.values()), changed


_OF_EACH_THREAD: Final = frozenset(
    {
        *("_name", "_ident", "_native_id", "_number_in_run", "_in_run", "_initialized"),
        *("_tstate_lock", "_started", "_handle", "_stderr", "_invoke_excepthook"),
        *("_context", "_os_thread_handle", "_daemonic"),
    }
)
"""Attributes of a thread that say which one it is, and not what it is there to do."""


def _thread(one: Any) -> Any:
    """What a thread is there to do, and whether it has done it: not which number it has."""
    return [(name, value) for name, value in vars(one).items() if name not in _OF_EACH_THREAD]


def _queue(one: Any) -> Any:
    """What is in a queue, and whether anything is to be done: not how much was ever put there."""
    return [
        (name, value > 0 if name.endswith("unfinished_tasks") else value)
        for name, value in vars(one).items()
    ]


_GATHERING: Final[dict[tuple[str, str], Callable[[Any], Any]]] = {
    ("_thread", "_local"): _thread_local,
    ("threading", "Thread"): _thread,
    ("queue", "Queue"): _queue,
    ("asyncio", "Queue"): _queue,
    ("concurrent", "Future"): lambda one: (one._state, one._result, one._exception),
    ("_contextvars", "ContextVar"): lambda one: one.get(None),
    ("weakref", "WeakValueDictionary"): lambda one: list(one.data),
    ("chaosharness", "Cursor"): lambda one: getattr(one, "taken", 0),
    ("psycopg", "BaseCursor"): lambda one: getattr(one, "_pos", 0),
    ("asyncpg", "Cursor"): lambda one: len(one._buffer) if hasattr(one, "_buffer") else 0,
    ("aiosqlite", "Cursor"): lambda one: one._cursor,
    ("sqlalchemy", "Session"): _session,
    ("sqlalchemy", "AsyncSession"): lambda one: one.sync_session,
    ("sqlalchemy", "CursorResult"): lambda one: (one.cursor, one.cursor_strategy),
    ("sqlalchemy", "BufferedRowCursorFetchStrategy"): lambda one: len(one._rowbuffer),
    ("sqlalchemy", "FullyBufferedCursorFetchStrategy"): lambda one: len(one._rowbuffer),
    ("sqlalchemy", "FilterResult"): lambda one: one._real_result,
    # of a client of HTTP what goes with each request: its pool of connections is no state
    ("requests", "Session"): lambda one: (one.headers._store, one.cookies._cookies),
    ("httpx", "BaseClient"): lambda one: (one._headers._list, one._cookies.jar._cookies),
    ("aiohttp", "ClientSession"): lambda one: (
        list(one._default_headers.items()),
        one._cookie_jar._cookies,
    ),
    ("cimpl", "_AdminClientImpl"): lambda one: None,  # it asks, and keeps nothing
    ("cimpl", "TopicPartition"): lambda one: (one.topic, one.partition, one.offset),
    ("redis", "Pipeline"): lambda one: one.command_stack,
    ("boto3", "BatchWriter"): lambda one: one._items_buffer,
}
"""Classes of these homes whose objects gather what the program gives them, and how to read it.

By package and name, so that none of them is imported; subclasses count too.
"""


def _gathered(kind: type) -> Callable[[Any], Any] | None:
    for base in kind.__mro__:
        found = _GATHERING.get((base.__module__.partition(".")[0], base.__name__))
        if found is not None:
            return found
    return None


class Shape:
    """What matters of a class.

    Attributes:
        name: What its fingerprints begin with.
        stateless: Whether its objects are nobody's state: the harness's, an event loop's.
        foreign: Whether it comes from an installed package: only its own attributes are read.
        hidden: Whether its objects hold what no attribute shows.
        read: Reads what a container holds; None for what is none.
        pairs, unordered: What kind of container it is.
        held: Reads the dict of its attributes.
        slots: Descriptors of its slots, by name.
        attributes: Whether its objects may have any: a tuple has none.
        gathered: Reads what an object of a library was given; None for one that gathers nothing.
    """

    __slots__ = (
        *("attributes", "foreign", "gathered", "held", "hidden", "name", "pairs"),
        *("read", "slots", "stateless", "unordered"),
    )

    def __init__(self, kind: type) -> None:
        self.name = kind.__qualname__
        self.held = reader_of(kind)
        home = kind.__module__.partition(".")[0]
        self.gathered = _gathered(kind)
        self.stateless = home in _STATELESS_HOMES and kind.__name__ not in _CARRIERS
        self.stateless &= self.gathered is None
        self.stateless &= kind not in VALUES
        self.stateless |= kind in STATELESS or issubclass(kind, type)
        self.read = next((read for base, read in _READERS if issubclass(kind, base)), None)
        self.pairs = issubclass(kind, dict)
        self.unordered = issubclass(kind, (set, frozenset))
        self.slots = {
            name: one
            for base in kind.__mro__
            for name, one in vars(base).items()
            if type(one) is MemberDescriptorType
        }
        file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
        self.foreign = "site-packages" in file or "dist-packages" in file
        self.hidden = any(map(_hides, kind.__mro__))
        has_dict = any("__dict__" in vars(base) for base in kind.__mro__)
        self.attributes = bool(self.slots) or has_dict or kind.__dictoffset__ != 0


def _hides(kind: type) -> bool:
    """Say whether a class is written in C, and none of those whose objects can be read."""
    return (
        kind.__dictoffset__ == 0
        and "__slots__" not in vars(kind)
        and kind is not object
        and kind.__module__.partition(".")[0] not in _STATELESS_HOMES
        and not any(kind is base for base, _ in _READERS)
    )


SHAPES: Final[dict[type, Shape]] = {}


def shape_of(kind: type) -> Shape:
    found = SHAPES.get(kind)
    if found is None:
        found = SHAPES[kind] = Shape(kind)
    return found


def attributes(value: Any) -> Sequence[tuple[str, Any]]:
    """Return the attributes that an object holds, without running any code of its class."""
    kind = type(value)
    shape = SHAPES.get(kind) or shape_of(kind)
    held = shape.held(value)
    found = tuple(held.items()) if type(held) is dict else ()
    return (*found, *_in_slots(value, shape.slots)) if shape.slots else found


def _in_slots(value: Any, slots: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, descriptor in slots.items():
        try:
            yield name, descriptor.__get__(value)
        except AttributeError:
            continue
