"""The database of sagas in a system: SQLite with their tables, which reports know how to read.

*Not modelled*: all that `SQLite` does not model. The tables are SQLite's own, with its faults.
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs

from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.endless import Decisions
from chaosharness.orchestrators.given_up import note_given_up
from chaosharness.orchestrators.long_waits import LONG_MS, LongWaits
from chaosharness.orchestrators.saga.definition import Saga
from chaosharness.orchestrators.saga.journal import SCHEMA, TABLES
from chaosharness.stores.sqlite.sqlite import OpenSQLite, SQLite

__all__ = ["SagaStore"]

TOLD: Final = ("attempt", "lease", "why")
PARKED: Final = "saga parked"
"""What is told of a transition, beside what happened."""


@attrs.frozen(eq=False)
class SagaStore:
    """A SQLite database with the tables that an `Orchestrator` needs.

    `env.connect(store)` returns an ordinary connection. Reports tell each transition once it is
    durable, by step, attempt and lease; `run.event_histories` has the journals. In the final
    books there is a table `sagas` with `id`, `saga` and `status`: `completed`, `compensated`,
    `parked`, or how far it got.

    Args:
        name: What sites and reports call it.
        schema: More tables, for steps in the same database.
        lease_ms: That of the orchestrators: a pause past it is worth trying.
        synced, unsynced_ms, timeout_ms: As of `SQLite`.
    """

    name: str = attrs.field(validator=allowed.text())
    schema: str = attrs.field(default="", repr=False)
    lease_ms: int = attrs.field(default=60_000, validator=allowed.whole(1), kw_only=True)
    synced: bool = attrs.field(default=True, validator=allowed.flag(), kw_only=True)
    unsynced_ms: int = attrs.field(default=1_000, validator=allowed.whole(1), kw_only=True)
    timeout_ms: int = attrs.field(default=5_000, validator=allowed.whole(0), kw_only=True)
    database: SQLite = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        made = SQLite(
            self.name, SCHEMA + self.schema, synced=self.synced, unsynced_ms=self.unsynced_ms,
            timeout_ms=self.timeout_ms,
        )  # fmt: skip
        object.__setattr__(self, "database", made)

    def open(self, world: World) -> OpenSagaStore:
        """Return this database, with no sagas in it, for one run."""
        return OpenSagaStore(self, world)


class OpenSagaStore(OpenSQLite):
    """A database of sagas during one run."""

    tells = True

    def __init__(self, definition: SagaStore, world: World) -> None:
        super().__init__(definition.database, definition.database._shelf, world)
        self._told = 0
        self._decisions = Decisions(world)
        self._long = LongWaits(world)
        self._due_ms = 0
        world.at_calm(self._wait)
        self._items: dict[str, int] = {}
        self._sagas: dict[int, Saga] = {}
        world.know_timeout(definition.lease_ms)

    def know_saga(self, saga: Saga) -> None:
        """Learn of a saga that an orchestrator runs on this database."""
        self._sagas[id(saga)] = saga

    def names_that_wait(self) -> set[str] | None:
        """Return what `may_wait` may name: steps; None where they are asked for by code."""
        if not self._sagas or any(saga.code is not None for saga in self._sagas.values()):
            return None
        return {step for saga in self._sagas.values() for step in saga.known}

    def committed(self, scope: Scope) -> None:
        """Tell what became durable: each transition, as users know it."""
        query = "SELECT rowid, saga, record FROM saga_journal WHERE rowid > ? ORDER BY rowid"
        for row, saga, text in self.database.reader.execute(query, (self._told,)).fetchall():
            self._told = row
            record = json.loads(text)
            kind = record["kind"]
            what = kind if kind.startswith("saga ") else f"{record.get('action', saga)} {kind}"
            words = {name: record[name] for name in TOLD if name in record}
            if record.get("step", what) not in what:
                words = {"step": record["step"], **words}
            if kind == PARKED and not record.get("step"):  # no step is: its code, or its list
                words["stuck"] = True
            self._tell(scope, saga, kind, {"what": what, "saga": saga, **words})
        if not self.world.chaos:
            self._wait()

    def _wait(self) -> None:
        """Have the run last until the next saga is due that waits for long: whoever looks after
        it finds it then, and would go round for nothing before."""
        query = "SELECT min(due_ms) FROM saga_executions WHERE due_ms >= ?"
        [(due_ms,)] = self.database.reader.execute(query, (self.world.now + LONG_MS,)).fetchall()
        if due_ms is not None and due_ms != self._due_ms:
            self._due_ms = due_ms
            self._long.until(due_ms, more_ms=self.world.budget.calm_ms)
            self.world.rest.know(due_ms)

    def _tell(self, scope: Scope, saga: str, kind: str, data: dict[str, Any]) -> None:
        """Add a note; whoever goes on with a saga goes on with the item that started it."""
        entity = scope.entity
        scope.entity = self._items.setdefault(saga, entity)
        scope.record("note", "", 0, data)
        if kind == "given up":  # its saga is told so, and undone: also where no call has failed
            step = data.get("step") or data["what"].removesuffix(f" {kind}")
            note_given_up(scope, saga, f"step {step}")
        if kind == "asked":
            self._decisions.count(scope, saga)
        scope.entity = entity

    def forget(self, since_ms: int) -> int:
        """Go back; what was told of what is gone will be told again."""
        lost = super().forget(since_ms)
        found = self.database.reader.execute("SELECT max(rowid) FROM saga_journal").fetchone()
        self._told = found[0] or 0
        return lost

    def contents(self) -> dict[str, Any]:
        """Return all that is committed: the journal is what goes on, too."""
        return super().final()

    def final(self) -> dict[str, Any]:
        """Return what is committed: the user's own tables, and how the sagas stand."""
        tables = super().final()["tables"]
        rows = tables["saga_executions"]
        sagas = [{"id": row["id"], "saga": row["saga"], "status": row["status"]} for row in rows]
        own = {table: found for table, found in tables.items() if table not in TABLES}
        return {"tables": {**own, "sagas": sagas}}

    def event_histories(self) -> dict[str, str]:
        """Return the journal of each saga, as JSON."""
        query = "SELECT saga, record FROM saga_journal ORDER BY saga, number"
        found: dict[str, list[Any]] = {}
        for saga, text in self.database.reader.execute(query).fetchall():
            found.setdefault(saga, []).append(json.loads(text))
        return {saga: json.dumps({"records": records}) for saga, records in found.items()}
