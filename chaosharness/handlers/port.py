"""Ports: every effect of a handler passes one, and each is a site.

`operate` is the whole of it: count the attempt, let the faults of this site strike,
have the effect, let the faults after it strike. On the way where nothing is armed it
is a dozen lines; everything slow lives in `_careful`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, Literal, NoReturn, Protocol

import attrs

from chaosharness.errors import Abandoned, InvalidDefinition
from chaosharness.faults import (
    Crash,
    Delay,
    ErrorReply,
    Fault,
    GracefulStop,
    HostDeath,
    LostReply,
    LostRequest,
    LostWrites,
    NetworkPartition,
    Pause,
    Redeploy,
    StoreOutage,
)
from chaosharness.handlers.amid import amid_calls
from chaosharness.handlers.carrier import PLAIN, REFUSALS_MAX, park_once, vanish
from chaosharness.handlers.later import LaterEffect
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import NEVER, Resume, Script
from chaosharness.handlers.stopping import stop
from chaosharness.kernel.rest import Loop, State, Wait
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.kernel.site import Phase
from chaosharness.kernel.world import BACKGROUND, Background, Lasting, World

Kinds = tuple[type[Fault], ...]


@attrs.frozen
class Surface:
    """Which faults may strike at one kind of operation.

    Attributes:
        before: Legal before the operation takes effect.
        after: Legal once it has.
        searched_before: Those of `before` that a search tries. The rest are legal, and
            written by hand they strike, but each is the same as another that is tried:
            a crash before an operation equals one after the previous effect, unless a call
            is on its way then (`amid_calls`).
        searched_after: Likewise, of `after`.
        told: Whether the process that does it can be told to stop: a Lambda function cannot.
    """

    before: Kinds = ()
    after: Kinds = ()
    searched_before: Kinds = ()
    searched_after: Kinds = ()
    told: bool = True

    def stops(self, kinds: Kinds) -> Kinds:
        """Return some of these kinds, with `GracefulStop` where that can be."""
        return with_stops(kinds) if self.told else kinds


def surface(
    *,
    before: Kinds = (),
    after: Kinds = (),
    also: Kinds = (),
    also_before: Kinds = (),
    also_after: Kinds = (),
) -> Surface:
    """Build a surface; `also` is legal on both sides, but the same as a fault elsewhere.

    `also_before` and `also_after` are so on one side. A process can die or stall at any time:
    wherever code of the user stands, `Crash` and `Pause` are legal on both sides.
    """
    return Surface((*before, *also, *also_before), (*after, *also, *also_after), before, after)


def with_stops(kinds: Kinds) -> Kinds:
    """Return kinds with `GracefulStop` where a process can die: it can be told to stop there."""
    return (*kinds, GracefulStop) if Crash in kinds else kinds


READ: Final = surface(after=(Pause,), also=(Crash,), also_before=(Pause, StoreOutage))
WRITE: Final = surface(after=(Pause,), also=(Crash,), also_before=(Pause, StoreOutage))
HANDLE: Final = surface(before=(Crash,), also=(Pause,), also_after=(Crash,))
HANDLE_IN_EITHER: Final = surface(before=(Redeploy, Crash), also=(Pause,), also_after=(Crash,))
"""In front of a handler of a service that has two versions."""
DECIDE: Final = surface(before=(Crash,), also_before=(Pause,))
"""Where code goes on that may have begun in another process, from what was written down."""
DECIDE_IN_EITHER: Final = surface(before=(Redeploy, Crash), also_before=(Pause,))
"""The same in a service that has two versions: here the later one takes over."""
TAKES_OVER: Final = "/decide"
"""How the operation of such a place ends."""
SLEEP: Final = surface(after=(Crash,), also=(Pause,), also_before=(Crash,))
NOTE: Final = surface(also=(Crash, Pause))


class Peer(Protocol):
    """What stands at the other end of a port, and how its caller learns of trouble."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def timeout_ms(self) -> int:
        """How long a caller waits for an answer."""

    def lost(self, operation: str) -> BaseException:
        """Return what the caller sees when a request or its reply is lost."""

    def refused(self, operation: str) -> BaseException:
        """Return what the caller sees when it is told that nothing happened."""

    def lose_writes(self, scope: Scope) -> bool | None:
        """Forget what was not synced, at a power failure; nothing by default.

        Say whether only the peer failed; else whoever asked it dies with it.
        """


