"""Twins of the order saga, each with one planted bug in its definitions or its workers."""

from typing import Any

from chaosharness import External, System
from models.conductor.right import (
    Parts,
    build,
    charge,
    definition,
    renamed,
    task,
    tasks,
    undo,
    with_insurance,
    workflows,
)
from models.third_parties import Bank


def _with_failure_workflow() -> list[dict[str, Any]]:
    """Compensation stands in a failureWorkflow, as the documentation shows it."""
    return [
        {"name": "order", "tasks": [charge(), task("ship")], "failureWorkflow": "undo"},
        {"name": "undo", "tasks": undo("recall", "refund", "cancel", after="failure")},
    ]


def _without_failure_workflow() -> list[dict[str, Any]]:
    """The failureWorkflow was forgotten."""
    return [{"name": "order", "tasks": [charge(), task("ship")]}]


def _one_try() -> list[dict[str, Any]]:
    """What cannot be delivered is not tried again; all else as it was."""
    return [*[one for one in tasks() if one["name"] != "ship"], definition("ship", retryCount=1)]


def _key_of_attempt() -> list[dict[str, Any]]:
    """The bank's key is the task's id: another one at each retry."""
    [order] = workflows()
    order["tasks"][0] = charge("${CPEWF_TASK_ID}", optional=True)
    return [order]


def _impatient() -> list[dict[str, Any]]:
    """A worker has two seconds for its work, which takes three."""
    rest = [one for one in tasks() if one["name"] != "charge"]
    return [*rest, definition("charge", responseTimeoutSeconds=2, retryCount=3)]


class CarelessBank(Bank):
    """Declines what is dear, and pays whatever refund it is asked for."""

    def charge(self, key: str, cents: int) -> Any:
        if cents > 600:
            raise NonRetryableException(f"declined: {cents}")
        return super().charge(key, cents)

    def refund(self, key: str, cents: int) -> Any:
        if key in self.refunded:
            return External.unchanged(key)
        self.refunded.add(key)
        return key


class NonRetryableException(Exception):
    """Ends a task without another try, as conductor-python's of the same name does."""


def failure_workflow_lost() -> System:
    parts = Parts(workflows=_with_failure_workflow, tasks=_one_try)
    return build(parts, name="failure workflow lost")


def failure_workflow_absent() -> System:
    parts = Parts(workflows=_without_failure_workflow, tasks=_one_try)
    return build(parts, name="failure workflow absent")


def key_of_attempt() -> System:
    return build(Parts(workflows=_key_of_attempt), name="key of attempt")


def undoes_what_did_not_happen() -> System:
    """The failureWorkflow refunds, and never looks into failedWorkflow whether there was money."""
    parts = Parts(workflows=_with_failure_workflow, tasks=_one_try, bank=CarelessBank)
    return build(parts, name="undoes what did not happen")


def response_timeout_too_short() -> System:
    parts = Parts(workflows=_key_of_attempt, tasks=_impatient, work_s=3.0)
    return build(parts, name="response timeout too short")


def compensated_out_of_order() -> System:
    """The money goes back first, and the parcel is stopped then."""
    flow = lambda: with_insurance("refund", "recall", "cancel")  # noqa: E731
    return build(Parts(workflows=flow, insured=True), name="compensated out of order")


def compensation_forgotten() -> System:
    """The money goes back, and nobody stops the parcel."""
    flow = lambda: with_insurance("refund", "cancel")  # noqa: E731
    return build(Parts(workflows=flow, insured=True), name="compensation forgotten")


def worker_gone_with_its_task() -> System:
    """A task has another name now, and nobody polls for the old one, which old workflows have."""
    parts = Parts(workflows=renamed, previous=workflows, charges=("take_money",))
    return build(parts, name="worker gone with its task")


BROKEN = (
    failure_workflow_lost,
    failure_workflow_absent,
    key_of_attempt,
    undoes_what_did_not_happen,
    response_timeout_too_short,
    worker_gone_with_its_task,
    compensated_out_of_order,
    compensation_forgotten,
)
