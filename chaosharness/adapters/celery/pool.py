"""The slots of a worker's pool: tasks that run at the same time, each on behalf of its message.

What a slot runs is Celery's own tracer (`build_tracer`), with the user's task inside, and what is
told to the request afterwards is what Celery's pools tell it. A slot is code that stops at ports,
as everything in a run.

Source:
    Celery 5.7, `concurrency/base.py` (`BasePool`, `apply_target`), `concurrency/gevent.py`,
    `concurrency/solo.py`, `worker/request.py` (`execute_using_pool`, `on_accepted`, `on_success`).

Not modelled:
    That a prefork pool tells of a task's start by a pipe: here it is acknowledged before its first
    line, where it is acknowledged early. Time limits: a task that exceeds one ends the run, in
    words. `max_tasks_per_child`, `revoke(terminate=True)`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from celery.app.trace import build_tracer
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import Ignore, Reject, Retry
from greenlet import GreenletExit

from chaosharness.adapters.amqp.handling import Handling, handling
from chaosharness.adapters.celery.own import mine
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.scope import SCOPE, Scope

_MEANT = (Retry, Ignore, Reject)
"""What a task raises to say something to its worker."""


class Slots(BasePool):  # type: ignore[misc]
    """A pool of so many tasks at a time."""

    is_green = True
    """The worker reads and answers heartbeats while tasks run."""

    runs_inline: ClassVar[bool] = False

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> None:
        """Run a task in a slot: there is one free."""
        request = callback.__self__
        own = current_scope("celery.pool")
        held = _held(own, request)
        limit_s = min([one for one in (timeout, soft_timeout) if one], default=None)
        slots = mine("slots", self.app, lambda: None)

        def run() -> None:
            task = request.task
            task.__trace__ = mine(
                "tracer", task, lambda: build_tracer(task.name, task, app=self.app)
            )
            began_ms = own.world.now
            told: list[Any] = []

            def succeeded(result: Any) -> None:
                told.append(result)
                _check_limit(task, own.world.now - began_ms, limit_s)
                callback(result)

            apply_target(target, args, kwargs, succeeded, accept_callback, pid=1)
            if held is not None:
                held.ended(_error_in(told))

        def over(scope: Scope, _: Any, error: BaseException | None) -> None:
            if held is not None and error is not None:
                held.ended(error)
            slots.release()

        if self.runs_inline:
            self._inline(own, held, run, over)
            return
        scope = own if held is None else held.scope
        if held is None:
            scope = Scope(own.world, own.incarnation, own.place, 0, own.cause, PLAIN)
        own.world.after(0, lambda _: PLAIN.start(scope, _struck(held, run), None, None, over))

    @staticmethod
    def _inline(own: Scope, held: Handling | None, run: Any, over: Any) -> None:
        token = SCOPE.set(own if held is None else held.scope)
        error: BaseException | None = None
        try:
            _struck(held, run)()
        except GreenletExit:
            raise
        except Exception as raised:
            error = raised
        finally:
            SCOPE.reset(token)
        over(own, None, error)


class Inline(Slots):
    """A pool of one, in the worker's own thread: nobody reads meanwhile."""

    is_green = False
    runs_inline = True


def _struck(held: Handling | None, run: Any) -> Any:
    """Return what runs a task, with what strikes before it and after it."""

    def call() -> None:
        if held is None or held.operation not in held.scope.world.armed:
            run()
            return
        scope = held.scope
        scope.colour.block(held.strike("before"), scope)
        run()
        scope.colour.block(held.strike("after"), scope)

    return call


def _held(own: Scope, request: Any) -> Handling | None:
    """Return the scope of the message that a request came by."""
    message = request.message
    line = getattr(message.channel, "line", None)
    if line is None:
        return None
    task = request.task
    function = getattr(task, "_orig_run", task.run)
    return handling(own, function, line, message.delivery_tag)


def _error_in(told: list[Any]) -> BaseException | None:
    """Return the error that a task failed with, if it did."""
    if not told or not isinstance(told[0], tuple) or not told[0][0]:
        return None
    error = getattr(told[0][1], "exception", None)
    error = getattr(error, "exc", error) if type(error).__name__ == "ExceptionWithTraceback" else error
    return error if isinstance(error, BaseException) and not isinstance(error, _MEANT) else None


def _check_limit(task: Any, took_ms: int, limit_s: float | None) -> None:
    if limit_s is not None and took_ms > limit_s * 1000:
        call_off(
            InvalidDefinition(
                f"celery: {task.name} ran for {took_ms / 1000:g} s, and its time limit is "
                f"{limit_s:g} s: what a time limit does to a task is not modelled. Leave the limit "
                "out of the code under test, or keep what the task waits for shorter"
            )
        )