def current_scope(what: str, made_for: World | None = None) -> Scope:
    """Return the scope of the running code.

    Args:
        what: The port that it uses.
        made_for: The run that the port was made in, where a port may be kept for a later one.

    Raises:
        InvalidDefinition: The port is used outside a run, or in a later one.
        Abandoned: The incarnation has died: this code runs on by accident.
    """
    scope = SCOPE.get()
    if scope is None:
        raise InvalidDefinition(
            f"{what} was used outside a run. Ports work only in code that the harness runs: "
            "a handler, a service's main loop, or the function that builds the service."
        )
    world = scope.world
    if made_for is not None and made_for is not world:
        refuse_stranger(scope, f"{what} of a port", None)
    scope.steps += 1
    if not scope.incarnation.alive or world.ending is not None:
        if scope.steps > REFUSALS_MAX:
            vanish(world)
        raise Abandoned(scope.incarnation.label)
    if scope.steps > world.budget.steps_max:
        if scope.stepped_at == world.now:
            world.end("spinning", f"{scope.place} passed {scope.steps - 1:,} ports in one go")
            raise Abandoned(scope.incarnation.label)
        scope.steps = 1  # so many ports, but time has moved since they were counted last
        scope.stepped_at = world.now
    return scope


def read_clock(world: World) -> None:
    """Take note that code reads the clock of a run; it may do so too often without waiting.

    Raises:
        Abandoned: The incarnation has died: this code runs on by accident.
    """
    scope = SCOPE.get()
    if scope is None:
        return
    if not scope.incarnation.alive or world.ending is not None:
        current_scope("now_ms")
    if world.on_read is not None:
        world.on_read()


def refuse_stranger(scope: Scope, what: str, owner: Incarnation | None) -> NoReturn:
    """Raise, and call the run off: a port is used by another than it was made for.

    Args:
        scope: Who uses it.
        what: What it is, or does.
        owner: Whom it was made for; None for a port of an earlier run.

    Raises:
        InvalidDefinition: Always.
    """
    if owner is None or owner.world is not scope.world:
        whose = "an earlier run"
    elif owner.service == scope.incarnation.service and owner.replica == scope.incarnation.replica:
        whose = f"{owner.label}, before it crashed"
    else:
        whose = owner.label
    call_off(
        InvalidDefinition(
            f"{scope.incarnation.label} uses {what} that was made for {whose}. It is memory: make "
            "it with env inside the function that builds the service, and keep it in no global "
            "and no variable outside of that function."
        )
    )


def call_off(error: InvalidDefinition) -> NoReturn:
    """Raise a mistake in the user's code, and see to it that whoever asked for the run learns.

    Raises:
        InvalidDefinition: Always.
    """
    scope = SCOPE.get()
    if scope is not None and scope.world.is_mistake(error):
        scope.world.refuse(error)
    raise error from None


def operate(
    action: str,
    effect: Callable[[Scope, str, int, Any], Any],
    argument: Any,
    peer: Peer,
    surface: Surface,
    blocking: bool = False,
) -> Any:
    """Pass a port: have an effect that takes no time, with the faults of its site.

    Args:
        action: What is done, for example `bank.charge`: the end of the operation's name.
        effect: `effect(scope, operation, attempt, argument)` does it, records it, and
            returns the result.
        argument: Passed through to `effect`.
        peer: The other end: its name, and the errors its callers see.
        surface: Which faults may strike here.
        blocking: True where an `async` caller calls without `await` (a sqlite3 cursor).

    Returns:
        The result of `effect`; in an `async` handler, unless `blocking`, an awaitable.
    """
    scope = current_scope(action)
    world = scope.world
    operation = f"{scope.place}/{action}"
    key = (operation, scope.entity, scope.message)
    world.counts[key] = attempt = world.counts.get(key, 0) + 1
    if operation not in world.surfaces:
        world.meet(operation, surface)
    if operation in world.armed or world.unreachable:
        script = careful(scope, operation, attempt, effect, argument, peer)
        if blocking:
            return scope.colour.block(script, scope)
        if scope.colour.is_async:
            script = on_behalf(scope, scope.entity, scope.message, script)
        return scope.colour.drive(script, scope)
    if not scope.colour.is_async:
        return effect(scope, operation, attempt, argument)
    if blocking:
        amid_calls(scope, operation)
        return effect(scope, operation, attempt, argument)
    return LaterEffect(scope, scope.entity, effect, operation, attempt, argument)


