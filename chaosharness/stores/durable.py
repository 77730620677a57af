"""What every store has in common: commits that fail, outages, and what a power failure takes."""

from __future__ import annotations

from contextvars import ContextVar
from functools import cached_property
from typing import Any, Final, Literal, NoReturn

from chaosharness.faults import Crash, FailedCommit, LostWrites, Pause, StoreOutage
from chaosharness.handlers.port import Surface, current_scope, refuse_stranger
from chaosharness.kernel.agenda import DUE, Entry
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import Lasting, World

_BEFORE: Final = (FailedCommit, StoreOutage)
COMMIT: Final = Surface(
    before=(*_BEFORE, Pause, Crash),
    after=(Pause, Crash),
    searched_before=_BEFORE,
    searched_after=(Pause, Crash),
)
"""Making something durable. A crash or pause before it equals one after what came earlier."""

UNSYNCED: Final = Surface(
    before=COMMIT.before,
    after=(*COMMIT.after, LostWrites),
    searched_before=COMMIT.searched_before,
    searched_after=(*COMMIT.searched_after, LostWrites),
)
"""The same, in a store that answers before the disk has it."""

Outcome = Literal["rolled-back", "committed"]

QUIET: Final[ContextVar[bool]] = ContextVar("chaosharness.quiet", default=False)
"""Whether a library sets up a connection just now: what it asks for then is no site. It does so
once in a process, or when a pool is empty, and not where the code under test says."""


class QuietScope(Scope):
    """The scope of what leaves nothing in the history."""

    __slots__ = ()

    def record(self, kind: str, operation: str, attempt: int, data: Any) -> int:
        """Leave no event."""
        return self.cause


def quietly(scope: Scope) -> QuietScope:
    """Return a scope that leaves nothing in the history."""
    return QuietScope(
        *(scope.world, scope.incarnation, scope.place, scope.entity, scope.cause, scope.colour),
        *(scope.hops, scope.message),
    )


class OpenStore:
    """A store during one run: what SQLite and the key-value store share.

    Attributes:
        down: Whether it refuses every operation.
        owners: Incarnations that were given a connection, in order. None is ever taken out.
        kept: What libraries keep for an incarnation, such as a pool of connections.
        keeps: Whether a fault of this run may lose writes, so that old states are kept.
    """

    def __init__(
        self, name: str, world: World, *, timeout_ms: int, synced: bool, unsynced_ms: int
    ) -> None:
        self.name = name
        self.world = world
        self.timeout_ms = timeout_ms
        self.unsynced_ms = unsynced_ms
        self.surface = COMMIT if synced else UNSYNCED
        self.down = False
        self._over: Entry | None = None
        self.owners: dict[Incarnation, None] = {}
        self.kept: dict[Any, Any] = {}
        self.keeps = not synced and any(
            type(one.fault) is LostWrites for armed in world.armed.values() for one in armed
        )

    @cached_property
    def retired(self) -> Retired:
        """What stands in its place once the run is over."""
        return Retired(self.name)

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return a timeout: never used, since no network lies between."""
        return TimeoutError(operation)

    def refused(self, operation: str) -> BaseException:
        """Return a refusal: never used, since no network lies between."""
        return ConnectionError(operation)

    # ---- faults

    def verdict(self, scope: Scope) -> Outcome | None:
        """Read the faults that strike a commit: begin an outage, or say how the commit fails."""
        outcome: Outcome | None = None
        for fault in scope.struck:
            if isinstance(fault, StoreOutage):
                self._begin_outage(fault.lasting)
            elif isinstance(fault, FailedCommit):
                outcome = fault.outcome
        return outcome

    def _begin_outage(self, lasting: Lasting) -> None:
        world = self.world
        over_ms = max(world.due(lasting), self._over[DUE] if self._over else 0)
        if self._over is None:
            self.down = True
            world.effects += 1
            world.at_calm(self._end_outage)
        else:
            world.agenda.cancel(self._over)
        self._over = world.agenda.add(over_ms, self._end_outage)

    def _end_outage(self, _: object = None) -> None:
        if self._over is not None:
            self.world.agenda.cancel(self._over)
            self._over = None
            self.down = False
            self.world.effects += 1

    def lose_writes(self, scope: Scope) -> None:
        """Suffer a power failure: all who use the store die, and what was not synced is gone.

        The incarnation of `scope` dies a moment later, by the fault that brought us here.
        """
        world = self.world
        for owner in self.owners:
            if owner is not scope.incarnation and owner.restart is not None:
                world.crash(owner, "next", cause=scope.cause)
        since_ms = max(0, world.now - self.unsynced_ms)
        lost = self.forget(since_ms)
        world.effects += 1
        data = {"store": self.name, "why": "power failure", "since_ms": since_ms, "commits": lost}
        scope.record("rollback", "", 0, data)

    def forget(self, since_ms: int) -> int:
        """Go back to the state before the first commit at or after a moment; return how many."""
        raise NotImplementedError


class Retired:
    """Stands in for the store of a connection whose run is over: every use is an error."""

    def __init__(self, store: str) -> None:
        self._name = store

    def __getattr__(self, _: str) -> NoReturn:
        refuse_stranger(current_scope(self._name), f"a connection to {self._name!r}", None)
