"""The sandbox of one run: clocks and chance are pinned, the real world is refused, and code
that runs on without end is interrupted.
"""

from __future__ import annotations

import os
import threading
from hashlib import blake2b, shake_128
from typing import Any, Final, NoReturn

from chaosharness.errors import InvalidDefinition, RealIO, Spinning
from chaosharness.handlers import locks, threads
from chaosharness.handlers.blame import waits_at
from chaosharness.handlers.carrier import REFUSALS_MAX, can_vanish, vanish
from chaosharness.handlers.guards import Guards
from chaosharness.handlers.pins import Pins
from chaosharness.handlers.port import sleep
from chaosharness.handlers.watchdog import ANSWERS, LIMIT_S, Watchdog
from chaosharness.kernel.scope import SCOPE
from chaosharness.kernel.world import World

_DRAWS: Final = 1 << 32  # draws of one scope; beyond that, those of the next


class Sandbox:
    """What surrounds the user's code from the beginning to the end of a run.

    Chance is a function of who draws: the place, the workload item, the how-manieth run of
    this place that draws for this item, the how-manieth draw. So removing a fault somewhere
    else moves nobody's random numbers.

    Args:
        limit_s: How long code may run without reaching a port, in real seconds.
    """

    __slots__ = ("_drawing", "_guards", "_pins", "_salt", "_watchdog", "world")

    def __init__(self, *, limit_s: float = LIMIT_S) -> None:
        self.world: World | None = None
        self._salt = ""
        self._drawing: dict[tuple[str, int], int] = {}
        self._pins = Pins(entropy=self._draw, spun=self._only_reads)
        self._guards = _Guards(self)
        self._watchdog = _Watchdog(self, limit_s)

    def open(self, world: World, *, salt: str = "") -> None:
        """Put it around a run.

        Args:
            world: The run.
            salt: What is mixed into chance, so that it falls otherwise.
        """
        self.world = world
        self._salt = salt
        self._drawing.clear()
        self._watchdog.start()  # first: it may start its thread
        self._pins.reads_max = world.budget.reads_max
        self._pins.start()
        self._guards.on()
        world.on_advance = self._pins.move
        world.on_read = self._pins.read
        world.on_stuck = waits_at

    def close(self) -> None:
        """Take it away again."""
        threads.come_home()
        self._guards.off()
        self._guards.refused.clear()
        self._pins.stop()
        self._watchdog.stop()
        self.world = None

    def _only_reads(self, reads: int) -> None:
        """End code that reads the clock again and again, as if time passed meanwhile."""
        place = _place()
        reason = f"{place} read the clock {reads:,} times without waiting: no time passes so"
        end_spinning(self.world, reason)
        raise Spinning(place, 0)

    def _draw(self, size: int) -> bytes:
        """Return bytes that look random to the code that asks, and are the same in each run."""
        scope = SCOPE.get()
        key = ("", 0) if scope is None else (scope.place, scope.entity)
        if scope is None or not scope.draws:
            self._drawing[key] = first = self._drawing.get(key, 0) + 1
            draw = first * _DRAWS
        else:
            draw = scope.draws + 1
        if scope is not None:
            scope.draws = draw
        source = f"{self._salt}{key[0]}\0{key[1]}\0{draw}".encode()
        if size <= blake2b.MAX_DIGEST_SIZE:
            return blake2b(source, digest_size=max(size, 1)).digest()[:size]
        return shake_128(source).digest(size)


class _Idle(threading.local):
    def __init__(self) -> None:
        self.sandboxes: list[Sandbox] = []


_IDLE: Final = _Idle()


if hasattr(os, "register_at_fork"):  # the watchdog's thread may hold a lock of one of them
    os.register_at_fork(after_in_child=_IDLE.sandboxes.clear)


def enter() -> None:
    """Have this thread be the one that runs something, until `leave`; runs may be nested.

    Raises:
        InvalidDefinition: Another thread is inside a run.
    """
    if not locks.enter_process():
        raise InvalidDefinition(
            "a system was run while another thread runs one: one run at a time in one process, "
            "since clocks and chance are pinned for all of it. Run tests side by side in "
            "processes (pytest-xdist), not in threads."
        )


leave: Final = locks.leave_process
"""Let another thread run something."""


def put_around(world: World, *, salt: str = "") -> Sandbox:
    """Put a sandbox of this thread around a run, until `take_away`."""
    idle = _IDLE.sandboxes
    one = idle.pop() if idle else Sandbox()
    one.open(world, salt=salt)
    return one


def take_away(one: Sandbox) -> None:
    """Take the sandbox of a run away again, and keep it for the next run."""
    one.close()
    _IDLE.sandboxes.append(one)


def end_spinning(world: World | None, reason: str) -> None:
    """Call a run off because its code spins, and take that code away; else come back."""
    if world is None:
        return
    world.end("spinning", reason)
    if can_vanish(world):
        vanish(world)


def _place() -> str:
    scope = SCOPE.get()
    return "the code around the services" if scope is None else scope.place


class _Guards(Guards):
    """Guards that call the run off, for the code that called may catch the error."""

    __slots__ = ("_sandbox",)

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(where=_place)
        self._sandbox = sandbox

    def sleep(self, seconds: float) -> None:
        """Stand for `time.sleep`: wait in virtual time, with the event loop, if there is one."""
        if SCOPE.get() is None:
            self.refuse(f"time.sleep({seconds:g})")
        sleep(max(seconds, 0.001) if seconds else 0, blocking=True)

    def refuse(self, what: str) -> NoReturn:
        """Raise for a call that would leave the simulated world, and end the run with it."""
        try:
            super().refuse(what)
        except RealIO as error:
            world = self._sandbox.world
            if world is not None:
                world.refuse(error)
                if len(self.refused) > REFUSALS_MAX and can_vanish(world):
                    vanish(world)  # it swallows the error, and asks again
            raise


class _Watchdog(Watchdog):
    """A watchdog that sees from the world whether something happens."""

    __slots__ = ("_sandbox",)

    def __init__(self, sandbox: Sandbox, limit_s: float) -> None:
        self._sandbox = sandbox
        super().__init__(where=_place, limit_s=limit_s)

    @property
    def progress(self) -> Any:
        """What differs whenever something has happened."""
        world = self._sandbox.world
        if world is None:
            return None
        running = world.ending is None
        return (world.now, len(world.raw), world.agenda.tickets, running, ANSWERS[0])

    @progress.setter
    def progress(self, _: Any) -> None:
        """Nothing to set."""

    def strike(self) -> NoReturn:
        """Call the run off, and take the code away that spins: an exception can be swallowed."""
        place = _place()
        reason = f"{place} ran for {self.limit_s:g} s of real time without reaching a port"
        end_spinning(self._sandbox.world, reason)
        super().strike()