def operate_for(
    scope: Scope,
    entity: int,
    operation: str,
    effect: Callable[[Scope, str, int, Any], Any],
    argument: Any,
    peer: Peer,
    surface: Surface,
) -> Any:
    """Pass a port, as `operate` does, for another workload item than its scope's.

    Args:
        scope: Who passes it.
        entity: For which item.
        operation: The operation's whole name.
        effect: As for `operate`; its result is of no use to the caller.
        argument: Passed through to `effect`.
        peer: The other end.
        surface: Which faults may strike here.
    """
    world = scope.world
    place = (operation, entity, scope.message)
    world.counts[place] = attempt = world.counts.get(place, 0) + 1
    if operation not in world.surfaces:
        world.meet(operation, surface)
    if operation in world.armed or world.unreachable:
        script = careful(scope, operation, attempt, effect, argument, peer)
        return scope.colour.drive(on_behalf(scope, entity, scope.message, script), scope)
    if scope.colour.is_async:
        return LaterEffect(scope, entity, effect, operation, attempt, argument)
    own = scope.entity
    if own == entity:
        effect(scope, operation, attempt, argument)
        return None
    scope.entity = entity
    try:
        effect(scope, operation, attempt, argument)
    finally:
        scope.entity = own
    return None


def careful(
    scope: Scope,
    operation: str,
    attempt: int,
    effect: Callable[[Scope, str, int, Any], Any],
    argument: Any,
    peer: Peer,
) -> Script[Any]:
    """Have an effect at a site where a fault is armed, or while the network is cut.

    Faults that change the effect itself (a poison message, a failed commit) are left in
    `scope.struck` for the effect to read.
    """
    arrives = yield from before(scope, operation, attempt, peer)
    if not arrives:
        raise (yield from lost(scope, operation, attempt, peer, happened=False))
    result = have(scope, operation, attempt, effect, argument)
    yield from after(scope, operation, attempt, peer)
    return result


def before(scope: Scope, operation: str, attempt: int, peer: Peer) -> Script[bool]:
    """Suffer what strikes before an effect; say whether the request gets to the other end.

    Raises:
        BaseException: The peer's refusal, where it refuses.
    """
    for fault in strikes(scope, operation, "before", attempt):
        if isinstance(fault, ErrorReply):
            raise refused(scope, operation, attempt, peer)
        if isinstance(fault, LostRequest):
            return False
        yield from trouble(scope, fault, peer)
    return not cut(scope, peer, "out")


def have(
    scope: Scope,
    operation: str,
    attempt: int,
    effect: Callable[[Scope, str, int, Any], Any],
    argument: Any,
) -> Any:
    """Have an effect, as the faults in `scope.struck` change it."""
    try:
        return effect(scope, operation, attempt, argument)
    finally:
        scope.struck = ()


def after(scope: Scope, operation: str, attempt: int, peer: Peer) -> Script[None]:
    """Suffer what strikes once an effect has happened.

    Raises:
        BaseException: What the caller sees when the answer is lost.
    """
    for fault in strikes(scope, operation, "after", attempt):
        if isinstance(fault, LostReply):
            raise (yield from lost(scope, operation, attempt, peer, happened=True))
        yield from trouble(scope, fault, peer)
    if cut(scope, peer, "back"):
        raise (yield from lost(scope, operation, attempt, peer, happened=True))


def on_behalf(scope: Scope, entity: int, message: str, script: Script[Any]) -> Script[Any]:
    """Run a script for another workload item than its scope's: a relay's row has its own.

    The message in hand is the one that was when it was asked for. The scope gets its own back
    at each wait: other tasks of the same scope may run then.
    """
    value: Any = None
    try:
        while True:
            own, scope.entity = scope.entity, entity
            in_hand, scope.message = scope.message, message
            try:
                wait = script.send(value)
            except StopIteration as stop:
                return stop.value
            finally:
                scope.entity = own
                scope.message = in_hand
            value = yield wait
    finally:
        script.close()


