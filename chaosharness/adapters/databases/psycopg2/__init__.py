"""psycopg2 on a `PostgreSQL` store: by itself, and as the driver of an engine of SQLAlchemy.

It connects in C, where no guard sees it. So inside a run psycopg 3 speaks with the server for it:
`connections.py` and `cursors.py` have psycopg2's interface, `engines.py` its engines.

Source:
    psycopg2 2.9, `lib/__init__.py` (`connect`); and where the parts say so.

Not modelled:
    What the parts name: notifications, large objects, two-phase commits, asynchronous connections.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from chaosharness.adapters.databases.psycopg2.engines import DRIVER as DRIVER
from chaosharness.adapters.databases.psycopg2.engines import engine_on_psycopg as engine_on_psycopg
from chaosharness.adapters.dispatch import Library, Swap, inside
from chaosharness.errors import InvalidDefinition


def _connecting(real: Any) -> Any:
    def connect(
        dsn: Any = None,
        connection_factory: Any = None,
        cursor_factory: Any = None,
        **options: Any,
    ) -> Any:
        if not inside():
            return real(dsn, connection_factory, cursor_factory, **options)
        try:
            from chaosharness.adapters.databases.psycopg2.connections import connected
        except ModuleNotFoundError as error:
            raise InvalidDefinition(
                f"psycopg2.connect: inside a run psycopg 3 speaks with the server for it, and "
                f"{error.name} is not installed: pip install 'chaosharness[postgresql]'"
            ) from None

        return connected(real, dsn, connection_factory, cursor_factory, options)

    return connect


def _distribution() -> str:
    """Return by which name it is installed here: it has two."""
    try:
        version("psycopg2-binary")
    except PackageNotFoundError:
        return "psycopg2"
    return "psycopg2-binary"


LIBRARY: Final = Library(
    _distribution(),
    tested=">=2.9,<3",
    swaps=(Swap("psycopg2:connect", _connecting),),
)
