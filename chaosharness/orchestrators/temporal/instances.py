"""Real `@workflow.defn` classes, woken by activations, with no server and no thread.

The surface of temporalio that is touched is in this file and in `protos.py`.

*Source*: temporalio 1.35.0, `temporalio/worker/_workflow_instance.py`; checked from 1.24 on.
"""

import asyncio
import dataclasses
import hashlib
import logging
import sys
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, Final

import temporalio.api.common.v1
import temporalio.common
import temporalio.converter
import temporalio.worker
import temporalio.workflow
from google.protobuf.json_format import ParseDict
from temporalio.api.common.v1 import SearchAttributes
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from chaosharness.handlers.fingerprint import Look, frames_of, is_own, leads_out
from chaosharness.orchestrators.temporal.interception import Interception
from chaosharness.orchestrators.temporal.protos import as_failure, given_fields, moment
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["Instance", "definition_of", "looks_for_cancellation", "sets_handlers"]

SETTERS: Final = frozenset(
    {
        "set_signal_handler",
        "set_dynamic_signal_handler",
        "set_update_handler",
        "set_dynamic_update_handler",
    }
)

CANCELLED: Final = frozenset({"CancelledError", "is_cancelled_exception"})
"""Names in code that catches a cancellation: `asyncio`'s error, and the library's."""

READERS: Final = ("workflow_time_ns", "workflow_time", "workflow_now", "workflow_random")
"""How code of a workflow asks for the time, and for chance."""

_LOG = logging.getLogger("temporalio.worker._workflow_instance")


def definition_of(workflow: type) -> Any:
    """The definition of a workflow class; raises ValueError where it is none."""
    return temporalio.workflow._Definition.must_from_class(workflow)


class Instance:
    """One workflow object in a worker's cache."""

    def __init__(
        self,
        workflow: type,
        run: Run,
        converter: Any,
        interception: Interception | None = None,
        failures: Sequence[type[BaseException]] = (),
        check_local: Callable[[str], None] = lambda activity: None,
    ) -> None:
        runner = temporalio.worker.UnsandboxedWorkflowRunner()
        around = interception or Interception()
        seed = int.from_bytes(hashlib.sha256(run.run_id.encode()).digest()[:8], "big")
        details = _only(
            temporalio.worker.WorkflowInstanceDetails,
            {
                "payload_converter_factory": lambda: converter.payload_converter,
                "payload_converter_class": converter.payload_converter_class,
                "failure_converter_class": converter.failure_converter_class,
                "interceptor_classes": list(around.workflow_classes),
                "defn": definition_of(workflow),
                "info": _info(run),
                "randomness_seed": seed,
                "extern_functions": {
                    **around.extern_functions,
                    "__temporal_get_metric_meter": lambda: temporalio.common.MetricMeter.noop,
                    "__temporal_assert_local_activity_valid": check_local,
                },
                "disable_eager_activity_execution": True,
                "worker_level_failure_exception_types": list(failures),
                "patch_activation_callback": None,
                "last_completion_result": ParseDict(
                    run.begun_with.get("lastCompletionResult", {}),
                    temporalio.api.common.v1.Payloads(),
                ),
                "last_failure": _failure(run.begun_with.get("continuedFailure")),
            },
        )
        self._workflow = workflow
        self._readings = self._read_before = 0
        self._inner = _within_a_loop(lambda: runner.create_instance(details))

        for name in READERS:
            if (read := getattr(self._inner, name, None)) is not None:
                setattr(self._inner, name, self._counting(read))

    def _counting(self, read: Callable[[], Any]) -> Callable[[], Any]:
        def counted() -> Any:
            self._readings += 1
            return read()

        return counted

    def state(self) -> Hashable:
        """Return in which state the workflow sleeps.

        None where it cannot be compared: most of all where it has read the time since the last
        look, or a random number, and may not do the same the next time.
        """
        before, self._read_before = self._read_before, self._readings
        if before != self._readings:
            return None
        found: dict[Hashable, int] = {}
        for task in getattr(self._inner, "_tasks", ()):  # a set: their order is nobody's
            look = Look()
            for frame in frames_of(task.get_coro()):
                if is_own(frame.f_globals.get("__name__")):
                    look.frame(frame)
            state, sure = look.state()
            if not sure:
                return None
            found[state] = found.get(state, 0) + 1
        return frozenset(found.items()) or None

    def may_end(self) -> bool:
        """Whether the code in which it sleeps has a way out: `while True` alone has none."""
        tasks = getattr(self._inner, "_tasks", ())
        own = [[one for one in frames_of(task.get_coro()) if is_own(one.f_globals.get("__name__"))]
               for task in tasks]  # fmt: skip
        return all(leads_out(one.f_code, one.f_lasti) for frames in own for one in frames)

    def activate(self, activation: WorkflowActivation) -> WorkflowActivationCompletion:
        """Wake the workflow, and return what it commands."""
        before, _LOG.disabled = _LOG.disabled, True  # it tells of what `raised` has, each time
        try:
            completion: WorkflowActivationCompletion = _within_a_loop(
                lambda: self._inner.activate(activation)
            )
        finally:
            _LOG.disabled = before
        return completion

    def let_go(self) -> None:
        """Take it out of its cache, as the SDK does.

        What it waits for is cancelled, and whatever its code asks for on the way out is refused.
        Left to be freed, its code would go on as it is freed, outside of any workflow: Python
        prints an error for each, and code that tries again on `except Exception` never ends.
        """
        if not getattr(self._inner, "_tasks", ()):
            return
        activation = WorkflowActivation()
        activation.jobs.add().remove_from_cache.SetInParent()
        with suppress(Exception):  # code that cannot be stopped, of which the SDK only warns
            self.activate(activation)

    @property
    def raised(self) -> BaseException | None:
        """What the workflow raised that is no failure, if the last activation has failed."""
        error: BaseException | None = getattr(self._inner, "_current_activation_error", None)
        return error

    @property
    def unheard(self) -> tuple[Collection[str], Collection[str]] | None:
        """The signals that it has no handler for, and the names that it has handlers for.

        None where there is none, and where it has handlers that it sets while it runs.
        """
        unheard = getattr(self._inner, "_buffered_signals", None)
        if not unheard or sets_handlers(self._workflow):
            return None
        return [*unheard], [one for one in definition_of(self._workflow).signals if one]


