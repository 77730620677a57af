"""A process that is told to stop: what it does in the time that it is given, and how it ends.

Source:
    Python 3.13, `signal`: a handler runs in the main thread, between two of its bytecodes, and
    what it raises is raised there; a wait is taken up again where it returns (PEP 475). A signal
    without a handler ends the process at once: no `finally` runs. asyncio,
    `loop.add_signal_handler`: called by the loop, as `call_soon` does it; `Runner.close` cancels
    the tasks that are left. Kubernetes, "Termination of Pods": SIGKILL after the grace period.

Not modelled:
    Child processes; a second signal while the first is dealt with; `atexit`; `threading._shutdown`,
    which waits for threads that are no daemons: what they do is cut off.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import attrs

from chaosharness.errors import IllegalFault
from chaosharness.faults import GracefulStop
from chaosharness.handlers.carrier import PLAIN, Parked
from chaosharness.handlers.places import told
from chaosharness.handlers.script import NEVER, Script
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.kernel.world import Lasting, World

SIGNAL: Final = int(signal.SIGTERM)

STOPPED: Final = "stopped"
KILLED: Final = "killed"
UNTOLD: Final = "untold"
LAMBDA: Final = (
    "AWS Lambda ends an environment between two invocations, without SIGTERM where no extension is "
    "registered, and a function that runs too long is cut off"
)
"""Why a Lambda function cannot be told to stop.

