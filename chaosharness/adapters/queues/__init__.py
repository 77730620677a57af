"""Task queues whose workers are not modelled: one sentence, where a worker begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope


def refusing(library: str, why: str) -> Callable[..., NoReturn]:
    """Return what stands for the beginning of a worker: it calls the run off.

    Args:
        library: Its name.
        why: What such a worker does that is not modelled.
    """

    def begin(real: Any, self: Any) -> NoReturn:
        scope = current_scope(library)
        call_off(
            InvalidDefinition(
                f"{scope.place} begins a worker of {library}{asked_at()}, which is not modelled: "
                f"{why}. What its tasks do is called from a consumer just as well, such as "
                "env.consume(bus, queue, handler); task queues that run as they are: Celery, "
                "taskiq (docs/how-to/taskiq.md)"
            )
        )

    return begin
