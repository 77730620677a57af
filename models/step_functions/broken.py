"""Twins of the order saga, each with one planted bug in its definition or its functions."""

from typing import Any

from chaosharness import System
from models.step_functions.right import RETRY, Parts, build, definition
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


BROKEN = (
    last_state_not_caught,
    timeout_not_retried,
    key_of_attempt,
    branch_succeeds_after_compensation,
    undoes_the_unknown,
)