@lru_cache(maxsize=1_000)
def sets_handlers(workflow: type) -> bool:
    """Whether code of a workflow, or of its module, sets handlers of signals as it runs."""
    beside = vars(sys.modules.get(workflow.__module__, object()) or object())
    functions = [*beside.values(), *(one for cls in workflow.__mro__ for one in vars(cls).values())]
    codes = [one.__code__ for one in functions if isinstance(one, FunctionType)]
    return any(SETTERS & {*code.co_names} for code in _within(codes))


def looks_for_cancellation(workflow: type) -> bool:
    """Whether code of a workflow catches that it is cancelled: then somebody may be meant to."""
    functions = [one for cls in workflow.__mro__ for one in vars(cls).values()]
    codes = [one.__code__ for one in functions if isinstance(one, FunctionType)]
    return any(CANCELLED & {*code.co_names} for code in _within(codes))


def _within(codes: Sequence[CodeType]) -> Iterator[CodeType]:
    """These pieces of code, and those inside of them."""
    for code in codes:
        yield code
        yield from _within([one for one in code.co_consts if isinstance(one, CodeType)])


def _within_a_loop(function: Any) -> Any:
    """Call with some event loop said to run: the SDK asks for one, and unsets it at its end."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(before or _Nowhere.loop())
    try:
        return function()
    finally:
        asyncio._set_running_loop(before)


class _Nowhere:
    """An event loop that never runs."""

    _loop: Any = None

    @classmethod
    def loop(cls) -> Any:
        if cls._loop is None:
            cls._loop = asyncio.BaseEventLoop()
        return cls._loop


def _only(cls: Any, values: Mapping[str, Any]) -> Any:
    """Make a dataclass of the fields that this release of temporalio has."""
    known = {field.name for field in dataclasses.fields(cls)}
    return cls(**{name: value for name, value in values.items() if name in known})


def _info(run: Run) -> Any:
    begun, started = run.begun_with, moment(run.started_ms)
    indexed = ParseDict(begun.get("searchAttributes", {}), SearchAttributes())
    parent = begun.get("parentWorkflowExecution")
    root = begun.get("rootWorkflowExecution")
    return _only(
        temporalio.workflow.Info,
        {
            "attempt": run.limits.attempt,
            "continued_run_id": begun.get("continuedExecutionRunId"),
            "cron_schedule": run.limits.cron or None,
            "execution_timeout": _lasting(run.limits.execution_ms),
            "first_execution_run_id": begun["firstExecutionRunId"],
            "headers": given_fields(begun.get("header")),
            "namespace": "default",
            "original_execution_run_id": run.run_id,
            "parent": parent
            and temporalio.workflow.ParentInfo(
                namespace="default", run_id=parent["runId"], workflow_id=parent["workflowId"]
            ),
            "root": root
            and temporalio.workflow.RootInfo(run_id=root["runId"], workflow_id=root["workflowId"]),
            "priority": temporalio.common.Priority.default,
            "raw_memo": given_fields(begun.get("memo")),
            "retry_policy": _policy(begun.get("retryPolicy")),
            "run_id": run.run_id,
            "run_timeout": _lasting(run.limits.run_ms or (0 if parent else None)),
            "search_attributes": temporalio.converter.decode_search_attributes(indexed),
            "start_time": started,
            "task_queue": run.queue,
            "task_timeout": timedelta(milliseconds=run.task_timeout_ms),
            "typed_search_attributes": temporalio.converter.decode_typed_search_attributes(indexed),
            "workflow_id": run.workflow_id,
            "workflow_start_time": started,
            "workflow_type": run.type,
        },
    )


def _failure(told: Mapping[str, Any] | None) -> Any:
    return None if told is None else as_failure(told)


def _lasting(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


def _policy(told: Mapping[str, Any] | None) -> Any:
    if told is None:
        return None
    message = ParseDict(dict(told), temporalio.api.common.v1.RetryPolicy())
    return temporalio.common.RetryPolicy.from_proto(message)
