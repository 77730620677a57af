"""What AWS Lambda tells a function about one call, whoever asks for it: a queue, a state machine.

Source:
    AWS Lambda Developer Guide, "Using the Lambda context object to retrieve Python function
    information".
"""

from __future__ import annotations

from typing import Final
from uuid import NAMESPACE_OID, uuid5

from chaosharness.handlers.port import read_clock
from chaosharness.kernel.scope import Scope

REGION: Final = "eu-central-1"
ACCOUNT: Final = "000000000000"


def request_id(scope: Scope, name: str, number: int) -> str:
    """Return the id of an invocation: no other one has it, in whichever environment.

    Batches of a queue or a stream that are handed out again are invocations of their own.

    Args:
        scope: Whose environment runs it.
        name: That of the function.
        number: How many the environment has had of them.
    """
    return str(uuid5(NAMESPACE_OID, f"{scope.incarnation.label}/{name}/{number}"))


class Context:
    """What Lambda tells a function about its call."""

    def __init__(self, scope: Scope, name: str, request_id: str, deadline_ms: int) -> None:
        self.function_name = name
        self.function_version = "$LATEST"
        self.invoked_function_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
        self.memory_limit_in_mb = 128
        self.aws_request_id = request_id
        self.log_group_name = f"/aws/lambda/{name}"
        self.log_stream_name = scope.incarnation.label
        self._world = scope.world
        self._deadline_ms = deadline_ms

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the call may go on."""
        read_clock(self._world)
        return max(self._deadline_ms - self._world.now, 0)
