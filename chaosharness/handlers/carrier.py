"""Carriers: greenlets that take turns at running the kernel's loop.

A plain function cannot be stopped at a port and resumed later; the greenlet it runs in
can. But a switch costs 0.4 µs each way, and most handlers never have to wait. So a
handler is simply called, from the loop, in the loop's own greenlet. Only when it has to
wait does the loop go on in another carrier; the handler stays where it is, with the
remains of the old loop beneath it, and when it is resumed and ends, those are done too.

Event loops run the same way: a coroutine that calls a blocking port blocks its whole
loop, as it would in production, and nobody else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, Protocol

import msgspec
from greenlet import GreenletExit, getcurrent, greenlet

from chaosharness.errors import InternalError, InvalidDefinition
from chaosharness.handlers.places import line_of
from chaosharness.handlers.script import Script, T, arm
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.kernel.world import Ending, World

Read = Callable[[Any], tuple[Any, ...]]
"""Turns a message into the arguments of its handler."""


class Carrier(greenlet):
    """A greenlet that can run the loop; between its turns it is idle."""

    crew: Crew

    def run(self) -> None:
        while True:
            self.crew.drive(self)


class Crew:
    """The carriers of one run, and which of them runs the loop.

    Attributes:
        home: The greenlet that asked for the run, and gets its result. No user code runs
            in it, so that it comes back whatever user code does.
        driver: The carrier whose stack holds the loop that is going on.
        idle: Carriers that hold no code; they are used again in the next run.
    """

    __slots__ = ("_maker", "driver", "error", "home", "idle", "over", "world")

    def __init__(self, home: greenlet) -> None:
        self.home = home
        self.driver: greenlet = home
        self.idle: list[greenlet] = []
        self._maker = greenlet(self._make, parent=home)
        self.world: World | None = None
        self.over = True
        self.error: BaseException | None = None

    def play(self, world: World) -> Ending:
        """Run a world to its end, from the home greenlet."""
        assert self.over
        self.world = world
        world.crew = self
        self.over = False
        self.error = None
        try:
            self._hand_over()  # comes back when the run is over
        finally:
            self.over = True
            world.crew = self.world = None
        if self.error is not None:
            raise self.error
        return world.conclude()

    def drive(self, carrier: Carrier) -> None:
        """Take a turn at the loop; then hand over, and be idle until the next turn."""
        world = self.world
        if world is not None:
            try:
                world.drive()
            except BaseException as error:
                self.error = error
                world.end("stuck", "the harness itself failed")
        self.idle.append(carrier)
        if world is None or world.ending is not None:
            self.home.switch()
        else:
            self.driver.switch()

    def leave(self, carrier: greenlet) -> Any:
        """Stop the code of this carrier, and have the loop go on; returns when resumed."""
        if self.driver is not carrier:
            return self.driver.switch()
        world = self.world
        assert world is not None
        world.turn += 1
        return self._hand_over()

    def _hand_over(self) -> Any:
        """Have the loop go on in an idle carrier, or a new one."""
        if not self.idle:
            # A greenlet begins at the recursion depth of its maker: were it us, that of its
            # code would come on top of ours, and a few dozen parked handlers be too deep.
            return self._maker.switch()
        self.driver = driver = self.idle.pop()
        return driver.switch()

    def _make(self) -> None:
        """Make carriers; runs in a greenlet of its own, which nothing lies beneath."""
        while True:
            self.driver = driver = Carrier(parent=self.home)
            driver.crew = self
            driver.switch()


class _Crews(threading.local):
    crew: Crew | None = None


_CREWS: Final = _Crews()


def current_crew() -> Crew:
    """Return a crew whose home is the running greenlet, and which has nothing to do."""
    crew = _CREWS.crew
    if crew is None or crew.home is not getcurrent() or not crew.over:
        crew = _CREWS.crew = Crew(getcurrent())
    return crew


class Parked(msgspec.Struct, eq=False, weakref=True):
    """A carrier that waits, and the scope it waits for. Calling it resumes the carrier."""

    carrier: greenlet
    scope: Scope
    done: bool = False
    amid: bool = False
    """Whether what interrupts the wait is at work."""
    late: tuple[Any] | None = None
    """What the wait has ended with meanwhile."""

    def __call__(self, value: Any) -> None:
        if self.done:
            return
        self.done = True
        self._resume(value)

    def interrupt(self, call: Callable[[], object]) -> None:
        """Have the code that waits run something, and then wait on."""
        self.amid = True
        self.scope.world.after(0, self._break, call)

    def _break(self, call: Callable[[], object]) -> None:
        world = self.scope.world
        if not self.scope.incarnation.alive or world.ending is not None:
            return
        if world.crew.driver is getcurrent():
            self.carrier.switch(Interruption(call))
        else:
            world.after(0, self._break, call)

    def dispose(self) -> None:
        """End the code at the end of the run."""
        dispose(self.carrier)

    def _resume(self, value: Any) -> None:
        world = self.scope.world
        if not self.scope.incarnation.alive or world.ending is not None:
            return
        if self.amid:
            self.late = (value,)
            return
        if world.crew.driver is getcurrent():
            self.carrier.switch(value)
        else:  # code that was resumed itself: it would be taken for parked
            world.after(0, self._resume, value)


class Interruption:
    """What code that waits is resumed with, where it is to run something and wait on."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call


