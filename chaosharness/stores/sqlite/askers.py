"""What a statement asks of by name: the views and triggers behind it, which may name durations."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

_NAMES: Final = re.compile(r"\w+")
_TEXTS: Final = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')"


def texts_beside(connection: sqlite3.Connection, sql: str) -> list[str]:
    """Return the definitions of views and triggers that a statement reaches by name."""
    cursor = sqlite3.Cursor(connection)
    sqlite3.Cursor.execute(cursor, _TEXTS)
    left = sqlite3.Cursor.fetchall(cursor)
    found = [sql]
    for text in found:  # it grows: a view may stand on another
        words = {*_NAMES.findall(text.lower())}
        found += [one for *names, one in left if words & {name.lower() for name in names}]
        left = [row for row in left if row[2] not in found]
    return found[1:]


__all__ = ["texts_beside"]
