"""Twins of the order saga, each with one planted bug in its definition or its functions."""

from typing import Any

import attrs

from chaosharness import Order, System
from chaosharness.orchestrators.stepfunctions.refusals import ExecutionDoesNotExist
from models.step_functions.right import (
    RETRY,
    Parts,
    build,
    definition,
    start,
    with_insurance,
    with_receipt,
    without_receipt,
)
from models.third_parties import PaysBack


def _last_state_not_caught() -> dict[str, Any]:
    """Ship is not retried, and catches only what the courier refuses: all else fails the saga."""
    found = definition()
    ship = found["States"]["Ship"]
    del ship["Retry"]
    ship["Catch"] = [{**ship["Catch"][0], "ErrorEquals": ["CannotDeliver"]}]
    return found


def _timeout_not_retried() -> dict[str, Any]:
    """Charge retries States.TaskFailed, which does not see a timeout; its Catch undoes nothing."""
    found = definition()
    charge = found["States"]["Charge"]
    charge["Retry"] = [{"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": 6}]
    charge["Catch"] = [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error",
                        "Next": "Cancelled"}]  # fmt: skip
    return found


def _side_by_side() -> dict[str, Any]:
    """Charge and Ship in one Parallel state: the first that fails ends it, the other runs on."""
    found = definition()
    states = found["States"]
    branches = [
        {"StartAt": name, "States": {name: {"Type": "Task", "Resource": name.lower(),
         "TimeoutSeconds": 30, "Retry": RETRY, "End": True}}}
        for name in ("Charge", "Ship")
    ]  # fmt: skip
    catch = [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Recall"}]
    both = {"Type": "Parallel", "Branches": branches, "Catch": catch, "ResultPath": "$.both",
            "Next": "Done"}  # fmt: skip
    rest = {name: states[name] for name in ("Recall", "Refund", "Cancelled", "Done")}
    return {"StartAt": "Both", "States": {"Both": both, **rest}}


def _undoes_the_unknown() -> dict[str, Any]:
    """Charge is asked for once, and what is not known of it is given back."""
    found = definition()
    del found["States"]["Charge"]["Retry"]
    return found


def _key_of_attempt(event: Any, context: Any) -> str:
    """The id of the invocation: another one at each retry."""
    return str(context.aws_request_id)


def _id_in_the_definition() -> dict[str, Any]:
    """The key is drawn in the first state: States.UUID() is another one in each run."""
    found = definition()
    drawn = {"key.$": "States.UUID()"}
    found["StartAt"] = "Key"
    found["States"]["Key"] = {"Type": "Pass", "Parameters": drawn, "ResultPath": "$.drawn",
                              "Next": "Charge"}  # fmt: skip
    return found


def _out_of_order() -> dict[str, Any]:
    """The money goes back first, and the parcel is stopped then."""
    found = with_insurance()
    states = found["States"]
    for name in ("Ship", "Insure"):
        states[name]["Catch"][0]["Next"] = "Refund"
    states["Refund"]["Next"], states["Recall"]["Next"] = "Recall", "Cancelled"
    return found


def compensated_out_of_order() -> System:
    parts = Parts(definition=_out_of_order, insured=True)
    return build(parts, name="compensated out of order")


def _parcel_forgotten() -> dict[str, Any]:
    """Where the insurer says no the money goes back, and nobody stops the parcel."""
    found = with_insurance()
    found["States"]["Insure"]["Catch"][0]["Next"] = "Refund"
    return found


def compensation_forgotten() -> System:
    return build(Parts(definition=_parcel_forgotten, insured=True), name="compensation forgotten")


def key_drawn_in_an_express_workflow() -> System:
    """A Standard workflow may draw its key once; Express may be carried out twice."""
    key = lambda event, context: str(event["drawn"]["key"])  # noqa: E731
    parts = Parts(definition=_id_in_the_definition, key=key, express=True)
    return build(parts, name="key drawn in an express workflow")


def _starts_what_it_does_not_see(client: Any, order: Order) -> None:
    """Look for the execution, and start it under another name where it is not there."""
    start(client, order)
    try:
        client.describe_execution(executionArn=f"order:{order.id}")
    except ExecutionDoesNotExist:
        start(client, attrs.evolve(order, id=f"{order.id}-again"))


def starts_what_it_does_not_see() -> System:
    parts = Parts(start=_starts_what_it_does_not_see)
    return build(parts, name="starts what it does not see")


def last_state_not_caught() -> System:
    return build(Parts(definition=_last_state_not_caught), name="last state not caught")


def timeout_not_retried() -> System:
    return build(Parts(definition=_timeout_not_retried), name="timeout not retried")


def key_of_attempt() -> System:
    return build(Parts(key=_key_of_attempt), name="key of attempt")


def branch_succeeds_after_compensation() -> System:
    parts = Parts(definition=_side_by_side)
    return build(parts, name="branch succeeds after compensation")


def undoes_the_unknown() -> System:
    parts = Parts(definition=_undoes_the_unknown, bank=PaysBack)
    return build(parts, name="undoes the unknown")


def function_changed_with_its_definition() -> System:
    """The new refund reads what only the new definition passes; old executions still run."""
    parts = Parts(
        definition=with_receipt,
        previous=without_receipt,
        refund_key=lambda event, context: str(event["receipt"]),
    )
    return build(parts, name="function changed with its definition")


BROKEN = (
    last_state_not_caught,
    timeout_not_retried,
    key_of_attempt,
    branch_succeeds_after_compensation,
    undoes_the_unknown,
    key_drawn_in_an_express_workflow,
    starts_what_it_does_not_see,
    function_changed_with_its_definition,
    compensated_out_of_order,
    compensation_forgotten,
)