class Turns(Protocol):
    """An event loop, which is that of the thread only while it runs."""

    def enter(self) -> None:
        """Become the event loop of this thread."""

    def leave(self) -> None:
        """Be it no longer."""


def park(script: Script[T], scope: Scope, loop: Turns | None = None) -> T:
    """Run a script in the current carrier, stopping at each of its waits.

    The event loop that the caller runs in, if any, stands still meanwhile.
    """
    here = getcurrent()
    world, incarnation = scope.world, scope.incarnation
    crew = world.crew
    carrier = here if type(here) is Carrier and crew else _carrier_of(here, crew, scope)
    kept = incarnation.kept
    value: Any = None
    while True:
        try:
            wait = script.send(value)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        except BaseException:
            value = None  # the error itself, maybe, whose traceback holds this frame: a circle
            raise
        parked = Parked(here, scope)
        kept.append(parked)
        arm(wait, parked, world)
        while True:
            if incarnation.skew_ms:
                set_clock(world)
            if loop is not None:
                loop.leave()
            try:
                value = crew.leave(carrier)
            except BaseException:
                kept.remove(parked)
                raise
            finally:
                if loop is not None:
                    loop.enter()
            if incarnation.skew_ms:
                set_clock(world, incarnation.skew_ms)
            if world.on_turn is not None:
                world.on_turn(incarnation)
            scope.steps = 0
            if type(value) is not Interruption:
                break
            ended = _amid(parked, value, script, kept)
            if ended is not None:
                value = ended[0]
                break
        kept.remove(parked)


def park_once(scope: Scope, keep: Callable[[Parked], None]) -> bool:
    """Stop plain code for one wait; say whether it has: not where it runs in a greenlet of its own.

    What `park` does for a script that waits once, and has nothing else to do.
    """
    here = getcurrent()
    world, incarnation = scope.world, scope.incarnation
    crew = world.crew
    if type(here) is not Carrier or crew is None or incarnation.skew_ms:
        return False
    kept = incarnation.kept
    parked = Parked(here, scope)
    kept.append(parked)
    keep(parked)
    while True:
        try:
            value = crew.leave(here)
        except BaseException:
            kept.remove(parked)
            raise
        if world.on_turn is not None:
            world.on_turn(incarnation)
        scope.steps = 0
        if type(value) is not Interruption or _amid(parked, value, None, kept) is not None:
            break
    kept.remove(parked)
    return True


def _amid(
    parked: Parked, what: Interruption, script: Script[Any] | None, kept: list[Any]
) -> tuple[Any] | None:
    """Run what interrupts a wait; return what the wait has ended with meanwhile, if it has.

    What it raises is raised where the code waits, which waits no longer.
    """
    try:
        what.call()
    except BaseException:
        parked.done = True
        kept.remove(parked)
        if script is not None:
            script.close()
        raise
    parked.amid = False
    return parked.late


def _carrier_of(here: greenlet, crew: Any, scope: Scope | None) -> greenlet:
    """Return the carrier of the running code, which may use greenlets of its own on top."""
    carrier: greenlet | None = here
    while carrier is not None and crew is not None:
        if type(carrier) is Carrier:
            return carrier
        carrier = carrier.parent
    place = "the harness" if scope is None else scope.place
    raise InternalError(f"{place} reached a port in a greenlet that is not ours")


def set_clock(world: World, skew_ms: int = 0) -> None:
    """Show user code another time: that of an incarnation whose clock is off, or the true one."""
    if world.on_advance is not None:
        world.on_advance(world.now + skew_ms)


def dispose(code: Any) -> None:
    """End parked code at the end of a run. Its ports refuse; its result is nobody's."""
    if not isinstance(code, greenlet):
        code.dispose()
    elif not code.dead:
        with suppress(BaseException):  # whatever the clean-up of abandoned code raises
            code.throw(GreenletExit)


def aside(function: Callable[..., object], *arguments: Any) -> bool:
    """Run something in a greenlet of its own; say whether it came to its end.

    Where it does not, `vanish` has taken it away.
    """
    one = greenlet(function)
    one.switch(*arguments)
    return one.dead


REFUSALS_MAX: Final = 1_000
"""How often a port refuses code that has been abandoned, before the code is taken away."""

