"""A worker: Celery's own `WorkController` and `Consumer`, with a loop, a timer and a pool of ours.

Real are the blueprints of both, the strategies of tasks, requests and their acknowledgements, what
becomes of them when the connection is lost, ETAs and countdowns held in memory, quality of service,
retries, the tracer. Ours are the loop that waits (for messages and for the timer, in virtual time),
the order of what is due at one moment, and the slots that tasks run in.

Source:
    Celery 5.7, `worker/worker.py`, `worker/consumer/consumer.py`, `worker/loops.py` (`asynloop`),
    `worker/strategy.py`, `worker/request.py`; kombu 5.7, `asynchronous/timer.py`.

What a worker does not recover from (RabbitMQ has closed its channel, since a message was out for
longer than `consumer_timeout`) is the end of its process, with exit code 1; it is started again.

Not modelled:
    Remote control, events, gossip and mingle: nothing of these is sent. Signals of the operating
    system but SIGTERM (`shutdown.py`). Beat, autoscaling, `--purge`, `--statedb`.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from typing import Any, ClassVar, Final

from celery import bootsteps
from celery.platforms import EX_FAILURE
from celery.worker import WorkController, state
from celery.worker.consumer import consumer as consuming
from kombu.asynchronous.semaphore import LaxBoundedSemaphore
from kombu.asynchronous.timer import Timer

from chaosharness.adapters.celery.command import SLOTS, options_of
from chaosharness.adapters.celery.own import put
from chaosharness.adapters.celery.pool import Inline, Prefork, Slots
from chaosharness.adapters.celery.rousing import rouse
from chaosharness.adapters.celery.shutdown import listen
from chaosharness.handlers.port import current_scope

_QUIET: Final = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}


class Due(Timer):  # type: ignore[misc]
    """What is due at which moment. Two at one moment go in the order in which they came."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._nth = count()
        super().__init__(*arguments, **options)

    def _enter(self, eta: float, priority: int, entry: Any) -> Any:
        return super()._enter(eta, (priority, next(self._nth)), entry)

    def wait_s(self) -> float | None:
        """Call what is due; return how long it is to the next."""
        self.max_interval = float("inf")
        for seconds, entry in self:
            if entry is None:
                return None if seconds is None else float(seconds)
            self.apply_entry(entry)
        return None


class Consumer(consuming.Consumer):  # type: ignore[misc]
    """Celery's consumer, with a loop in virtual time."""

    class Blueprint(consuming.Consumer.Blueprint):  # type: ignore[misc]
        """The steps that matter here."""

        default_steps: ClassVar = [
            "celery.worker.consumer.connection:Connection",
            "celery.worker.consumer.tasks:Tasks",
            "celery.worker.consumer.delayed_delivery:DelayedDelivery",
            "celery.worker.consumer.consumer:Evloop",
        ]

    def loop(
        self,
        obj: Any,
        connection: Any,
        consumer: Any,
        blueprint: Any,
        hub: Any,
        qos: Any,
        *_: Any,
    ) -> None:
        """Wait for messages and for what is due, until the connection is lost."""
        consumer.on_message = obj.create_task_handler()
        consumer.consume()
        obj.on_ready()
        wire = getattr(connection.connection, "_transport", None)
        warm = obj.controller.warm
        up = partial(rouse, current_scope("celery.loop").incarnation)
        if wire is not None:
            up = wire.rouse
            if getattr(obj.pool, "is_green", False):
                wire.attend()
        while blueprint.state == bootsteps.RUN and obj.connection:
            state.maybe_shutdown()
            wait_s = obj.timer.wait_s()
            if qos.prev != qos.value:
                qos.update()
            obj.perform_pending_operations()
            if wire is not None:
                wire.holds = bool(len(state.scheduled_requests))
            if warm.told:
                continue  # since it was looked at, while something else was waited for
            warm.rouse = up
            try:
                connection.drain_events(timeout=wait_s)
            except TimeoutError:
                continue
            finally:
                warm.rouse = None


class Places(LaxBoundedSemaphore):  # type: ignore[misc]
    """What counts the slots that are free, also where the connection was lost."""

    def clear(self) -> None:
        """Forget who waits. Tasks that run keep their slots, as they keep their processes."""
        self._waiting.clear()


class Worker(WorkController):  # type: ignore[misc]
    """Celery's worker, whose pool is one of slots."""

    def __init__(self, app: Any, *, concurrency: int, hostname: str, **options: Any) -> None:
        self.warm = listen(current_scope("celery.worker"), hostname)
        self.failure: BaseException | None = None
        self.semaphore = Places(concurrency)
        self._slots = self.semaphore
        put("slots", app, self.semaphore)
        app.set_current()
        super().__init__(
            app=app,
            concurrency=concurrency,
            hostname=hostname,
            consumer_cls=Consumer,
            timer_cls=Due,
            **options,
        )

    def stop(self, in_sighandler: bool = False, exitcode: Any = None) -> None:
        """Stop, and remember what `start` could not recover from: the process ends with that."""
        if exitcode == EX_FAILURE:
            self.failure = sys.exception()
        super().stop(in_sighandler, exitcode)

    def should_use_eventloop(self) -> bool:
        """Have no hub of kombu's: its loop waits for real sockets."""
        return False

    def _process_task(self, req: Any) -> Any:
        return self._slots.acquire(super()._process_task, req)

    def _quick_release(self) -> None:
        self._slots.release()


def run_worker(real: Any, self: Any, argv: Any = None) -> None:
    """Stand for `app.worker_main(argv)`: what `celery -A ... worker` runs."""
    incarnation = current_scope("celery.worker").incarnation
    options = options_of(argv)
    conf = self.conf
    slots = options.pop("concurrency", None) or conf.worker_concurrency
    pool = options.pop("pool", None) or conf.worker_pool
    solo = pool == "solo"
    kind = Inline if solo else Prefork if pool in ("prefork", "processes") else Slots
    worker = Worker(
        self,
        concurrency=1 if solo else int(slots or SLOTS),
        pool=kind,
        hostname=f"celery@{incarnation.service}-{incarnation.replica}",
        **_QUIET,
        **options,
    )
    worker.start()
    if worker.failure is not None:
        raise worker.failure  # it exits with 1, and whoever looks after it starts it again