def strikes(scope: Scope, operation: str, phase: Phase, attempt: int) -> list[Any]:
    """Return the faults that strike at this site, and record them in this scope."""
    world = scope.world
    if operation not in world.armed or not world.chaos:
        return []
    struck = world.arms.strike(operation, phase, scope.entity, attempt, scope.message)
    for fault in struck:
        world.effects += 1  # a round in which a fault strikes says nothing about the next one
        scope.record("fault", operation, attempt, {"fault": str(fault)})
    return struck


def trouble(scope: Scope, fault: Fault, peer: Peer) -> Script[None]:
    """Suffer a fault that any code can suffer; leave the others to the effect."""
    match fault:
        case Crash():
            yield from crash(scope, fault.down)
        case GracefulStop():
            yield from stop(scope, fault)
        case HostDeath():
            scope.incarnation.unheard = True
            yield from crash(scope, fault.down)
        case Redeploy():
            scope.incarnation.restart = scope.incarnation.redeploy
            yield from crash(scope, "next")
        case LostWrites():
            if not peer.lose_writes(scope):
                yield from crash(scope, "next")
        case Pause():
            due_ms = scope.world.alone_until(fault.lasting)
            silent = fault.heartbeats == "stop"
            yield from stall(scope, due_ms) if silent else wait_until(scope, due_ms)
        case Delay():
            yield from wait_until(scope, scope.world.alone_until(fault.lasting))
        case NetworkPartition():
            scope.world.part(scope.incarnation.service, peer.name, fault.way, fault.lasting)
        case _:
            scope.struck = (*scope.struck, fault)


def crash(scope: Scope, down: Lasting) -> Script[None]:
    """Kill the incarnation of this scope, and never go on."""
    scope.world.crash(scope.incarnation, down, cause=scope.cause)
    yield NEVER


def stall(scope: Scope, due_ms: int) -> Script[None]:
    """Stand still; who watches over the process can see it, and learns when it goes on."""
    incarnation = scope.incarnation
    incarnation.stalls += 1
    if incarnation.stalls == 1:
        incarnation.stalled_since = scope.world.now
    for notice in incarnation.on_stall:
        notice(due_ms)
    try:
        yield from wait_until(scope, due_ms)
    finally:  # a task that is cancelled stalls no more
        incarnation.stalls -= 1
        if not incarnation.stalls:
            incarnation.stalled_since = None
            if incarnation.alive and scope.world.ending is None:
                for hook in incarnation.on_resume:
                    hook()


def wait_until(scope: Scope, due_ms: int) -> Script[None]:
    """Stall until a moment, or until the calm, whichever comes first."""
    world = scope.world
    if not world.chaos or due_ms <= world.now:
        return

    def keep(resume: Resume) -> None:
        world.until(due_ms, resume)

    yield keep


def lost(
    scope: Scope, operation: str, attempt: int, peer: Peer, *, happened: bool
) -> Script[BaseException]:
    """Wait for the timeout of a call without an answer; return the error it ends in."""
    yield peer.timeout_ms
    data = {"outcome": "unknown", "happened": happened}
    scope.record("reply", operation, attempt, data)
    return peer.lost(operation)


def refused(scope: Scope, operation: str, attempt: int, peer: Peer) -> BaseException:
    """Return the error of a call that was told nothing happened."""
    scope.record("reply", operation, attempt, {"outcome": "failed", "happened": False})
    return peer.refused(operation)


def cut(scope: Scope, peer: Peer, way: Literal["out", "back"]) -> bool:
    """Say whether requests to this peer (`out`), or its replies (`back`), are lost now."""
    unreachable = scope.world.unreachable
    if not unreachable:
        return False
    pair = (scope.incarnation.service, peer.name)
    return (pair if way == "out" else pair[::-1]) in unreachable


APART_MS: Final = 370
"""How much longer than that of the replica before it the first sleep of a loop lasts."""

Look = Callable[[Any], State]
Nap = Wait | Background


