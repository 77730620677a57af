"""DynamoDB as the SDK speaks with it: its actions on the tables of a system.

Source:
    Amazon DynamoDB API Reference; Developer Guide, "Error handling with DynamoDB" (throttling is
    400), "Transactions" (conflicts).

Not modelled:
    What the machine leaves out; parameters older than expressions, which are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness.adapters.aws.answers import FAILED, Said, refusal
from chaosharness.adapters.aws.asking import Line, Request, not_known
from chaosharness.kernel.scope import Scope
from chaosharness.machines.dynamodb.machine import ACTIONS, cancelled
from chaosharness.machines.machine import Refusal
from chaosharness.stores.dynamodb.dynamodb import OpenDynamoDB

OLD: Final = (
    *("Expected", "AttributeUpdates", "KeyConditions", "QueryFilter", "ScanFilter"),
    *("AttributesToGet", "ConditionalOperator", "Segment", "TotalSegments"),
)
ANSWERS: Final = ("ConditionalCheckFailedException", "TransactionCanceledException")
THROTTLED: Final = {
    "Code": "ProvisionedThroughputExceededException",
    "Message": "The level of configured provisioned throughput for the table was exceeded. "
    "Consider increasing your provisioning level with the UpdateTable API.",
    "Type": "Sender",
}


class Tables:
    """The tables of a run, as the SDK sees them."""

    def __init__(self, store: OpenDynamoDB) -> None:
        self.name = store.name
        self.store = store

    def knows(self, action: str) -> bool:
        """Say whether an action is modelled."""
        return action in ACTIONS

    def about(self, request: Request) -> str:
        """Return the tables that a request is about."""
        given = request.given
        for name in OLD:
            if name in given:
                not_known(request, name)
        if "TableName" in given:
            return str(given["TableName"]).rpartition("/")[2]
        if "RequestItems" in given:
            return " and ".join(sorted(given["RequestItems"]))
        asked = [next(iter(one.values())) for one in given.get("TransactItems", ())]
        return " and ".join(sorted({one["TableName"] for one in asked}))

    def waits(self, request: Request) -> Callable[[Scope, Line], Any] | None:
        """Nothing waits."""
        return None

    def refused(self, request: Request) -> Said:
        """Return what DynamoDB says where it does nothing for now.

        A transaction is in conflict with another, which the SDK does not repeat; else it is too
        much, and the SDK tries again.
        """
        if request.action != "TransactWriteItems":
            return Said(FAILED, THROTTLED)
        _, *rest = request.given["TransactItems"]
        words = "Transaction is ongoing for the item"
        none = [{"Code": "None"} for _ in rest]
        return _said(cancelled([{"Code": "TransactionConflict", "Message": words}, *none]))

    def do(self, request: Request, scope: Scope, operation: str, attempt: int) -> dict[str, Any]:
        """Do what is asked for.

        Raises:
            Said: DynamoDB refuses.
        """
        answer: dict[str, Any] | Refusal = self.store.do(
            request.action, request.given, scope, operation, attempt
        )
        if isinstance(answer, Refusal):
            raise _said(answer)
        return answer


def _said(answer: Refusal) -> Said:
    made = refusal(answer)
    said = Said(made.status, made.error, **getattr(answer, "more", {}))
    said.is_answer = answer.code in ANSWERS
    return said
