"""Celery: what of it is met.

Not modelled:
    What `worker.py`, `pool.py` and `own.py` leave out. Result backends but Redis (`results.py`): a
    run that needs one ends, in words. Transports but AMQP and Redis (`redis.py`).

Source:
    Celery 5.7, `app/base.py` (`worker_main`, `_get_backend`), `worker/worker.py`; kombu 5.7,
    `resource.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import celery
from celery.backends.base import DisabledBackend
from celery.worker import state

from chaosharness.adapters.amqp.logs import quiet_in_runs
from chaosharness.adapters.celery.own import SWAPS, acquire, keep_apart
from chaosharness.adapters.celery.reconnecting import SWAPS as OF_RECONNECTING
from chaosharness.adapters.celery.shutdown import SWAPS as OF_SHUTDOWN
from chaosharness.adapters.celery.worker import Worker, run_worker
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.stores.redis.redis import OpenRedis


def _start(real: Any, self: Any) -> Any:
    if not isinstance(self, Worker):
        not_modelled("celery", "Celery", "Worker(...).start(): give env.main app.worker_main")
    return real(self)


def _get_backend(real: Any, self: Any) -> Any:
    """Have results stored in Redis, or nowhere, as where no backend is named; refuse others."""
    found = real(self)
    called = type(found).__name__
    if isinstance(found, DisabledBackend):
        return found
    if called != "RedisBackend":
        words = (
            "of result backends Redis alone is modelled. Under test have `result_backend` be "
            "redis://..., and add a RedisStore; or leave it out, where nobody reads results"
        )
    elif not any(isinstance(one, OpenRedis) for one in _states()):
        words = (
            'results are kept in Redis, and this system has none: add RedisStore("results"), or '
            "leave `result_backend` out under test, where nobody reads results"
        )
    else:
        return found
    return call_off(InvalidDefinition(f"celery: {called}{asked_at()}: {words}"))


def _states() -> Iterable[Any]:
    return current_scope("celery.backend").world.states.values()


def _learn() -> None:
    if not hasattr(state, "scheduled_requests"):
        raise InvalidDefinition(
            f"celery: version {celery.__version__} keeps the requests of a worker in another way "
            f"than {LIBRARY.tested}, which its adapter is for. Install one of these"
        )
    keep_apart()
    quiet_in_runs("celery")


LIBRARY: Final = Library(
    "celery",
    tested=">=5.7,<6",
    seams=(
        Seam("celery.app.base:Celery.worker_main", ("self", "argv"), run_worker),
        Seam("celery.worker.worker:WorkController.start", ("self",), _start),
        Seam("celery.app.base:Celery._get_backend", ("self",), _get_backend),
        Seam("kombu.resource:Resource.acquire", ("self", "block", "timeout"), acquire),
    ),
    swaps=(*SWAPS, *OF_SHUTDOWN, *OF_RECONNECTING),
    warm=_learn,
)
