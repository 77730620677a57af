"""multiprocessing: what it makes for processes to share is, in a run, shared by the threads of one.

A run starts no process (`handlers.guards` refuses each), so a lock, an event or a queue made in it
has only threads to wait for: loguru's `enqueue=True` is such a queue, and a thread that writes.
They are those of `threading` and `queue`, in virtual time. What was made before the run is the
real one.

Source:
    CPython 3.11 to 3.13, `Lib/multiprocessing/context.py`, `queues.py`, `synchronize.py`.

Not modelled:
    `Pipe`, `Manager`, `Pool` (but `ThreadPool` is) and shared memory. That what goes through a
    queue is pickled.
"""

from __future__ import annotations

import multiprocessing
import queue
import sys
import threading
from collections.abc import Callable
from functools import wraps
from multiprocessing import context
from multiprocessing.pool import ThreadPool
from typing import Any, Final
from weakref import ref

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.handlers.exchange import exchange
from chaosharness.handlers.port import current_scope
from chaosharness.handlers.threads import ThreadScope
from chaosharness.handlers.unwaited import standing
from chaosharness.kernel.scope import SCOPE


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

    _reader = None  # a pool of threads waits for the queue itself: see `_wait`

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


_GIVEN: Final = {
    "_map_async": (
        *("self", "func", "iterable", "mapper", "chunksize", "callback", "error_callback"),
    ),
    "apply_async": ("self", "func", "args", "kwds", "callback", "error_callback"),
    "imap": ("self", "func", "iterable", "chunksize"),
    "imap_unordered": ("self", "func", "iterable", "chunksize"),
}
"""How a pool is given work, and what each takes."""

_ENDS: Final = ("self", "obj", "callback", "args", "kwargs", "exitpriority")
_UPDATES: Final = ("sentinels", "change_notifier", "timeout")
_POOLS: Final = ("multiprocessing.", "concurrent.futures.")


def _making(kind: Callable[..., Any]) -> Callable[..., Any]:
    def make(real: Any, self: Any, *arguments: Any, **options: Any) -> Any:
        frame = sys._getframe(2)
        caller = frame.f_globals.get("__name__", "")
        threads = isinstance(frame.f_locals.get("self"), ThreadPool)
        if caller.startswith(_POOLS) and not threads:  # refused where it starts its first process
            return real(self, *arguments, **options)
        return kind(*arguments, **options)

    return make


def _wait(real: Any, sentinels: Any, change_notifier: Any, timeout: Any = None) -> None:
    """Wait until a pool has something to do for whoever looks after its workers."""
    if not isinstance(change_notifier, SimpleQueue):
        real(sentinels, change_notifier, timeout)
        return
    change_notifier.get()
    while not change_notifier.empty():
        change_notifier.get()


def _submit(real: Any, self: Any, func: Any, *arguments: Any, **options: Any) -> Any:
    """Have what a pool of threads is given done on behalf of whoever gave it."""
    given = _on_behalf(func) if isinstance(self, ThreadPool) else func
    return real(self, given, *arguments, **options)


def _on_behalf(func: Callable[..., Any]) -> Callable[..., Any]:
    of = standing(current_scope("multiprocessing"), None)

    @wraps(func, assigned=())
    def work(*arguments: Any, **options: Any) -> Any:
        worker: Any = SCOPE.get()
        scope = ThreadScope(of, of.place, worker.thread)
        token = SCOPE.set(scope)
        try:
            return func(*arguments, **options)
        finally:
            SCOPE.reset(token)
            worker.cause = max(worker.cause, scope.cause)

    return work


def _finalize(
    real: Any,
    self: Any,
    obj: Any,
    callback: Callable[..., Any],
    args: Any = (),
    kwargs: Any = None,
    exitpriority: Any = None,
) -> None:
    """Have what a run has begun ended in that run only: afterwards its threads are gone."""
    begun = ref(current_scope("multiprocessing").incarnation)

    def within(*arguments: Any, **options: Any) -> Any:
        scope = SCOPE.get()
        if scope is not None and scope.incarnation is begun():
            return callback(*arguments, **options)
        return None

    real(self, obj, within, args, kwargs, exitpriority)


def _meet() -> None:
    """Have modules that hold a method of the default context have the one that stands for it."""
    for name in _KINDS:
        exchange(getattr(multiprocessing, name), getattr(context._default_context, name))


LIBRARY: Final = Library(
    "multiprocessing",
    tested=">=3.11",
    seams=(
        *(
            Seam(f"multiprocessing.context:BaseContext.{name}", ("self", *takes), _making(kind))
            for name, (kind, takes) in _KINDS.items()
        ),
        Seam("multiprocessing.pool:Pool._wait_for_updates", _UPDATES, _wait),
        *(
            Seam(f"multiprocessing.pool:Pool.{name}", takes, _submit)
            for name, takes in _GIVEN.items()
        ),
        Seam("multiprocessing.util:Finalize.__init__", _ENDS, _finalize),
    ),
    warm=_meet,
)
