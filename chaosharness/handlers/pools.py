"""Pools of threads in virtual time: `concurrent.futures.ThreadPoolExecutor`, as it is.

Its workers are threads of the run (`handlers.threads`). What is submitted counts for the message
that was in hand then, and is called as its submitter is in sites.

Source:
    CPython 3.11 to 3.13, `Lib/concurrent/futures/thread.py`, `_base.py`.

Not modelled:
    The processors of the machine: a pool of no said size has `WORKERS` threads in a run.
"""

from __future__ import annotations

import concurrent.futures.thread as pools
import functools
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final

from greenlet import GreenletExit

from chaosharness.errors import Abandoned
from chaosharness.handlers.threads import (
    ON_END,
    ThreadScope,
    aim,
    hash_in_run,
    number_in_run,
    threads_of,
)
from chaosharness.handlers.unwaited import standing
from chaosharness.kernel.rest import Loop
from chaosharness.kernel.scope import SCOPE

WORKERS: Final = 8
"""How many threads a pool has at most that says no number: Python would ask for processors."""

_POOL: Final[Any] = ThreadPoolExecutor.__init__
_COUNTER: Final[Any] = ThreadPoolExecutor._counter  # type: ignore[attr-defined]
_ITEM: Final[Any] = pools._WorkItem.__init__
_RUN: Final[Any] = pools._WorkItem.run
_FUTURE: Final[Any] = Future.__init__
_RESULT: Final[Any] = Future.result
_FAILED: Final[Any] = Future.set_exception


@functools.wraps(_POOL)
def _pool(self: Any, max_workers: int | None = None, *arguments: Any, **options: Any) -> None:
    if max_workers is None and SCOPE.get() is not None:
        max_workers = WORKERS
    _POOL(self, max_workers, *arguments, **options)


def _counter() -> int:
    scope = SCOPE.get()
    if scope is None:
        return _COUNTER()  # type: ignore[no-any-return]
    return threads_of(scope.incarnation).number("pools") - 1


def _item(self: Any, future: Any, fn: Any, args: Any, kwargs: Any) -> None:
    _ITEM(self, future, fn, args, kwargs)
    scope = SCOPE.get()
    self.of = None if scope is None else standing(scope, None)
    if scope is not None:
        if scope.loop is None:
            scope.loop = Loop()
        code = getattr(getattr(fn, "__func__", fn), "__code__", None)
        self.of.loop = scope.loop.child(code, future, Future.done)


def _run(self: Any) -> None:
    """Do the work, on behalf of whoever submitted it."""
    worker = SCOPE.get()
    if worker is None or worker.thread is None or self.of is None:
        _RUN(self)
        return
    future = self.future
    scope = ThreadScope(self.of, self.of.place, worker.thread)
    scope.loop = self.of.loop
    aim(self.fn, scope)
    if self.args:
        aim(self.args[0], scope)  # functools.partial and loops hand a context's `run` on
    future.ran_in = scope
    token = SCOPE.set(scope)
    try:
        _RUN(self)
    finally:
        SCOPE.reset(token)
        worker.cause = max(worker.cause, scope.cause)


@functools.wraps(_FUTURE)
def _future(self: Any) -> None:
    number_in_run(self)
    self.ran_in = None
    _FUTURE(self)


@functools.wraps(_RESULT)
def _result(self: Any, timeout: float | None = None) -> Any:
    try:
        return _RESULT(self, timeout)
    finally:
        scope = SCOPE.get()
        if scope is not None and self.__dict__.get("ran_in") is not None and self.done():
            scope.cause = max(scope.cause, self.ran_in.cause)
        del self, scope


@functools.wraps(_FAILED)
def _failed(self: Any, exception: BaseException | None) -> None:
    if isinstance(exception, (GreenletExit, Abandoned)):
        self._done_callbacks.clear()  # whoever waits for it is no more, and must not go on
    _FAILED(self, exception)


def _is_news(record: logging.LogRecord) -> bool:
    """Say whether a pool has something to complain of: not that its run is over."""
    error = record.exc_info[0] if record.exc_info else None
    return error is None or not issubclass(error, (GreenletExit, Abandoned))


def _forget(thread: threading.Thread) -> None:
    pools._threads_queues.pop(thread, None)  # type: ignore[attr-defined]


class Pool:
    """What a pool at module level is like, which no run may share with another."""

    __slots__ = ("broken", "queue", "semaphore", "shut", "threads")

    def __init__(self, pool: Any) -> None:
        self.threads = frozenset(pool._threads)
        self.queue = pool._work_queue
        self.semaphore = pool._idle_semaphore
        self.shut = pool._shutdown
        self.broken = pool._broken

    def put(self, pool: Any) -> None:
        """Have a pool be like this. Where it had no thread yet, it begins anew."""
        pool._threads = set(self.threads)
        anew = not self.threads
        pool._work_queue = SimpleQueue() if anew else self.queue
        pool._idle_semaphore = threading.Semaphore(0) if anew else self.semaphore
        pool._shutdown = self.shut
        pool._broken = self.broken

    def is_as(self, pool: Any) -> bool:
        """Say whether a pool is like this."""
        return bool(self.threads == pool._threads and self.shut == pool._shutdown)


def install() -> None:
    """Put them there, once and for good; outside of runs they are the real ones."""
    executor: Any = ThreadPoolExecutor
    executor.__init__, executor._counter = _pool, staticmethod(_counter)
    item: Any = pools._WorkItem
    item.__init__, item.run = _item, _run
    future: Any = Future
    future.__init__, future.result, future.__hash__ = _future, _result, hash_in_run
    future.set_exception = _failed
    logging.getLogger("concurrent.futures").addFilter(_is_news)
    ON_END.append(_forget)
