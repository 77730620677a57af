"""Twins of the order saga, each with one planted bug in its definition or its functions."""

from typing import Any

from chaosharness import System
from models.step_functions.right import Parts, build, definition


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


def _key_of_attempt(event: Any, context: Any) -> str:
    """The id of the invocation: another one at each retry."""
    return str(context.aws_request_id)


def last_state_not_caught() -> System:
    return build(Parts(definition=_last_state_not_caught), name="last state not caught")


def timeout_not_retried() -> System:
    return build(Parts(definition=_timeout_not_retried), name="timeout not retried")


def key_of_attempt() -> System:
    return build(Parts(key=_key_of_attempt), name="key of attempt")


BROKEN = (last_state_not_caught, timeout_not_retried, key_of_attempt)
