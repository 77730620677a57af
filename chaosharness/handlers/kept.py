"""Objects of Python's library that hold state: how each is copied, compared and put back."""

from __future__ import annotations

import io
import os
import sqlite3
import weakref
from array import array
from typing import Any, Final

from chaosharness.handlers.held import Held, Mapping


class Array(Held):
    """An `array.array`."""

    __slots__ = ()

    def take(self) -> Any:
        return self.thing.tobytes()

    def put(self, held: Any) -> None:
        del self.thing[:]
        self.thing.frombytes(held)

    def is_as(self, held: Any) -> bool:
        return bool(self.thing.tobytes() == held)


class Buffer(Held):
    """A `StringIO` or `BytesIO`: what is in it, and where it stands. A closed one is left."""

    __slots__ = ()

    def take(self) -> Any:
        thing = self.thing
        return None if thing.closed else (thing.getvalue(), thing.tell())

    def put(self, held: Any) -> None:
        thing = self.thing
        if held is not None and not thing.closed:
            thing.seek(0)
            thing.truncate()
            thing.write(held[0])
            thing.seek(held[1])

    def is_as(self, held: Any) -> bool:
        return bool(self.take() == held)


class WeakSet(Held):
    """The references of a `WeakSet`."""

    __slots__ = ()

    def take(self) -> Any:
        return self.thing.copy()

    def put(self, held: Any) -> None:
        self.thing.clear()
        self.thing.update(one for one in held if one() is not None)

    def is_as(self, held: Any) -> bool:
        return len(self.thing) == len(held) and bool(self.thing == held)

    def seen(self, outside: Any, was: Any, now: Any) -> Any:
        outside |= now - was
        outside -= was - now
        return outside


class WeakMapping(Mapping):
    """The entries of a `WeakValueDictionary` or `WeakKeyDictionary`."""

    __slots__ = ()

    def put(self, held: Any) -> None:
        self.thing.clear()
        for key, value in zip(*held, strict=True):
            if not any(isinstance(one, weakref.ref) and one() is None for one in (key, value)):
                self.thing[key] = value


class Database(Held):
    """A connection to an SQLite database in memory: what is in it.

    Not modelled: that something was not committed yet. It is put back as if it were.
    """

    __slots__ = ("_contents", "_written")

    def __init__(self, name: str, thing: sqlite3.Connection) -> None:
        super().__init__(name, thing)
        self._written = -1
        self._contents: bytes | None = None

    def take(self) -> Any:
        """Return what it holds; the same object as long as nothing was written."""
        try:
            written = self.thing.total_changes
            if written != self._written or self._contents is None:
                self._contents = self.thing.serialize()
                self._written = written
        except sqlite3.Error:
            return None  # closed
        return self._contents

    def put(self, held: Any) -> None:
        try:
            self.thing.rollback()
            self.thing.deserialize(held)
            self._written = self.thing.total_changes
        except (sqlite3.Error, TypeError):
            return
        self._contents = held

    def is_as(self, held: Any) -> bool:
        now = self.take()
        return now is held or now == held


class Environment(Held):
    """The environment: `os.environ`."""

    __slots__ = ()

    def take(self) -> Any:
        return dict(self.thing)

    def put(self, held: Any) -> None:
        for name in [one for one in self.thing if one not in held]:
            del self.thing[name]
        for name, value in held.items():
            if self.thing.get(name) != value:
                self.thing[name] = value

    def is_as(self, held: Any) -> bool:
        return bool(self.thing == held)

    def seen(self, outside: Any, was: Any, now: Any) -> Any:
        outside = dict(outside)
        for name in was.keys() - now.keys():
            outside.pop(name, None)
        outside.update({name: one for name, one in now.items() if was.get(name) != one})
        return outside


def kept(name: str, value: Any) -> Held | None:
    """Return how the state of an object of Python's library is moved; None where we do not know."""
    if isinstance(value, array):
        return Array(name, value)
    if isinstance(value, io.StringIO | io.BytesIO):
        return Buffer(name, value)
    if isinstance(value, weakref.WeakSet):
        return WeakSet(name, vars(value)["data"])
    if isinstance(value, weakref.WeakValueDictionary | weakref.WeakKeyDictionary):
        return WeakMapping(name, vars(value)["data"])
    if isinstance(value, sqlite3.Connection) and _in_memory(value):
        return Database(name, value)
    if value is os.environ:
        return Environment(name, value)
    return None


WEAK: Final = (weakref.WeakSet, weakref.WeakValueDictionary, weakref.WeakKeyDictionary)


def _in_memory(connection: sqlite3.Connection) -> bool:
    """Say whether all of a database is lost when its process ends."""
    try:
        rows = [row[2] for row in connection.execute("PRAGMA database_list")]
    except (sqlite3.Error, AttributeError):
        return False
    return hasattr(connection, "serialize") and not any(rows)