_VANISHED: Final[list[greenlet]] = []
"""Code that would not end. Kept for good: freeing it would ask it to end once more."""


def can_wait(world: World) -> bool:
    """Say whether the running code can stop at a port: not while a service is being built."""
    carrier: greenlet | None = getcurrent()
    while carrier is not None and type(carrier) is not Carrier:
        carrier = carrier.parent
    return carrier is not None and world.crew is not None


def can_vanish(world: World) -> bool:
    """Say whether the running code can be taken away: it runs in a greenlet made for that."""
    here = getcurrent()
    if world.crew is None:
        return here.parent is not None
    carrier: greenlet | None = here
    while carrier is not None and type(carrier) is not Carrier:
        carrier = carrier.parent
    return carrier is not None


def vanish(world: World) -> None:
    """Take away code that swallows everything it is told to end with. Never comes back.

    The run must be over, or end now. Called wherever that code stands, also by a signal.
    """
    here = getcurrent()
    _VANISHED.append(here)
    crew = world.crew
    scope = SCOPE.get()
    while here.parent is not None:
        if crew is None:  # its run is over: go back to who disposes of it
            here.parent.switch()
        else:
            loop = None if scope is None else scope.colour.running_loop()
            if loop is not None:
                loop.leave()
            crew.leave(_carrier_of(here, crew, scope))


Done = Callable[[Scope, Any, BaseException | None], None]
"""Told how code ended: its scope, its result, its error."""


class Plain:
    """Plain `def`: runs in a carrier and stops at ports."""

    name = "plain"
    is_async = False

    @staticmethod
    def drive(script: Script[T], scope: Scope) -> T:
        """Wait in the caller's greenlet."""
        return park(script, scope)

    block = drive

    @staticmethod
    def running_loop() -> None:
        """Return None: there is no event loop."""

    @staticmethod
    def start(
        scope: Scope, function: Callable[..., Any], read: Read | None, message: Any, done: Done
    ) -> None:
        """Begin to run `function(*read(message))`; `done` is told how it ended.

        Returns when the code has ended, however long it was parked in between: do nothing
        after it that must be done at once.
        """
        # In a context of its own: what a handler sets in a context variable is gone with it.
        scope.world.context.copy().run(_run_plain, scope, function, read, message, done)


def _run_plain(
    scope: Scope, function: Callable[..., Any], read: Read | None, message: Any, done: Done
) -> None:
    SCOPE.set(scope)
    world, incarnation = scope.world, scope.incarnation
    skew_ms = incarnation.skew_ms
    if skew_ms:
        set_clock(world, skew_ms)
    if world.on_turn is not None:
        world.on_turn(incarnation)
    result: Any = None
    error: BaseException | None = None
    try:
        result = function() if read is None else function(*read(message))
    except GreenletExit:
        return
    except KeyboardInterrupt as raised:
        if incarnation.stopping is None:
            raise
        error = raised  # by its own handler of a signal
    except BaseException as raised:
        error = raised
    if skew_ms:
        set_clock(world)
    if not incarnation.alive or world.ending is not None:
        return
    if type(result) in _NOT_RUN:
        world.refuse(_hidden_code(scope, result))
    done(scope, result, error)
    error = None  # its traceback holds this frame: a circle


PLAIN: Final = Plain()


_NOT_RUN: Final = frozenset((CoroutineType, GeneratorType, AsyncGeneratorType))
"""What calling a function gives where nothing of its code has run yet."""


def _hidden_code(scope: Scope, result: Any) -> InvalidDefinition:
    """Say that nothing of the code ran which a plain function has returned."""
    coroutine = type(result) is CoroutineType
    code = getattr(result, "cr_code", None) or getattr(result, "gi_code", None) or result.ag_code
    if coroutine:
        result.close()
    at = line_of(code.co_filename, code.co_firstlineno)
    what = f"{scope.place} returned a {'coroutine' if coroutine else 'generator'}"
    builds = scope.place == f"{scope.incarnation.service}.start"
    if coroutine and builds:
        return InvalidDefinition(
            f"{what} that nobody awaits, of {code.co_name} ({at}). What builds a service is plain: "
            "it only says what the service is made of. Handlers that it gives to env.consume, and "
            "loops that it gives to env.main, may be async."
        )
    if coroutine:
        return InvalidDefinition(
            f"{what} that nobody awaits, of {code.co_name} ({at}). If it is a lambda or a "
            "wrapper around async code, hand over the async function itself (functools.partial "
            "is fine), or make the wrapper 'async def'."
        )
    return InvalidDefinition(
        f"{what}, of {code.co_name} ({at}): there is a 'yield' in it, so that calling it runs "
        "nothing. Make it a function that does the work and returns, and publish with "
        "env.publisher what it yields."
    )
