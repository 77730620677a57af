"""What services call Step Functions by: the API under boto3's names."""

from typing import Any

from chaosharness.externals.request import Server, call

__all__ = ["StepFunctionsClient"]


class StepFunctionsClient:
    """The service's API under boto3's names: `client("stepfunctions")`.

    In an `async` handler, await each method. Times are in milliseconds of virtual time.
    """

    def __init__(self, engine: Server) -> None:
        self._engine = engine

    def _ask(self, what: str, action: str, shown: dict[str, Any], **words: Any) -> Any:
        engine = self._engine
        data = {"method": action, **shown}
        return call(f"{engine.name}.{action}", engine, (what, words), data)

    def start_execution(self, *, stateMachineArn: str, name: str = "", input: str = "{}") -> Any:
        """Start an execution; with a name and the same input it is started once.

        Raises:
            ExecutionAlreadyExists, StateMachineDoesNotExist, InvalidExecutionInput.
        """
        shown = {"machine": stateMachineArn, "name": name, "input": input}
        return self._ask("start", "start_execution", shown, machine=stateMachineArn, name=name,
                         text=input, wait=False)  # fmt: skip

    def start_sync_execution(
        self, *, stateMachineArn: str, name: str = "", input: str = "{}"
    ) -> Any:
        """Start an execution and wait for its end (Express)."""
        shown = {"machine": stateMachineArn, "name": name, "input": input}
        return self._ask("start", "start_sync_execution", shown, machine=stateMachineArn,
                         name=name, text=input, wait=True)  # fmt: skip

    def update_state_machine(self, *, stateMachineArn: str, definition: str) -> Any:
        """Give a state machine another definition: executions that run keep theirs (S13).

        Raises:
            InvalidDefinition, StateMachineDoesNotExist.
        """
        return self._ask("update", "update_state_machine", {"machine": stateMachineArn},
                         machine=stateMachineArn, definition=definition)  # fmt: skip

    def stop_execution(
        self, *, executionArn: str, error: str | None = None, cause: str | None = None
    ) -> Any:
        """Stop an execution where it stands: no Catch runs."""
        shown = {"execution": executionArn}
        return self._ask("stop", "stop_execution", shown, arn=executionArn, error=error,
                         cause=cause)  # fmt: skip

    def redrive_execution(self, *, executionArn: str, clientToken: str = "") -> Any:
        """Have an execution that did not succeed go on at the state where it ended.

        Raises:
            ExecutionNotRedrivable, ExecutionDoesNotExist.
        """
        shown = {"execution": executionArn}
        return self._ask("redrive", "redrive_execution", shown, arn=executionArn,
                         token=clientToken)  # fmt: skip

    def describe_execution(self, *, executionArn: str) -> Any:
        """Return status, input and output."""
        return self._ask("describe", "describe_execution", {"execution": executionArn},
                         arn=executionArn)  # fmt: skip

    def get_execution_history(self, *, executionArn: str) -> Any:
        """Return the event history."""
        return self._ask("history", "get_execution_history", {"execution": executionArn},
                         arn=executionArn)  # fmt: skip

    def send_task_success(self, *, taskToken: str, output: str) -> Any:
        """Answer a task by its token.

        Raises:
            TaskTimedOut (also where it was answered before), InvalidToken.
        """
        return self._ask("success", "send_task_success", {"output": output}, token=taskToken,
                         text=output)  # fmt: skip

    def send_task_failure(
        self, *, taskToken: str, error: str | None = None, cause: str | None = None
    ) -> Any:
        """Have a task fail by its token; raises as `send_task_success`."""
        return self._ask("failure", "send_task_failure", {"error": error}, token=taskToken,
                         error=error, cause=cause)  # fmt: skip

    def send_task_heartbeat(self, *, taskToken: str) -> Any:
        """Say that a task goes on; raises as `send_task_success`."""
        return self._ask("heartbeat", "send_task_heartbeat", {}, token=taskToken)

    def get_activity_task(self, *, activityArn: str, workerName: str = "") -> Any:
        """Return the next task of an activity; its token is None where there is none."""
        name = activityArn.rsplit(":", 1)[-1]
        return self._ask("activity", "get_activity_task", {"activity": name}, name=name)
