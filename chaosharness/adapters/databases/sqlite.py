"""`sqlite3.connect`, and whatever connects by it: SQLAlchemy, aiosqlite, Django's ORM.

A file that a store stands for (`SQLite("db", schema, url="sqlite:///orders.db")`) is that store
inside a run. Any other file is the real one, and so is a database in memory that no store names.

Source:
    Python documentation, sqlite3, "connect".

Not modelled:
    `factory`: the connection is the store's own. `cached_statements`, `check_same_thread`, and
    what a `file:` URI says after its path: the first two change nothing here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Swap
from chaosharness.adapters.spoken import note_spoken
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.stores.address import one_of
from chaosharness.stores.sqlite.sqlite import OpenSQLite

_IGNORED: Final = ("cached_statements", "check_same_thread", "factory", "uri")
_NAMES: Final = ("timeout", "detect_types", "isolation_level", "check_same_thread", "factory")


def store_at(scope: Scope, path: str) -> OpenSQLite | None:
    """Return the store that stands for a file, in this run."""
    stores = [one for one in scope.world.states.values() if isinstance(one, OpenSQLite)]
    name = os.path.basename(path)
    if name.startswith(BY_NAME):
        return next((one for one in stores if one.name == name.removeprefix(BY_NAME)), None)
    meant = (one for one in stores if one.address is not None and one.address.is_file(path))
    found: OpenSQLite | None = one_of(meant, lambda: f"the file {path!r}")
    return found


BY_NAME: Final = "chaosharness:"
"""Begins a path that means a store by its name."""


def _connecting(real: Any) -> Callable[..., Any]:
    def connect(database: Any, *arguments: Any, **options: Any) -> Any:
        scope = SCOPE.get()
        path = os.fspath(database) if not isinstance(database, bytes) else os.fsdecode(database)
        store = None if scope is None else store_at(scope, path)
        if scope is None or store is None:
            return real(database, *arguments, **options)
        options |= dict(zip(_NAMES, arguments, strict=False))
        made = store.connect(scope.incarnation, options.pop("detect_types", 0))
        made.wait_up_to(round(options.pop("timeout", 5.0) * 1000))
        for name in _IGNORED:
            options.pop(name, None)
        for name, value in options.items():
            setattr(made, name, value)
        note_spoken(scope, "sqlite3", f"{store.name}.connect")
        return made

    return connect


LIBRARY: Final = Library("sqlite3", tested=">=3.11", swaps=(Swap("sqlite3:connect", _connecting),))
