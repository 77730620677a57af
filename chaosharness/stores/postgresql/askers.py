"""What asks for the time inside a database: views, functions and triggers that say `now()`.

A statement that reads such a view does not name the clock itself. Who asks is found by names: the
texts of views and functions, and what those name in turn.

Not modelled:
    Functions that put their statements together as text (`EXECUTE format(...)`); row security,
    and rules other than views.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from chaosharness.stores.postgresql.statement import SCHEMA, asking_the_run

CATALOGUE: Final = f"""
SELECT c.relname, pg_get_viewdef(c.oid), '' FROM pg_class c JOIN pg_namespace n
  ON n.oid = c.relnamespace WHERE c.relkind = 'v'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{SCHEMA}')
UNION ALL
SELECT p.proname, pg_get_functiondef(p.oid), '' FROM pg_proc p JOIN pg_namespace n
  ON n.oid = p.pronamespace WHERE p.prokind IN ('f', 'p')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{SCHEMA}')
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT c.relname, p.proname, 'trigger' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
  JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal
"""
"""Each view, function and trigger: its name, its text, and what it is."""

_WORD: Final = re.compile(r"[a-z_][a-z0-9_$]*", re.IGNORECASE)


def _words(text: str) -> frozenset[str]:
    return frozenset(one.lower() for one in _WORD.findall(text))


class Askers:
    """Which names ask for the time in one database.

    Attributes:
        texts: The definition of each that does, by its name.
        by_writing: The same, of tables whose triggers do: who writes there asks.
    """

    def __init__(self, objects: Iterable[tuple[str | None, ...]]) -> None:
        found = [(str(name).lower(), text or "", what) for name, text, what in objects]
        self.texts: dict[str, str] = {}
        self.by_writing: dict[str, str] = {}
        self._known: dict[tuple[str, bool], tuple[str, ...]] = {}
        for name, text, what in found:
            if what != "trigger" and (f"{SCHEMA}." in text or asking_the_run(text)[1]):
                self.texts[name] = text
        left = {name: text for name, text, what in found if what != "trigger"}
        while more := [n for n in left.keys() - self.texts.keys() if self._named(left[n])]:
            for name in sorted(more):
                self.texts[name] = left[name] + "".join(self._named(left[name]))
        for name, function, what in found:
            if what == "trigger" and function.lower() in self.texts:
                self.by_writing[name] = self.texts[function.lower()]

    def _named(self, text: str) -> list[str]:
        return [self.texts[one] for one in sorted(_words(text) & self.texts.keys())]

    def asked_by(self, sql: str, *, writes: bool) -> tuple[str, ...]:
        """Return the texts through which a statement asks for the time; none where it does not."""
        if not (self.texts or (writes and self.by_writing)):
            return ()
        key = (sql, writes)
        known = self._known.get(key)
        if known is None:
            words = _words(sql)
            asked = [self.texts[one] for one in sorted(words & self.texts.keys())]
            if writes:
                asked += [self.by_writing[one] for one in sorted(words & self.by_writing.keys())]
            known = self._known[key] = tuple(dict.fromkeys(asked))
        return known
