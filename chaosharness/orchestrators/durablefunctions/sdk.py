"""What the Python SDK of durable functions is told at an invocation, and what it checkpoints by.

Its service client is its own seam: a handler that is given
`DurableExecutionInvocationInputWithClient` asks that client, and no network. Its threads, queues
and locks are those of the run.

Source:
    aws-durable-execution-sdk-python 3.0.0, `execution.py`, `lambda_service.py`, `exceptions.py`: an
    error of the client ends the invocation, and is raised so that Lambda invokes again, unless its
    code is one of 400 to 499.

Not modelled:
    What botocore tries again beneath the SDK: one lost answer stands for all that were lost.
"""

from __future__ import annotations

from importlib import import_module
from types import FunctionType
from typing import Any, Final, Protocol

from chaosharness.errors import InvalidDefinition
from chaosharness.externals.request import Server, call
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.orchestrators.durablefunctions.journal import Journal
from chaosharness.orchestrators.durablefunctions.refusals import LambdaError

__all__ = ["Client", "check_durable", "event_of"]

PACKAGE: Final = "aws_durable_execution_sdk_python"
TIMES: Final = frozenset(
    {"StartTimestamp", "EndTimestamp", "NextAttemptTimestamp", "ScheduledEndTimestamp"}
)


class Owned(Protocol):
    """An execution, as its client needs it."""

    @property
    def journal(self) -> Journal:
        """Its operations."""


def check_durable(service: str, name: str, handler: Any) -> None:
    """Refuse a handler that is no durable function.

    Raises:
        InvalidDefinition: Its words say what to do.
    """
    try:
        execution = import_module(f"{PACKAGE}.execution")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != PACKAGE:
            raise
        raise InvalidDefinition(
            f"service {service!r} has the durable function {name!r}, and the SDK of durable "
            "functions is not installed: pip install 'chaosharness[durable-functions]'"
        ) from None
    if not hasattr(execution, "DurableExecutionInvocationInputWithClient"):
        raise InvalidDefinition(
            f"the {PACKAGE} that is installed takes no service client, and this was made for "
            "3.x: pip install 'chaosharness[durable-functions]'"
        )
    inner = handler
    while inner is not None:  # decorators of the user's may stand around the SDK's
        if isinstance(inner, FunctionType) and inner.__code__.co_filename == execution.__file__:
            return
        inner = getattr(inner, "__wrapped__", None) or getattr(inner, "func", None)
    raise InvalidDefinition(
        f"service {service!r} has the function {name!r}, which is not durable: decorate its "
        f"handler with @durable_execution of {PACKAGE}"
    )


def _operations(found: list[dict[str, Any]]) -> list[Any]:
    """Return operations as the SDK has them: its times are of the calendar."""
    of = import_module(f"{PACKAGE}.lambda_service").Operation.from_json_dict
    return [of(_dated(one)) for one in found]


def _dated(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: one + EPOCH_MS
        if name in TIMES
        else _dated(one)
        if isinstance(one, dict) and name != "Error"
        else one
        for name, one in value.items()
    }


def event_of(journal: Journal, token: str, text: str, client: Client) -> Any:
    """Return what an invocation of a durable function is given."""
    execution = import_module(f"{PACKAGE}.execution")
    begun = {
        "Id": journal.arn.rsplit("/", 1)[-1],
        "Type": "EXECUTION",
        "Status": "STARTED",
        "StartTimestamp": 0,
        "ExecutionDetails": {"InputPayload": text},
    }
    known = _operations([begun, *journal.operations.values()])
    return execution.DurableExecutionInvocationInputWithClient(
        durable_execution_arn=journal.arn,
        checkpoint_token=token,
        initial_execution_state=execution.InitialExecutionState(known, ""),
        service_client=client,
    )


class Client:
    """What one invocation checkpoints by: the SDK's `DurableServiceClient`."""

    def __init__(self, engine: Server, execution: Owned) -> None:
        self._engine = engine
        self._execution = execution

    def checkpoint(
        self,
        durable_execution_arn: str,
        checkpoint_token: str,
        updates: list[Any],
        client_token: str | None,
    ) -> Any:
        """Write what has happened, as `CheckpointDurableExecution` does."""
        service = import_module(f"{PACKAGE}.lambda_service")
        given = [update.to_dict() for update in updates]
        shown = {
            "method": "checkpoint_durable_execution",
            "updates": [_shown(one) for one in given],
        }
        request = ("checkpoint", {"arn": durable_execution_arn, "token": checkpoint_token,
                                  "updates": given})  # fmt: skip
        try:
            token, found = call(
                f"{self._engine.name}.checkpoint_durable_execution", self._engine, request, shown
            )
        except (LambdaError, OSError) as error:  # a lost answer and a refusal are both an OSError
            words = import_module(f"{PACKAGE}.exceptions").CheckpointError
            raise words.from_exception(error) from None
        state = service.CheckpointUpdatedExecutionState(_operations(found))
        return service.CheckpointOutput(token, state)

    def get_execution_state(self, *given: Any, **named: Any) -> Any:
        """Return the next page: all operations stand on the first."""
        service = import_module(f"{PACKAGE}.lambda_service")
        return service.StateOutput()


def _shown(update: dict[str, Any]) -> str:
    name = update.get("Name") or update.get("SubType") or update["Id"][:8]
    return f"{update['Type']} {name} {update['Action']}"
