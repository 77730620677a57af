"""A worker that is told to stop: Celery's warm shutdown.

Real are the shutdowns of the worker and of its consumer: consumers are cancelled, what waits for a
slot or for its ETA is forgotten, the pool is waited for, and the connection is closed, by which
RabbitMQ puts back what was not acknowledged, and kombu does it on Redis (`restore_unacked_once`).
Ours are how the worker learns of the signal, and how it waits for its slots.

Source:
    Celery 5.7, `apps/worker.py` (`_shutdown_handler`), `worker/state.py` (`maybe_shutdown`),
    `worker/worker.py` (`stop`), `worker/consumer/consumer.py` (`on_close`); billiard 4.3,
    `pool.py` (`apply_async`, `close`, `join`); kombu 5.7, `transport/virtual/base.py`.

Not modelled:
    The cold shutdown (SIGQUIT, a second SIGINT), and with it `worker_soft_shutdown_timeout`, which
    SIGTERM does not begin; `REMAP_SIGTERM=SIGQUIT` has it begin it, and is refused. A worker
    learns of the signal at once, and not when its loop next wakes, up to 2 s later: a slot that is
    free by then begins with one more task. `worker_shutting_down` is sent when the worker's own
    loop learns of the signal: in `solo` once the task in hand has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from billiard.common import REMAP_SIGTERM
from celery import signals
from celery.exceptions import WorkerShutdown
from celery.worker import state

from chaosharness.adapters.celery.own import mine, put
from chaosharness.adapters.dispatch import Swap
from chaosharness.handlers.stopping import SIGNAL, Unknown, forget
from chaosharness.kernel.scope import SCOPE, Scope

COLD: Final = "REMAP_SIGTERM=SIGQUIT asks for Celery's cold shutdown, which is not modelled"


class Warm:
    """What tells the loop of one worker to stop, and says whether the process is done.

    Args:
        scope: The loop that runs the worker: its process is busy until that has ended.
        hostname: What the worker is called.

    Attributes:
        told: Whether the signal has come.
        rouse: Has the loop look up where it waits for messages, while it does.
    """

    def __init__(self, scope: Scope, hostname: str) -> None:
        self._scope = scope
        self._hostname = hostname
        self.told = False
        self.rouse: Callable[[], None] | None = None

    def cease(self) -> None:
        """Have the worker shut down, unless its process has a handler of its own by now."""
        if SIGNAL in (self._scope.incarnation.signals or {}):
            return
        self.told = True
        if self.rouse is not None:
            self.rouse()

    def is_busy(self) -> bool:
        """Say whether what runs the worker has not ended."""
        return self._scope in self._scope.incarnation.mains

    def begin(self) -> None:
        """Shut down, if the signal has come.

        Raises:
            WorkerShutdown: It has.
        """
        if self.told:
            name = self._hostname
            signals.worker_shutting_down.send(sender=name, sig="SIGTERM", how="Warm", exitcode=0)
            raise WorkerShutdown(0)


def listen(scope: Scope, hostname: str) -> Warm:
    """Take the signal from here on, in the place of whoever did."""
    incarnation = scope.incarnation
    if REMAP_SIGTERM == "SIGQUIT":
        Unknown(incarnation, COLD)
    forget(incarnation, SIGNAL)
    warm = Warm(scope, hostname)
    incarnation.takers.append(warm)
    put("warm", state, warm)
    return warm


def _maybe_shutdown(real: Any) -> Any:
    def maybe_shutdown() -> None:
        if SCOPE.get() is None:
            real()
            return
        warm = mine("warm", state, lambda: None)
        if warm is not None:
            warm.begin()

    return maybe_shutdown


SWAPS: Final = (Swap("celery.worker.state:maybe_shutdown", _maybe_shutdown),)
