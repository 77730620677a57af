"""aiosqlite, and with it SQLAlchemy's asyncio engine on SQLite.

Its thread does one thing after the other. Here they are done so too, beside the event loop, as
plain code that stops at ports: a statement that waits for a lock holds up its connection, and no
other task.

Source:
    aiosqlite 0.22, `core.py`: a queue of functions, and a thread that calls them.

Not modelled:
    A file that no store stands for: said so. `interrupt` of a statement that waits for a lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from chaosharness.adapters.databases.sqlite import store_at
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.spoken import note_spoken
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.guest import beside
from chaosharness.handlers.places import asked_or_awaited_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.stores.durable import QUIET

Item = tuple[Any, Callable[[], Any], Scope]


class _Thread:
    """Stands for the thread of a connection: nothing is started."""

    def start(self) -> None:
        """It works as soon as there is something to do."""


class _Work:
    """Stands for the queue of a connection's thread, and does what is put there."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._busy = False

    def put_nowait(self, item: tuple[Any, Callable[[], Any]]) -> None:
        """Have a function called after those before it."""
        scope = SCOPE.get()
        if scope is None or not scope.incarnation.alive or scope.world.ending is not None:
            return  # a connection that is freed after its run
        if QUIET.get() and not self._busy:
            self._at_once(*item)
            return
        self._items.append((*item, scope))
        if not self._busy:
            self._next()

    def _at_once(self, future: Any, function: Callable[[], Any]) -> None:
        """Do what sets a connection up, in no turn of the loop.

        SQLAlchemy asks the first connection of a process more than all others. Who connects first
        would come later than in any other run.
        """
        try:
            result = function()
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _next(self) -> None:
        self._busy = bool(self._items)
        if not self._items:
            return
        future, function, scope = self._items.popleft()

        def done(_: Scope, result: Any, error: BaseException | None) -> None:
            if future is not None and not future.done():
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
            self._next()

        beside(scope, partial(copy_context().run, function), done)


def _made(real: Any, self: Any, connector: Any, iter_chunk_size: int, loop: Any = None) -> None:
    scope = current_scope("aiosqlite.connect")
    self._connection = None  # which it asks for when it is freed, also where this refuses
    _see_store(scope, connector)
    real(self, connector, iter_chunk_size, loop)
    self._thread = _Thread()
    self._tx = _Work()
    note_spoken(scope, "aiosqlite", "connect")
    scope.incarnation.kept.append(_Left(self))


def _see_store(scope: Scope, connector: Any) -> None:
    """Refuse a file that no store stands for: a real one is read in a thread of its own."""
    cells = zip(connector.__code__.co_freevars, connector.__closure__ or (), strict=True)
    database = {name: cell.cell_contents for name, cell in cells}.get("database", "")
    path = os.fsdecode(database)
    if store_at(scope, path) is None:
        path = path.removeprefix(os.path.join(os.getcwd(), ""))  # SQLAlchemy makes it absolute
        call_off(
            InvalidDefinition(
                f"{scope.place} opens {path!r} with aiosqlite{asked_or_awaited_at()}, and no "
                f'store of this system stands for it: add SQLite("db", schema, '
                f'url="sqlite:///{path}")'
            )
        )


class _Left:
    """What is done about a connection that its run leaves open: nobody is warned of it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def dispose(self) -> None:
        """Forget that it was open: its store has seen to it."""
        self._connection._connection = None


LIBRARY: Final = Library(
    "aiosqlite",
    tested=">=0.22,<0.23",
    seams=(
        Seam(
            "aiosqlite.core:Connection.__init__",
            ("self", "connector", "iter_chunk_size", "loop"),
            _made,
        ),
    ),
)
