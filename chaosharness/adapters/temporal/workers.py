"""`temporalio.worker.Worker` as programs make and run it, on the server `Temporal`.

`run`, `shutdown` and `async with` are the library's own contract: a worker polls from when it
runs until it is shut down, then finishes what it has; activities that take longer than
`graceful_shutdown_timeout` are cancelled, and tried again. When its process dies it is gone.

Source:
    temporalio 1.35.0, `worker/_worker.py`; what an activity is told of a shutdown, and where the
    next tasks go, was compared with Temporal Server 1.32.0 (rule T5).

Not modelled:
    Plugins, Nexus, worker versioning, another client for a running worker: each is refused by its
    name. Pollers, rates, executors and suppliers of slots of one's own are accepted, and limit
    nothing; `build_id` and `identity` stand in no history. Workflows run without a sandbox.
"""

from __future__ import annotations

import asyncio
from inspect import signature
from typing import Any, Final, NoReturn

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.temporal.clients import LIBRARY_NAME
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.colours import colour_for
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.scope import Incarnation
from chaosharness.orchestrators.temporal.engine import OpenTemporal
from chaosharness.orchestrators.temporal.slots import LIMITS

REFUSED: Final = {
    "nexus_service_handlers": "Nexus",
    "use_worker_versioning": "worker versioning",
    "plugins": "a plugin",
}
"""Options that would change what happens, and what is not modelled of them."""

ATTRIBUTES: Final[dict[str, Any]] = {
    "_activity_worker": None,
    "_async_context_exiting": False,
    "_async_context_inner_task": None,
    "_async_context_run_exception": None,
    "_async_context_run_task": None,
    "_nexus_worker": None,
    "_plugins": (),
    "_runtime": None,
    "_started": False,
    "_workflow_worker": None,
}
"""What the library's own methods, which stay, read of a worker."""


def _make(real: Any, self: Any, client: Any, *given: Any, **options: Any) -> None:
    asked = signature(real).bind(self, client, *given, **options)
    asked.apply_defaults()
    config = {name: value for name, value in asked.arguments.items() if name != "self"}
    scope = current_scope("Worker")
    engine = getattr(client.service_client, "engine", None)
    if not isinstance(engine, OpenTemporal) or engine.world is not scope.world:
        _refuse(
            "a Worker with a client that was made outside of this run: have the code connect it "
            "with Client.connect, or take env.client(temporal)"
        )
    for name, what in REFUSED.items():
        if config.get(name):
            _refuse(f"{what} is not modelled: leave out {name}= of this Worker")
    deployment = config.get("deployment_config")
    if getattr(deployment, "use_worker_versioning", False):
        _refuse(
            "worker versioning, pinned and auto-upgrade, is not modelled: give this Worker "
            "deployment_config=None, or one with use_worker_versioning=False. What a deploy does "
            "to workflows that run is tried with service(..., previous=...) and a Redeploy"
        )
    if client.service_client.config.lazy:
        raise RuntimeError("Lazy clients cannot be used for workers")
    if not (config["workflows"] or config["activities"]):
        raise ValueError("At least one activity, Nexus service, or workflow must be specified")
    for name, value in ATTRIBUTES.items():
        setattr(self, name, value)
    self._config = self._initial_config = config
    self._shutdown_event = asyncio.Event()
    self._shutdown_complete_event = asyncio.Event()
    engine.check_worker(client, scope.incarnation.service, config)


async def _run(real: Any, self: Any) -> None:
    if self._started:
        raise RuntimeError("Already started")
    self._started = True
    scope = current_scope("Worker.run")
    worker = _begin(self, scope.incarnation)
    note_spoken(scope, LIBRARY_NAME, f"{worker.engine.name}.worker")
    ended: BaseException | None = None
    try:
        await self._shutdown_event.wait()
    except asyncio.CancelledError as error:
        ended = error
    await _leave(worker)
    self._shutdown_complete_event.set()
    if ended is not None:
        raise ended


def _begin(self: Any, incarnation: Incarnation) -> Any:
    """Have a worker poll from here on."""
    config = self._config
    engine: OpenTemporal = config["client"].service_client.engine
    return engine.worker(
        incarnation,
        incarnation.service,
        config["task_queue"],
        config["workflows"],
        config["activities"],
        lambda function: colour_for(function, "asyncio", incarnation),
        config["max_cached_workflows"],
        config["interceptors"],
        config["workflow_failure_exception_types"],
        config["graceful_shutdown_timeout"],
        config["client"],
        limits={name: config.get(name) for name in (*LIMITS, "tuner")},
    )


async def _leave(worker: Any) -> None:
    """Have it poll no more, and wait until it has nothing in hand."""
    idle = asyncio.Event()
    worker.shutdown.cease(idle.set)
    await idle.wait()


def _refuse(words: str) -> NoReturn:
    call_off(InvalidDefinition(f"temporalio{asked_at()}: {words}"))


LIBRARY: Final = Library(
    LIBRARY_NAME,
    tested=">=1.18,<2",
    seams=(
        Seam("temporalio.worker:Worker.__init__", ("self", "client"), _make, more=True),
        Seam("temporalio.worker:Worker.run", ("self",), _run),
    ),
    part="worker",
)
