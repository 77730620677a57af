"""Interceptors of workers: what they put around activities, and around workflows.

*Source*: temporalio 1.35.0, `temporalio/worker/_interceptor.py`, `_activity.py`, `_workflow.py`.
*Not modelled*: an outbound interceptor's `info`; those of Nexus operations.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

import attrs
import temporalio.activity
import temporalio.worker
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ExecuteActivityInput, Interceptor, WorkflowInterceptorClassInput

from chaosharness.errors import InvalidDefinition

__all__ = ["Interception", "interception_of"]


@attrs.frozen
class Interception:
    """The interceptors of one worker, the outermost first.

    Attributes:
        interceptors: Those that the worker was given.
        workflow_classes: What they put around workflows.
        extern_functions: What workflows may call of theirs.
    """

    interceptors: tuple[Any, ...] = ()
    workflow_classes: tuple[type, ...] = ()
    extern_functions: Mapping[str, Callable[..., Any]] = attrs.field(factory=dict)

    def around(
        self,
        environment: ActivityEnvironment,
        function: Callable[..., Any],
        headers: Mapping[str, Any],
        *,
        asynchronous: bool,
    ) -> Callable[..., Any]:
        """Return an activity with its interceptors around it, in its own colour."""
        if not self.interceptors:
            return function

        def intercepted(arguments: tuple[Any, ...]) -> Any:
            chain: Any = _Innermost(environment)
            for interceptor in reversed(self.interceptors):
                chain = interceptor.intercept_activity(chain)
            beats = environment.on_heartbeat
            chain.init(_Outbound(environment, beats))
            asked = ExecuteActivityInput(
                fn=function, args=list(arguments), executor=None, headers=headers
            )
            return chain.execute_activity(asked)

        if asynchronous:

            @wraps(function)
            async def handle(*arguments: Any) -> Any:
                return await intercepted(arguments)

            return handle

        @wraps(function)
        def handle_plain(*arguments: Any) -> Any:
            return _at_once(intercepted(arguments), function)

        return handle_plain


def _at_once(coroutine: Any, function: Callable[..., Any]) -> Any:
    """Carry out what an interceptor makes of a plain activity, which nothing may await."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    except RuntimeError as error:
        if "no running event loop" not in str(error):
            raise
    coroutine.close()
    name = getattr(function, "__name__", "activity")
    raise InvalidDefinition(
        f"an interceptor awaits something around the activity {name!r}, which is a plain function: "
        "make the activity async, or await nothing there"
    )


class _Innermost(temporalio.worker.ActivityInboundInterceptor):
    """Carries the activity out, and lets heartbeats pass those who asked for them."""

    def __init__(self, environment: ActivityEnvironment) -> None:
        self.environment = environment

    def init(self, outbound: Any) -> None:
        """Have heartbeats go the way of the interceptors."""
        self.environment.on_heartbeat = outbound.heartbeat

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Call it."""
        from chaosharness.handlers.colours import is_async

        found = input.fn(*input.args)
        return await found if is_async(input.fn) else found


class _Outbound(temporalio.worker.ActivityOutboundInterceptor):
    """What an activity says, once the interceptors have passed it on."""

    def __init__(self, environment: ActivityEnvironment, beats: Callable[..., None]) -> None:
        self.environment = environment
        self.beats = beats

    def info(self) -> temporalio.activity.Info:
        """What it is told of itself."""
        return self.environment.info

    def heartbeat(self, *details: Any) -> None:
        """Tell the server that it goes on."""
        self.beats(*details)


def interception_of(interceptors: Iterable[Any], service: str) -> Interception:
    """Return what interceptors put around a worker's work.

    Raises:
        InvalidDefinition: One of them is no `temporalio.worker.Interceptor`.
    """
    given = tuple(interceptors)
    functions: dict[str, Callable[..., Any]] = {}
    classes: list[type] = []
    for interceptor in given:
        if not isinstance(interceptor, Interceptor):
            raise InvalidDefinition(
                f"service {service!r} has a worker with the interceptor {interceptor!r}, which is "
                "no instance of temporalio.worker.Interceptor"
            )
        found = interceptor.workflow_interceptor_class(WorkflowInterceptorClassInput(functions))
        if found is not None:
            classes.append(found)
    return Interception(given, tuple(classes), functions)
