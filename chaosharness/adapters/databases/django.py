"""Django's ORM, on the database that its settings name: a file that a `SQLite` store stands for, or
PostgreSQL.

In production each thread has its connections. Here all run in one, so each piece of work has its
own: a request, a message, a main loop.

Source:
    Django 4.2 to 5.2: `utils/connection.py`, `db/backends/base/base.py`; documentation,
    "Databases", "Persistent connections".

Not modelled:
    `CONN_MAX_AGE` between two requests: a new one has a new connection.
"""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.databases.quiet import setting_up
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.spoken import note_spoken
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import Scope
from chaosharness.stores.durable import OpenStore


def _of_scope(real: Any, self: Any, alias: str) -> Any:
    from django.db.utils import ConnectionHandler

    scope = current_scope(f"connections[{alias!r}]")
    kept = _kept(scope)
    if not isinstance(self, ConnectionHandler) or kept is None:
        return real(self, alias)
    key = ("django", scope, alias)
    if key not in kept:
        if alias not in self.settings:
            return real(self, alias)  # says so
        # defaults are put into the user's own dict, which is each process's, and once only
        self.configure_settings(self.settings)
        kept[key] = self.create_connection(alias)
        note_spoken(scope, "django", f"connections[{alias}]")
    return kept[key]


def _kept(scope: Scope) -> dict[Any, Any] | None:
    """Return where connections of a run are kept, if it has any store."""
    for one in scope.world.states.values():
        if isinstance(one, OpenStore):
            return one.kept
    return None


LIBRARY: Final = Library(
    "Django",
    tested=">=4.2,<6",
    seams=(
        Seam("django.db.utils:ConnectionHandler.__getitem__", ("self", "alias"), _of_scope),
        Seam("django.db.backends.base.base:BaseDatabaseWrapper.connect", ("self",), setting_up),
    ),
)