*Source*: AWS Lambda Developer Guide, "Understanding the Lambda execution environment lifecycle",
Shutdown phase: 0 ms without extensions, 500 ms or 2 s with them."""
"""How a process has ended that was told to stop: by itself, when its time was over, or at once,
because nobody in it had a handler for the signal."""

ENDS: Final = (SystemExit, KeyboardInterrupt)
"""What a handler of the signal raises to have its process end."""


class Taker(Protocol):
    """What takes messages or requests for an incarnation, and hands them to a handler."""

    def cease(self) -> None:
        """Take nothing more: finish what is in hand."""

    def is_busy(self) -> bool:
        """Say whether something is in hand still."""


class Unknown:
    """A taker of a process that cannot be told to stop.

    Args:
        incarnation: Whose process it is. No search tries it there.
        why: Said of whoever tells it all the same.
    """

    def __init__(self, incarnation: Incarnation, why: str) -> None:
        self.why = why
        incarnation.world.untold.add(incarnation.service)
        incarnation.takers.append(self)

    def cease(self) -> None:
        """Do nothing: its process is refused to be told."""

    def is_busy(self) -> bool:
        """Say no."""
        return False


def with_untold(world: World) -> dict[str, Any]:
    """Return what may strike at each operation of a run: nobody tells an `Unknown` to stop."""
    untold = world.untold
    if not untold:
        return world.surfaces
    return {
        operation: attrs.evolve(surface, told=False)
        if operation.partition(".")[0] in untold or operation.rpartition(" to ")[2] in untold
        else surface
        for operation, surface in world.surfaces.items()
    }


class Registered(Protocol):
    """What runs in a process when the signal comes."""

    def run(self, stopping: Stopping, scope: Scope | None) -> None:
        """Run it; `scope` is where the signal came, if code of this process stands there."""


def register(incarnation: Incarnation, number: int, what: Any) -> Any:
    """Have something run at a signal; return what was there before."""
    if incarnation.signals is None:
        incarnation.signals = {}
    before = incarnation.signals.get(number)
    incarnation.signals[number] = what
    return before


def forget(incarnation: Incarnation, number: int) -> bool:
    """Have nothing run at a signal; say whether there was something."""
    kept = incarnation.signals
    return kept is not None and kept.pop(number, None) is not None


def stop(scope: Scope, fault: GracefulStop) -> Script[None]:
    """Tell the process of a scope to stop, and go on if it does not end at once."""
    own = scope.incarnation
    incarnation = own.host or own.parent or own
    if incarnation.stopping is None:
        stopping = incarnation.stopping = Stopping(
            incarnation, fault.down, fault.grace_ms, scope.cause
        )
        stopping.begin(scope)
    if not scope.incarnation.alive:
        yield NEVER


class Stopping:
    """The stop of one incarnation, from when it is told.

    Args:
        incarnation: Who is told.
        down: How long it is down once it has ended.
        grace_ms: How long it is given.
        cause: The event that has it told.
    """

    __slots__ = ("_cause", "_down", "_entry", "_grace_ms", "_incarnation", "_leaving", "_working")

    def __init__(self, incarnation: Incarnation, down: Lasting, grace_ms: int, cause: int) -> None:
        self._incarnation = incarnation
        self._down = down
        self._grace_ms = grace_ms
        self._cause = cause
        self._entry: Entry | None = None
        self._working = False
        self._leaving = False

    def begin(self, scope: Scope) -> None:
        """Have the process learn of it."""
        incarnation = self._incarnation
        world = incarnation.world
        takers = incarnation.takers
        unknown = next((one for one in takers if isinstance(one, Unknown)), None)
        if unknown is not None:
            world.refuse(_illegal(incarnation, unknown.why))
            return
        handler = (incarnation.signals or {}).get(SIGNAL)
        if handler is None and not takers:
            self.end(UNTOLD)
            return
        if self._grace_ms:
            world.know_timeout(self._grace_ms)
        self._entry = world.agenda.add(world.now + self._grace_ms, self._kill)
        for one in takers:
            one.cease()
        if handler is not None:
            self._working = True
            handler.run(self, scope)
        else:
            self.look()

    def work(self, call: Callable[[], object]) -> None:
        """Run the handler of the signal where the code stands that learns of what it raises."""
        try:
            call()
        finally:
            self._working = False
        self.look()

    def worked(self) -> None:
        """Learn that the handler of the signal has returned."""
        self._working = False
        self.look()

    def raised(self, error: BaseException) -> None:
        """Learn that it has raised, where nobody else is there to be told."""
        self._working = False
        if isinstance(error, ENDS):
            self.end(STOPPED)
            return
        incarnation = self._incarnation
        data = {**told(error), "signal": SIGNAL}
        incarnation.world.record("raised", incarnation.label, cause=self._cause, data=data)
        self.look()

    def look(self) -> None:
        """End the process, if it has nothing to do any more.

        Tasks of asyncio that are left are cancelled first, and waited for, as `asyncio.run` does.
        """
        incarnation = self._incarnation
        if not incarnation.alive or self._working or self._leaving:
            return
        if any(one.is_busy() for one in incarnation.takers):
            return
        if incarnation.mains and incarnation.signals and SIGNAL in incarnation.signals:
            return  # its own loops were told too, and end by themselves
        loop = incarnation.guests.get("asyncio")
        if loop is not None:
            self._leaving = loop.loop.cancel_all(self._left)
        if not self._leaving:
            self.end(STOPPED)

    def _left(self, _: Any) -> None:
        self.end(STOPPED)

    def end(self, how: str) -> None:
        """End the process."""
        incarnation = self._incarnation
        world = incarnation.world
        if self._entry is not None:
            world.agenda.cancel(self._entry)
        world.crash(incarnation, self._down, cause=self._cause, how=how)

    def _kill(self, _: Any) -> None:
        self._entry = None
        if self._incarnation.alive:
            self.end(KILLED)


def _illegal(incarnation: Incarnation, why: str) -> IllegalFault:
    words = f"GracefulStop at {incarnation.label}, which cannot be told to stop: {why}"
    return IllegalFault(f"{words}. Use Crash there.")


class OfPython:
    """A handler that `signal.signal` was given."""

    __slots__ = ("handler",)

    def __init__(self, handler: Callable[[int, Any], object]) -> None:
        self.handler = handler

    def run(self, stopping: Stopping, scope: Scope | None) -> None:
        """Call it in the main thread, wherever that stands."""
        assert scope is not None
        incarnation = scope.incarnation.host or scope.incarnation
        call = partial(self.handler, SIGNAL, None)
        main = next(iter(incarnation.mains), None)
        if main is not None and not main.colour.is_async:
            if main is scope:
                stopping.work(call)
            else:
                _interrupt(main, call, stopping)
            return
        loop = incarnation.guests.get("asyncio")
        if loop is not None and (main is None or main.colour is loop):
            loop.loop.signalled(call, stopping, main or _own(incarnation, scope))
        else:
            _beside(call, stopping, _own(incarnation, scope))


class OfLoop:
    """A callback that asyncio's `loop.add_signal_handler` was given."""

    __slots__ = ("_call", "_loop", "_scope")

    def __init__(self, loop: Any, call: Callable[[], object], scope: Scope | None) -> None:
        self._loop = loop
        self._call = call
        self._scope = scope

    def run(self, stopping: Stopping, scope: Scope | None) -> None:
        """Have the loop call it, after what is ready."""
        assert scope is not None
        own = self._scope or _own(scope.incarnation, scope)
        self._loop.signalled(self._call, stopping, own)


