"""Celery between two attempts to connect: one wait, and not one for each second.

kombu waits in steps of a second, and after each its caller may give up. Celery does there when it
was told to stop, and for nothing else. So in a run it waits once, and looks when it was told: a
server that is away for an hour is then as many events as attempts.

Source:
    kombu 5.4 to 5.7, `utils/functional.py` (`retry_over_time`); Celery 5.7,
    `worker/consumer/consumer.py` (`ensure_connected`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery.worker import state

from chaosharness.adapters.amqp.reading import Inbox
from chaosharness.adapters.celery.own import mine
from chaosharness.adapters.dispatch import Swap
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import SCOPE


def _retrying(real: Any) -> Callable[..., Any]:
    def retry_over_time(
        fun: Any,
        catch: Any,
        args: Any = None,
        kwargs: Any = None,
        errback: Any = None,
        max_retries: int | None = None,
        interval_start: float = 2,
        interval_step: float = 2,
        interval_max: float = 30,
        callback: Any = None,
        timeout: float | None = None,
    ) -> Any:
        if SCOPE.get() is not None and (callback is None or callback is state.maybe_shutdown):
            errback = _waiting(errback, interval_max, callback)
        return real(
            fun,
            catch,
            args,
            kwargs,
            errback,
            max_retries,
            interval_start,
            interval_step,
            interval_max,
            callback,
            timeout,
        )

    return retry_over_time


def _waiting(errback: Any, most_s: float, look: Callable[[], None] | None) -> Callable[..., float]:
    """Return what says how long to wait, and has waited when it says it: no longer, then."""

    def waited(error: Exception, intervals: Any, retries: int) -> float:
        seconds = errback(error, intervals, retries) if errback else next(intervals)
        seconds = min(float(seconds), float(most_s))
        if seconds:
            if look is not None:
                look()
            _wait(seconds)
            if look is not None:
                look()
        return 0.0

    return waited


def _wait(seconds: float) -> None:
    """Wait for so long, or until this worker is told to stop."""
    scope = current_scope("celery.reconnect")
    inbox = Inbox()
    warm = mine("warm", state, lambda: None)
    outer = None if warm is None else warm.rouse
    if warm is not None:
        warm.rouse = inbox.rouse
    try:
        due_ms = scope.world.now + round(seconds * 1000)
        scope.colour.block(inbox.waiting(scope, due_ms), scope)
    finally:
        if warm is not None:
            warm.rouse = outer


SWAPS: Final = (Swap("kombu.utils.functional:retry_over_time", _retrying),)
