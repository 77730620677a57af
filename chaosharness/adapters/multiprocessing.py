"""multiprocessing: what it makes for processes to share is, in a run, shared by the threads of one.

A run starts no process (`handlers.guards` refuses each), so a lock, an event or a queue made in it
has only threads to wait for: loguru's `enqueue=True` is such a queue, and a thread that writes.
They are those of `threading` and `queue`, in virtual time. What was made before the run is the
real one.

Source:
    CPython 3.11 to 3.13, `Lib/multiprocessing/context.py`, `queues.py`, `synchronize.py`.

Not modelled:
    `Pipe`, `Manager`, `Pool` and shared memory. That what goes through a queue is pickled.
"""

from __future__ import annotations

import multiprocessing
import queue
import sys
import threading
from collections.abc import Callable
from multiprocessing import context
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.handlers.exchange import exchange


class Queue(queue.Queue[Any]):
    """Stands for a queue between processes: it can be closed."""

    def close(self) -> None:
        """Put no more into it."""

    def join_thread(self) -> None:
        """Wait until all is on its way: it is."""

    def cancel_join_thread(self) -> None:
        """Do not wait for that at the end."""


class SimpleQueue(Queue):
    """Stands for one without a size or a timeout."""

    def __init__(self) -> None:
        super().__init__()


_KINDS: Final[dict[str, tuple[Callable[..., Any], tuple[str, ...]]]] = {
    "Barrier": (threading.Barrier, ("parties", "action", "timeout")),
    "BoundedSemaphore": (threading.BoundedSemaphore, ("value",)),
    "Condition": (threading.Condition, ("lock",)),
    "Event": (threading.Event, ()),
    "JoinableQueue": (Queue, ("maxsize",)),
    "Lock": (threading.Lock, ()),
    "Queue": (Queue, ("maxsize",)),
    "RLock": (threading.RLock, ()),
    "Semaphore": (threading.Semaphore, ("value",)),
    "SimpleQueue": (SimpleQueue, ()),
}
"""What stands for each, and what it takes."""


_POOLS: Final = ("multiprocessing.", "concurrent.futures.")


def _making(kind: Callable[..., Any]) -> Callable[..., Any]:
    def make(real: Any, self: Any, *arguments: Any, **options: Any) -> Any:
        caller = sys._getframe(2).f_globals.get("__name__", "")
        if caller.startswith(_POOLS):  # refused where it starts its first process
            return real(self, *arguments, **options)
        return kind(*arguments, **options)

    return make


def _meet() -> None:
    """Have modules that hold a method of the default context have the one that stands for it."""
    for name in _KINDS:
        exchange(getattr(multiprocessing, name), getattr(context._default_context, name))


LIBRARY: Final = Library(
    "multiprocessing",
    tested=">=3.11",
    seams=tuple(
        Seam(f"multiprocessing.context:BaseContext.{name}", ("self", *takes), _making(kind))
        for name, (kind, takes) in _KINDS.items()
    ),
    warm=_meet,
)
