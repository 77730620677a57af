"""What services call Lambda by, where its functions are durable: the API under boto3's names."""

from __future__ import annotations

from typing import Any, Literal

from chaosharness.externals.request import Server, call

__all__ = ["DurableFunctionsClient"]


class DurableFunctionsClient:
    """The service's API under boto3's names: `client("lambda")`.

    In an `async` handler, await each method. Times are in milliseconds of virtual time.
    """

    def __init__(self, engine: Server) -> None:
        self._engine = engine

    def _ask(self, what: str, action: str, shown: dict[str, Any], **words: Any) -> Any:
        engine = self._engine
        data = {"method": action, **shown}
        return call(f"{engine.name}.{action}", engine, (what, words), data)

    def invoke(
        self,
        *,
        FunctionName: str,
        Payload: str | bytes = "null",
        DurableExecutionName: str = "",
        InvocationType: Literal["Event", "RequestResponse"] = "RequestResponse",
    ) -> Any:
        """Start an execution; with a name and the same payload it is started once.

        `RequestResponse` waits for its end: `Payload` is its result then, as text.

        Raises:
            DurableExecutionAlreadyStartedException, ResourceNotFoundException.
        """
        text = Payload.decode() if isinstance(Payload, bytes) else Payload
        shown = {"function": FunctionName, "name": DurableExecutionName, "payload": text}
        return self._ask("start", "invoke", shown, function=FunctionName, text=text,
                         name=DurableExecutionName, wait=InvocationType != "Event")  # fmt: skip

    def get_durable_execution(self, *, DurableExecutionArn: str) -> Any:
        """Return status, input and result."""
        shown = {"execution": DurableExecutionArn}
        return self._ask("get", "get_durable_execution", shown, arn=DurableExecutionArn)

    def stop_durable_execution(self, *, DurableExecutionArn: str) -> Any:
        """Stop an execution: it is not invoked again, and can checkpoint nothing more."""
        shown = {"execution": DurableExecutionArn}
        return self._ask("stop", "stop_durable_execution", shown, arn=DurableExecutionArn)

    def send_durable_execution_callback_success(
        self, *, CallbackId: str, Result: str | bytes | None = None
    ) -> Any:
        """Answer a callback.

        Raises:
            CallbackTimeoutException: It was answered, or its time is over.
        """
        text = Result.decode() if isinstance(Result, bytes) else Result
        action = "send_durable_execution_callback_success"
        return self._ask("callback", action, {"result": text}, callback=CallbackId,
                         status="SUCCEEDED", result=text, error=None)  # fmt: skip

    def send_durable_execution_callback_failure(
        self, *, CallbackId: str, Error: dict[str, Any] | None = None
    ) -> Any:
        """Have a callback fail; raises as `send_durable_execution_callback_success`."""
        action = "send_durable_execution_callback_failure"
        return self._ask("callback", action, {"error": Error}, callback=CallbackId,
                         status="FAILED", result=None, error=Error or {})  # fmt: skip

    def send_durable_execution_callback_heartbeat(self, *, CallbackId: str) -> Any:
        """Say that a callback will come; raises as `send_durable_execution_callback_success`."""
        return self._ask("heartbeat", "send_durable_execution_callback_heartbeat", {},
                         callback=CallbackId)  # fmt: skip
