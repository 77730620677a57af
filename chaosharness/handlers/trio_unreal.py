"""What stands for the parts of trio that would touch the real world, or toss a coin."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from trio._core import _run

from chaosharness.errors import RealIO
from chaosharness.kernel.scope import SCOPE


class InOrder:
    """What stands for trio's random generator: it leaves things in order."""

    def shuffle(self, tasks: list[Any]) -> None:
        """Put the task that was made first at the end, from where trio takes the next."""
        tasks.reverse()

    def random(self) -> float:
        """Return a constant."""
        return 0.0

    def uniform(self, low: float, high: float) -> float:
        """Return a constant."""
        return low


IN_ORDER: Final = InOrder()


class NoIO:
    """What stands for trio's I/O manager: there is no I/O, and to ask the system costs 3 µs."""

    def __init__(self, runner: Any) -> None:
        self._real = runner.io_manager
        self._queue = runner.entry_queue

    def get_events(self, timeout: float) -> Any:
        """Return the wake-ups of `run_sync_soon`, if there are any."""
        return self._real.get_events(0) if self._queue.size() else []

    async def wait_readable(self, fd: Any) -> None:
        """Wait for trio's own wake-ups, and for nothing else."""
        if fd is not self._queue.wakeup.wakeup_sock:
            refuse("trio.lowlevel.wait_readable")
        await self._real.wait_readable(fd)

    async def wait_writable(self, fd: Any) -> None:
        """Refuse."""
        refuse("trio.lowlevel.wait_writable")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def refuse(what: str) -> NoReturn:
    """Call the run off: what was asked for would leave the simulated world."""
    scope = SCOPE.get()
    error = RealIO(what, where="user code" if scope is None else scope.place)
    if scope is not None:
        scope.world.refuse(error)
    raise error


_starting = False
_SETUP: Final[Callable[..., Any]] = _run.setup_runner


def _setup_runner(*arguments: Any, **options: Any) -> Any:
    """Stand for what `trio.run` and `start_guest_run` begin with: not in a handler."""
    if not _starting:
        scope = SCOPE.get()
        if scope is not None and scope.world.ending is None:
            refuse("trio.run")
    return _SETUP(*arguments, **options)


_run.setup_runner = _setup_runner


@contextmanager
def started_by_us() -> Iterator[None]:
    """Allow one run of trio, and have it leave Ctrl-C alone: it takes over the default handler."""
    global _starting  # noqa: PLW0603
    handler = None
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
    hidden = handler is signal.default_int_handler
    if hidden:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _starting = True
    try:
        yield
    finally:
        _starting = False
        if hidden:
            signal.signal(signal.SIGINT, handler)
