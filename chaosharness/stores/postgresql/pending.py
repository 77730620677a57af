"""What a session's transaction has done so far, and what the session is set to."""

from __future__ import annotations

import re
from typing import Any, Final

from chaosharness.handlers.clocks import guess_from_text, show_intervals, show_parameters
from chaosharness.handlers.port import read_clock
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World
from chaosharness.stores.postgresql.server import Database
from chaosharness.stores.postgresql.statement import SCHEMA, Statement

_UNITS: Final = {"": 1, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
_TIMES: Final = re.compile(r"\s*(\d+)\s*(ms|s|min|h)?\s*\Z")


class Pending:
    """What a session's transaction has done so far, and what the session is set to.

    Attributes:
        rows: How many rows it has changed.
        touched: Whether it changed something that no count of rows shows.
        defined: Whether it may have changed the schema.
        notifies: Whether others may have to be told of something when it commits.
        writer: Who has changed something last.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.touched = self.defined = self.notifies = False
        self.writer: Scope | None = None
        self._began_ms: int | None = None
        self._shown: tuple[int, int] | None = None
        self._settings: dict[str, int] = {}
        self._local: dict[str, int] = {}

    @property
    def unsaved(self) -> bool:
        """Whether there is anything to be committed."""
        return bool(self.rows) or self.touched

    @property
    def limits_ms(self) -> dict[str, int]:
        """How long a statement may wait, by the name of the setting; 0 for ever."""
        return {**self._settings, **self._local}

    def ended(self) -> None:
        """Take note that no transaction is open any more."""
        self.rows = 0
        self.touched = self.defined = self.notifies = False
        self._began_ms = self._shown = None
        self._local.clear()

    def note(self, statement: Statement, scope: Scope, rows: int, database: Database) -> None:
        """Take note of a statement that has done what it does."""
        self.set(statement, scope.world)
        if statement.verb in ("reset", "discard"):
            self._shown = None  # it forgets what it was shown
        if statement.kind == "write":
            self.rows += max(rows, 0)
            self.touched |= statement.touches
            self.defined |= statement.defines
            self.writer = scope
            database.uses_clock |= statement.defines and statement.clock
            database.uses_chance |= statement.defines and statement.chance
        elif statement.touches:
            self.touched = True
            self.writer = scope
        notifies = statement.kind == "write" or statement.verb in ("notify", "call", "do")
        self.notifies |= notifies or statement.touches  # a trigger may tell of what is written

    def set(self, statement: Statement, world: World) -> None:
        """Take note of a setting that is kept in virtual time."""
        if statement.setting is None:
            return
        name, value, local = statement.setting
        found = _TIMES.match(value)
        if name in ("lock_timeout", "statement_timeout") and found:
            into = self._local if local else self._settings
            into[name] = int(found[1]) * _UNITS[found[2] or ""]
            world.know_timeout(into[name])

    def shows(
        self, statement: Statement, parameters: Any, scope: Scope, database: Database, begins: bool
    ) -> str:
        """Return SQL that shows the server the time and the chance of the run, where the statement
        asks; else nothing."""
        now_ms = scope.world.now
        if begins or self._began_ms is None:
            self._began_ms = now_ms
        writes = statement.kind == "write"
        sets = []
        texts = database.askers.asked_by(statement.sql, writes=writes)
        if statement.clock or texts:
            if scope.clock:
                show_parameters(scope, statement.sql, parameters)
            read_clock(scope.world)
            for text in (statement.sql, *texts):
                show_intervals(scope, text, parameters)
                guess_from_text(scope, text, parameters)
        asks = statement.clock or bool(texts) or (writes and database.uses_clock)
        if asks and self._shown != (self._began_ms, now_ms):
            self._shown = (self._began_ms, now_ms)
            for name, ms in (("began", self._began_ms), ("now", now_ms)):
                sets.append(f"set_config('{SCHEMA}.{name}', '{(EPOCH_MS + ms) / 1000}', false)")
        if statement.chance or (writes and database.uses_chance):
            scope.draws += 1
            draw = f"{scope.place} {scope.entity} {scope.message} {scope.draws}".replace("'", "")
            sets.append(f"set_config('{SCHEMA}.draw', '{draw}', false)")
        return f"SELECT {', '.join(sets)}" if sets else ""