def sleep(
    seconds: float,
    look: Look = of_stack,
    at: Any = None,
    *,
    blocking: bool = False,
    made_for: World | None = None,
) -> Any:
    """Let virtual time pass: blocks a plain function, is awaited by a coroutine.

    Args:
        seconds: For how long.
        look: Takes the fingerprint of the code that sleeps.
        at: Where `look` has to look; by default at the code that calls.
        blocking: Whether a coroutine is blocked too, with its event loop (`time.sleep`).
        made_for: The run that the port belongs to.
    """
    if seconds < 0:
        raise ValueError(f"cannot sleep for {seconds} s")
    scope = current_scope("sleep", made_for)
    world = scope.world
    operation = f"{scope.place}/sleep"
    attempt = world.reach(operation, scope.entity, scope.message)
    if operation not in world.surfaces:
        world.meet(operation, SLEEP)
    delay_ms = round(seconds * 1000)
    if not delay_ms:
        _rest(scope)
    if scope in world.in_flight:
        at = None
    elif at is None:
        at = sys._getframe(1)
    asked_ms = delay_ms
    if at is not None and not has_slept(scope):
        delay_ms += apart_ms(scope.incarnation)
    nap = wait_of(scope, delay_ms, look, at)
    if scope.colour is PLAIN and operation not in world.armed:

        def keep(parked: Resume) -> None:
            scope.record("sleep", operation, attempt, {"ms": asked_ms})
            world.know_duration(asked_ms)
            world.agenda.add(world.now + delay_ms, _wake, (nap, parked), nap)

        if park_once(scope, keep):
            scope.record("wake", operation, attempt, None)
            return None
    script = _sleep(scope, operation, attempt, asked_ms, delay_ms, nap)
    if blocking:
        return scope.colour.block(script, scope)
    return scope.colour.drive(script, scope)


def _rest(scope: Scope) -> None:
    """Count sleeps of no length: too many at one moment are spinning, as ports are."""
    world = scope.world
    if scope.rests_at != world.now:
        scope.rests_at = world.now
        scope.rests = 0
    scope.rests += 1
    if scope.rests > world.budget.steps_max:
        words = f"{scope.place} slept {scope.rests - 1:,} times in one go, for no time"
        world.end("spinning", words)
        raise Abandoned(scope.incarnation.label)


def apart_ms(incarnation: Incarnation) -> int:
    """Return how much later a loop of this replica wakes from its first sleep.

    Nobody's processes are started in one millisecond. Relays that look in step, each with the
    same rows, would send everything twice without any fault, and one that dies in between would
    never be missed.
    """
    return (incarnation.replica - 1) * APART_MS


def has_slept(scope: Scope) -> bool:
    """Say whether a loop has slept before, for any time."""
    return scope.loop is not None and scope.loop.slept_ms > 0


def wait_of(scope: Scope, delay_ms: int, look: Look, at: Any, *, holds: bool = False) -> Nap:
    """Return what stands for one sleep of a scope, which begins now."""
    if scope.background:
        return BACKGROUND
    loop = scope.loop
    if loop is None:
        loop = scope.loop = Loop()
    return Wait(scope.world, loop, scope, delay_ms, look, at, holds=holds)


def _wake(sleeper: tuple[Nap, Resume]) -> None:
    nap, resume = sleeper
    nap.woke()
    resume(None)


def _sleep(
    scope: Scope, operation: str, attempt: int, asked_ms: int, delay_ms: int, nap: Nap
) -> Script[None]:
    world = scope.world

    def keep(resume: Resume) -> None:
        world.know_duration(asked_ms)
        world.agenda.add(world.now + delay_ms, _wake, (nap, resume), nap)

    armed = operation in world.armed
    if armed:
        for fault in strikes(scope, operation, "before", attempt):
            yield from trouble(scope, fault, NOBODY)
    scope.record("sleep", operation, attempt, {"ms": asked_ms})
    yield keep
    scope.record("wake", operation, attempt, None)
    if armed:
        for fault in strikes(scope, operation, "after", attempt):
            yield from trouble(scope, fault, NOBODY)


@attrs.frozen
class Nobody:
    """The peer of an operation that has none."""

    name: str = ""
    timeout_ms: int = 0

    def lost(self, operation: str) -> BaseException:
        """Return a timeout: never used, since nothing is asked of nobody."""
        return TimeoutError(operation)

    def refused(self, operation: str) -> BaseException:
        """Return a refusal: never used, since nothing is asked of nobody."""
        return ConnectionError(operation)

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing."""


NOBODY: Final = Nobody()
