"""Celery: what of it is met.

Not modelled:
    What `worker.py`, `pool.py` and `own.py` leave out; the backend `rpc://`.
"""

from __future__ import annotations

from typing import Any, Final

from chaosharness.adapters.amqp.logs import quiet_in_runs
from chaosharness.adapters.celery.own import SWAPS, acquire, keep_apart
from chaosharness.adapters.celery.worker import Worker, run_worker
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.unmodelled import not_modelled


def _start(real: Any, self: Any) -> Any:
    if not isinstance(self, Worker):
        not_modelled("celery", "Celery", "Worker(...).start(): give env.main app.worker_main")
    return real(self)


def _learn() -> None:
    keep_apart()
    quiet_in_runs("celery")


LIBRARY: Final = Library(
    "celery",
    tested=">=5.4,<6",
    seams=(
        Seam("celery.app.base:Celery.worker_main", ("self", "argv"), run_worker),
        Seam("celery.worker.worker:WorkController.start", ("self",), _start),
        Seam("kombu.resource:Resource.acquire", ("self", "block", "timeout"), acquire),
    ),
    swaps=SWAPS,
    warm=_learn,
)
