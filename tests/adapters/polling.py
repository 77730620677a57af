"""What the loops of `polling_*.py` have in common."""

import json
import sqlite3
from collections.abc import Iterable


def write(bodies: Iterable[bytes | str]) -> None:
    """Write the ids of messages into a table, each once."""
    found = []
    for body in bodies:
        try:
            found.append((json.loads(body)["id"],))
        except (ValueError, TypeError, KeyError):
            continue
    db = sqlite3.connect("written.db")
    with db:
        db.executemany("INSERT OR IGNORE INTO written VALUES (?)", found)
    db.close()
