"""On whose behalf code runs: which service, which handler, which workload item, and why."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import msgspec

from chaosharness.kernel.rest import Loop
from chaosharness.kernel.world import World


class Incarnation(msgspec.Struct, eq=False, weakref=True):
    """One life of one replica of a service, between two crashes.

    When it dies its ports refuse, its connections drop (`on_death`), and whatever code
    it was running is kept, unfinished, until the end of the run (`kept`), and so are its
    event loops (`guests`, by the name of their colour). Its locks (`locks`) are its own,
    and so is what a client that some module made stands for in it (`clients`), and the threads
    that its code has started (`threads`).
    `unawaited` counts the calls of ports that nobody has awaited so far. `shifted` is what
    `World.stirred` was when code of it that was not at rest went on last: memory may be another.

    A process of its own (`processes`) has it for a `host`, and dies with it. One that another has
    started, its `parent`, dies by itself, and is told to stop as its parent is. `stalled_since` is
    when a fault had it stand still, at so many places at once (`stalls`); `on_stall` is told until
    when, and `on_resume` when it goes on. `redeploy` starts the other version of its service in its
    place, where there is one. It dies `unheard` where its machine dies with it, and
    nobody closes its connections.

    `signals` is what its code wants to run at a signal, by number; `takers` what takes messages
    and requests for it; `mains` the scopes of its main loops that have not ended; `stopping` what
    goes on once it was told to stop.
    """

    world: World
    service: str
    replica: int
    number: int
    label: str
    alive: bool = True
    skew_ms: int = 0
    stalled_since: int | None = None
    stalls: int = 0
    host: Incarnation | None = None
    parent: Incarnation | None = None
    restart: Callable[[], None] | None = None
    redeploy: Callable[[], None] | None = None
    threads: Any = None
    signals: dict[int, Any] | None = None
    stopping: Any = None
    unawaited: int = 0
    shifted: int = 0
    unheard: bool = False
    on_stall: list[Callable[[int], None]] = []
    on_resume: list[Callable[[], None]] = []
    processes: list[Incarnation] = []
    on_death: list[Callable[[], None]] = []
    kept: list[Any] = []
    guests: dict[str, Any] = {}
    locks: dict[Any, Any] = {}
    clients: dict[Any, Any] = {}
    takers: list[Any] = []
    mains: list[Scope] = []

    def __repr__(self) -> str:
        return f"<incarnation {self.label}{'' if self.alive else ', dead'}>"


class Scope:
    """The causal context of running code: a handler run, a service's main loop, a relay.

    `message` is the name of the message in hand. `cause` moves along: it is the last event of
    this scope, so that the history holds the order of the program as well as the edges between
    services.
    `clock` counts how often its code has asked what time it is, `reckons_ms` is the longest
    duration that this code names, and `loop` is what is known of it between two sleeps. `rests`
    counts its sleeps of no length at one moment, `rests_at`.
    """

    __slots__ = (
        "cause",
        "clock",
        "colour",
        "draws",
        "entity",
        "hops",
        "incarnation",
        "loop",
        "message",
        "place",
        "reckons_ms",
        "rests",
        "rests_at",
        "run",
        "stepped_at",
        "steps",
        "struck",
        "world",
    )

    background = False
    """Whether its sleeps keep no run going: what it does for ever, it does by design."""

    thread: Any = None
    """The thread that its code runs in, where code of the run has started one."""

    def __init__(
        self,
        world: World,
        incarnation: Incarnation,
        place: str,
        entity: int,
        cause: int,
        colour: Any,
        hops: int = 0,
        message: str = "",
    ) -> None:
        self.world = world
        self.incarnation = incarnation
        self.place = place
        self.entity = entity
        self.cause = cause
        self.colour = colour
        self.hops = hops
        self.message = message
        self.reckons_ms = 0
        self.run: Any = None
        self.steps = 0
        self.stepped_at = self.rests_at = -1
        self.rests = 0
        self.draws = 0
        self.struck: tuple[Any, ...] = ()
        self.clock = 0
        self.loop: Loop | None = None

    def record(self, kind: str, operation: str, attempt: int, data: Any) -> int:
        """Add an event of this scope to the history, caused by the scope's last one."""
        world = self.world
        raw = world.raw
        label = self.incarnation.label
        cause = self.cause
        self.cause = index = len(raw)
        raw.append((world.now, kind, label, operation, self.entity, attempt, cause, data))
        return index


class BackgroundScope(Scope):
    """The scope of a main loop that goes on for ever by design: a heartbeat, a clock."""

    __slots__ = ()

    background = True


SCOPE: ContextVar[Scope | None] = ContextVar("chaosharness.scope", default=None)
"""The scope of the code that runs now. Tasks inherit it, in asyncio and in trio."""
