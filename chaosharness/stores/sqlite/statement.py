"""What an SQL statement does, as far as its site and its transaction need to know.

Parsed once per text with a few regular expressions, never understood: SQLite does that.
A text that is read wrongly gets an odd name; it never runs otherwise than it would.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Any, Final, Literal

Kind = Literal["read", "write", "begin", "commit", "rollback", "savepoint", "release", "pragma"]

_SKIP: Final = r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*"
_NAME: Final = r"""(?:["`\[]?\w+["`\]]?\s*\.\s*)?["`\[]?(?P<name>\w+)"""
_VERB: Final = re.compile(rf"{_SKIP}(\w+)", re.DOTALL)
_EMPTY: Final = re.compile(rf"{_SKIP};?{_SKIP}\Z", re.DOTALL)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text.replace("NAME", _NAME), re.IGNORECASE | re.DOTALL)


_FROM: Final = _pattern(r"\bfrom[\s(]+(?!select\b)NAME")
_TABLES: Final = {
    "select": _FROM,
    "values": _FROM,
    "insert": _pattern(r"\binto\s+NAME"),
    "replace": _pattern(r"\binto\s+NAME"),
    "update": _pattern(r"\bupdate\s+(?:or\s+\w+\s+)?NAME"),
    "delete": _pattern(r"\bfrom\s+NAME"),
    "create": _pattern(
        r"\bcreate\s+(?:(?:temp|temporary|unique|virtual)\s+)*\w+\s+(?:if\s+not\s+exists\s+)?NAME"
    ),
    "drop": _pattern(r"\bdrop\s+\w+\s+(?:if\s+exists\s+)?NAME"),
    "alter": _pattern(r"\balter\s+table\s+NAME"),
    "pragma": _pattern(r"\bpragma\s+NAME(?:\s*[=(]\s*'?(?P<value>[-+\w]+))?"),
    "savepoint": _pattern(r"\bsavepoint\s+NAME"),
    "release": _pattern(r"\brelease\s+(?:savepoint\s+)?NAME"),
}
_MAIN: Final = _pattern(
    r"\b(?:(insert|replace)\s+(?:or\s+\w+\s+)?into|(update)\s+(?:or\s+\w+\s+)?\S+\s+set"
    r"|(delete)\s+from)\b"
)
_ROLLBACK_TO: Final = _pattern(r"\brollback\b.*\bto\b")
_RETURNING: Final = _pattern(r"\breturning\b")
_EXCLUSIVE: Final = _pattern(r"\bexclusive\b")
_COUNTERS: Final = _pattern(r"\b(?:total_changes|changes|last_insert_rowid)\s*\(")

_KINDS: Final[dict[str, Kind]] = {
    "select": "read",
    "values": "read",
    "explain": "read",
    "begin": "begin",
    "commit": "commit",
    "end": "commit",
    "rollback": "rollback",
    "savepoint": "savepoint",
    "release": "release",
    "pragma": "pragma",
}
_ASKED: Final = frozenset(
    {"busy_timeout", "foreign_keys", "read_uncommitted", "recursive_triggers", "temp_store"}
)
_DML: Final = frozenset({"insert", "update", "delete", "replace"})


class Operations(dict[str, str]):
    """How an action is spelled at each place that does it; spelled once."""

    __slots__ = ("action",)

    def __init__(self, action: str) -> None:
        self.action = action

    def __missing__(self, place: str) -> str:
        self[place] = made = f"{place}/{self.action}"
        return made


class Statement:
    """One SQL text, read once.

    Attributes:
        action: The end of its site's operation: `db.insert charges`.
        calm: Whether it only reads, or changes rows in a transaction that sqlite3 opens.
        reads: Whether it only reads.
        asks: Whether it asks for a setting of its connection, and touches no data: drivers do so
            when they start, once in a process. It is no site, and no part of the history.
        kind: What it does to data or transaction.
        verb: Its first word, in lower case; of a `WITH`, that of the main statement.
        table: The table it names first (of a pragma or savepoint, its name), or "".
        value: What a pragma is set to, or None.
        exclusive: Whether it keeps even readers out.
        implicit: Whether Python's sqlite3 opens a transaction before it by itself.
        defines: Whether it may change the schema.
        touches: Whether it may change something that the count of changed rows misses.
        private: Whether it gives its connection something no other connection has.
        data: What the history shows of it when it reads.
        operations: Its site's operation at each place that runs it.
    """

    __slots__ = (
        "action",
        "asks",
        "calm",
        "data",
        "defines",
        "exclusive",
        "implicit",
        "kind",
        "operations",
        "private",
        "reads",
        "table",
        "touches",
        "value",
        "verb",
    )

    def __init__(self, store: str, sql: str) -> None:
        found = _VERB.match(sql)
        first = verb = found[1].lower() if found else "execute"
        if verb == "with":
            main = _MAIN.search(sql)
            verb = main[main.lastindex or 0].lower() if main else "select"
        self.verb = verb
        self.kind: Kind = _KINDS.get(verb, "write") if found else "read"
        if verb == "rollback" and _ROLLBACK_TO.search(sql):
            self.kind = "savepoint"
        named = _TABLES[verb].search(sql) if verb in _TABLES else None
        self.table = named["name"] if named else ""
        self.value: str | None = named["value"] if named and verb == "pragma" else None
        self.asks = verb == "pragma" and self.value is None and self.table.lower() in _ASKED
        self.exclusive = verb == "begin" and _EXCLUSIVE.search(sql) is not None
        self.implicit = first in _DML
        self.defines = self.kind == "write" and verb not in _DML
        self.touches = self.kind == "write" and (
            not self.implicit or _RETURNING.search(sql) is not None
        )
        self.reads = self.kind == "read"
        self.calm = self.reads or (self.implicit and self.kind == "write" and not self.touches)
        self.private = verb in ("attach", "detach") or (
            verb == "create" and re.match(r"\s+temp", sql[found.end() :], re.I) is not None  # type: ignore[union-attr]
        )
        # Libraries number their savepoints, or put a thread's id in: those name no place.
        shown = "" if self.kind in ("savepoint", "release") else self.table
        if verb == "rollback" and self.kind == "savepoint":
            shown = "to"
        self.action = f"{store}.{verb} {shown}".rstrip()
        self.operations = Operations(self.action)
        self.data: dict[str, Any] = {"store": store, "verb": verb, "table": shown}


def counts_changes(sql: str) -> bool:
    """Say whether a text asks for counters that a connection keeps from its first day."""
    return _COUNTERS.search(sql) is not None


def split(script: str) -> Iterator[str]:
    """Yield the statements of a script, each with its semicolon; triggers stay whole."""
    begin = 0
    for semicolon in re.finditer(";", script):
        part = script[begin : semicolon.end()]
        if sqlite3.complete_statement(part):
            if not _EMPTY.match(part):
                yield part.strip()
            begin = semicolon.end()
    rest = script[begin:]
    if not _EMPTY.match(rest):
        yield rest.strip()
