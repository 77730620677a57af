"""What an SQL statement does, as far as its site, its transaction and its clock need to know.

Read once per text with a few regular expressions, never understood: PostgreSQL does that. What
reads the server's clock or its chance is written anew, to ask those of the run.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, Literal

from chaosharness.stores.sqlite.statement import Operations

Kind = Literal["read", "write", "begin", "commit", "rollback", "savepoint", "set", "nothing"]

_SKIP: Final = r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()*"
_NAME: Final = r'(?:"?\w+"?\s*\.\s*)?"?(?P<name>\w+)'
_VERB: Final = re.compile(rf"{_SKIP}(\w+)", re.DOTALL)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text.replace("NAME", _NAME), re.IGNORECASE | re.DOTALL)


_FROM: Final = _pattern(r"\bfrom[\s(]+(?!select\b)(?:only\s+)?NAME")
_TABLES: Final = {
    "select": _FROM,
    "values": _FROM,
    "insert": _pattern(r"\binto\s+NAME"),
    "merge": _pattern(r"\binto\s+NAME"),
    "update": _pattern(r"\bupdate\s+(?:only\s+)?NAME"),
    "delete": _FROM,
    "truncate": _pattern(r"\btruncate\s+(?:table\s+)?(?:only\s+)?NAME"),
    "lock": _pattern(r"\block\s+(?:table\s+)?(?:only\s+)?NAME"),
    "copy": _pattern(r"\bcopy\s+NAME"),
    "listen": _pattern(r"\blisten\s+NAME"),
    "notify": _pattern(r"\bnotify\s+NAME"),
    "call": _pattern(r"\bcall\s+NAME"),
    "create": _pattern(
        r"\bcreate\s+(?:or\s+replace\s+)?(?:(?:temp|temporary|unique|unlogged|materialized)\s+)*"
        r"\w+\s+(?:concurrently\s+)?(?:if\s+not\s+exists\s+)?NAME"
    ),
    "drop": _pattern(r"\bdrop\s+\w+\s+(?:if\s+exists\s+)?NAME"),
    "alter": _pattern(r"\balter\s+\w+\s+(?:if\s+exists\s+)?(?:only\s+)?NAME"),
    "set": _pattern(
        r"\bset\s+(?:(?P<local>local)\s+|session\s+)?(?P<name>\w+)\s*(?:=|to)\s*"
        r"'?(?P<value>[\w ]*)'?"
    ),
}
_MAIN: Final = _pattern(r"\b(?:(insert|merge)\s+into|(update)\s+\S+\s+set|(delete)\s+from)\b")
_ROLLBACK_TO: Final = _pattern(r"\brollback\b.*\bto\b")
_SIDE_EFFECT: Final = _pattern(r"\b(?:pg_notify|nextval|setval)\s*\(")
_SLEEPS: Final = _pattern(r"\bpg_sleep\w*\s*\(")

_KINDS: Final[dict[str, Kind]] = {
    "select": "read",
    "values": "read",
    "table": "read",
    "explain": "read",
    "lock": "read",
    "fetch": "read",
    "move": "nothing",
    "close": "nothing",
    "declare": "read",
    "listen": "read",
    "unlisten": "read",
    "begin": "begin",
    "start": "begin",
    "commit": "commit",
    "end": "commit",
    "rollback": "rollback",
    "abort": "rollback",
    "savepoint": "savepoint",
    "release": "savepoint",
    "set": "set",
    "show": "nothing",
    "reset": "nothing",
    "deallocate": "nothing",
    "discard": "nothing",
    "prepare": "nothing",
}
_DML: Final = frozenset({"insert", "update", "delete", "merge"})
_KEEPS_SCHEMA: Final = frozenset({"truncate", "notify", "call", "do", "copy", "execute"})

_ASKS: Final = re.compile(
    r"""'(?P<day>now|today|tomorrow|yesterday)'\s*::\s*(?=timestamp|date|time\b)
    |(?<![\w.])(?P<typed>timestamp(?:tz)?|date)\s*'(?P<of>now|today|tomorrow|yesterday)'
    |(?P<skip>'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/)
    |(?<![\w.])(?:pg_catalog\s*\.\s*)?
     (?P<call>now|(?:transaction|statement|clock)_timestamp|gen_random_uuid|uuid_generate_v4|random)
     \s*\((?=\s*\))
    |(?<![\w.])(?P<word>current_(?:timestamp|date|time)|localtime(?:stamp)?)
     (?:\s*\(\s*\d\s*\))?(?![\w(])""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
SCHEMA: Final = "chaosharness"
"""Where the functions stand that ask the run."""

_DAYS: Final = {"today": "", "tomorrow": " + 1", "yesterday": " - 1"}
_BODY: Final = re.compile(r"\bas\s*\Z", re.IGNORECASE)
"""What stands before the body of a function in quotes."""

_CHANCE: Final = frozenset({"random", "gen_random_uuid", "uuid_generate_v4"})


@lru_cache(maxsize=4_096)
def asking_the_run(sql: str) -> tuple[str, bool, bool]:
    """Return a text that asks the run's clock and chance; and whether it asks either."""
    clock = chance = False

    def put(found: re.Match[str]) -> str:
        nonlocal clock, chance
        if found["skip"] is not None:
            if found[0][0] == "'" and _BODY.search(sql, max(found.start() - 9, 0), found.start()):
                body, of_clock, of_chance = asking_the_run(found[0][1:-1].replace("''", "'"))
                clock |= of_clock
                chance |= of_chance
                return "'" + body.replace("'", "''") + "'"
            return found[0]
        if day := (found["day"] or found["of"] or "").lower():
            clock = True
            at = f'{SCHEMA}."now"()' if day == "now" else f'{SCHEMA}."current_date"(){_DAYS[day]}'
            return f"({at})::" + (found["typed"] or "")
        name = (found["call"] or found["word"]).lower()
        chance |= name in _CHANCE
        clock |= name not in _CHANCE
        return f'{SCHEMA}."{name}"(' + ("" if found["call"] else ")")

    return _ASKS.sub(put, sql), clock, chance


class Statement:
    """One SQL text, read once.

    Attributes:
        sql: What the server is given.
        action: The end of its site's operation: `db.insert charges`.
        kind: What it does to data or transaction.
        verb: Its first word, in lower case; of a `WITH`, that of the main statement.
        table: The table it names first, or "".
        setting: Of a `SET`: what is set, to what, and whether for this transaction only.
        clock: Whether it asks what time it is.
        chance: Whether it asks for something random.
        defines: Whether it may change the schema.
        touches: Whether it may change something that no count of rows shows.
        sleeps: Whether it has the server sleep.
        operations: Its site's operation at each place that runs it.
        data: What the history shows of it when it reads.
    """

    __slots__ = (
        *("action", "chance", "clock", "data", "defines", "kind", "operations", "setting"),
        *("sleeps", "sql", "table", "touches", "verb"),
    )

    def __init__(self, store: str, text: str) -> None:
        self.sql, self.clock, self.chance = asking_the_run(text)
        found = _VERB.match(text)
        verb = found[1].lower() if found else ""
        if verb == "with":
            main = _MAIN.search(text)
            verb = main[main.lastindex or 0].lower() if main else "select"
        self.verb = verb
        self.kind: Kind = _KINDS.get(verb, "write") if found else "nothing"
        if verb == "rollback" and _ROLLBACK_TO.search(text):
            self.kind = "savepoint"
        named = _TABLES[verb].search(text) if verb in _TABLES else None
        self.table = named["name"] if named else ""
        self.setting: tuple[str, str, bool] | None = None
        if verb == "set" and named:
            self.setting = (named["name"].lower(), named["value"], bool(named["local"]))
        self.touches = bool(
            (self.kind == "write" and verb not in _DML) or _SIDE_EFFECT.search(text)
        )
        self.defines = self.kind == "write" and verb not in _DML and verb not in _KEEPS_SCHEMA
        self.sleeps = _SLEEPS.search(text) is not None
        self.action = f"{store}.{verb} {self.table}".rstrip()
        self.operations = Operations(self.action)
        self.data: dict[str, Any] = {"store": store, "verb": verb, "table": self.table}