class Ignored:
    """`signal.SIG_IGN`: nobody takes notice."""

    def run(self, stopping: Stopping, scope: Scope | None) -> None:
        """Go on: only the end of its time ends the process."""


def _own(incarnation: Incarnation, scope: Scope) -> Scope:
    """Return the scope of code that runs in a process for nobody in particular."""
    place = f"{incarnation.service}.stop"
    return Scope(incarnation.world, incarnation, place, 0, scope.cause, PLAIN)


def _interrupt(main: Scope, call: Callable[[], object], stopping: Stopping) -> None:
    """Have a main loop that waits run something, and wait on."""

    for one in main.incarnation.kept:
        if type(one) is Parked and one.scope is main:
            one.interrupt(partial(stopping.work, call))
            return
    again = partial(_again, main, call, stopping)
    main.world.after(0, again)  # it is just about to go on


def _again(main: Scope, call: Callable[[], object], stopping: Stopping, _: Any) -> None:
    if not main.incarnation.alive:
        return
    if main in main.incarnation.mains:
        _interrupt(main, call, stopping)
    else:  # it has ended meanwhile
        _beside(call, stopping, _own(main.incarnation, main))


def _beside(call: Callable[[], object], stopping: Stopping, scope: Scope) -> None:
    """Run a handler of the signal where no code of its process stands in the way."""

    def done(_: Scope, __: Any, error: BaseException | None) -> None:
        if error is None:
            stopping.worked()
        else:
            stopping.raised(error)

    PLAIN.start(scope, call, None, None, done)


def take_signal(number: Any, handler: Any) -> Any:
    """Stand for `signal.signal` in code of a run; `NotImplemented` where it is none.

    Raises:
        ValueError: As Python's own does, in another thread than the main one.
    """
    scope = SCOPE.get()
    if scope is None or number not in _HEARD:
        return NotImplemented
    if scope.thread is not None:
        raise ValueError("signal only works in main thread of the main interpreter")
    incarnation = scope.incarnation.host or scope.incarnation
    if handler == signal.SIG_DFL:
        before = None
        if incarnation.signals:
            before = incarnation.signals.pop(int(number), None)
    else:
        what = Ignored() if handler == signal.SIG_IGN else OfPython(handler)
        before = register(incarnation, int(number), what)
    if isinstance(before, OfPython):
        return before.handler
    return signal.SIG_IGN if isinstance(before, Ignored) else signal.SIG_DFL


_HEARD: Final = frozenset(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGBREAK")
    if hasattr(signal, name)
)
"""The signals that a service may have a handler of. SIGTERM alone is ever sent."""
