"""What the code of a task raises to say how it ends, under Airflow's names, and the API's no.

Airflow's own exceptions of the same names mean the same: they are told apart by name, so that
code needs no Airflow to be tested here, and no change to run there.
"""

from datetime import datetime, timedelta
from typing import Any

import attrs

__all__ = [
    "AirflowApiException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "TriggerEvent",
    "UnmappableXComTypePushed",
    "XComForMappingNotPushed",
    "XComRefused",
    "named",
]


class AirflowSkipException(Exception):
    """The task is skipped, and by their trigger rules those after it."""


class AirflowFailException(Exception):
    """The task has failed and is not tried again."""


class AirflowSensorTimeout(Exception):
    """A sensor has waited for its whole timeout: it has failed and is not tried again."""


class AirflowRescheduleException(Exception):
    """The task gives its slot back, and begins anew at a moment; that is no new try."""

    def __init__(self, reschedule_date: datetime) -> None:
        super().__init__(str(reschedule_date))
        self.reschedule_date = reschedule_date


@attrs.frozen
class TriggerEvent:
    """What a trigger says when it fires: `payload` is the `event` of the method that goes on."""

    payload: Any


class TaskDeferred(BaseException):
    """The task gives its slot back, and goes on once a trigger has fired; that is no new try.

    Args:
        trigger: An object with `async def run(self)`, which yields a `TriggerEvent`. It has to do
            no harm if it is run twice: another triggerer begins it anew where one dies.
        method_name: What goes on: `env.tasks(..., {"wait.METHOD": function})`, which is given
            `event` and `kwargs` beside the context; of an operator, its method.
        kwargs: What it is given besides.
        timeout: How long it waits; a number is seconds.
    """

    def __init__(
        self,
        *,
        trigger: Any,
        method_name: str,
        kwargs: dict[str, Any] | None = None,
        timeout: timedelta | float | None = None,
    ) -> None:
        super().__init__(f"{trigger!r}, {method_name}")
        self.trigger = trigger
        self.method_name = method_name
        self.kwargs = kwargs
        self.timeout = timeout


class TaskDeferralError(Exception):
    """The trigger of a task has failed: so has the try."""


class TaskDeferralTimeout(Exception):
    """The trigger of a task has not fired in time: the try has failed."""


class XComForMappingNotPushed(TypeError):
    """A task returned nothing, and others are mapped over it."""

    def __str__(self) -> str:
        return "did not push XCom for task mapping"


class UnmappableXComTypePushed(TypeError):
    """A task returned neither a list nor a dict, and others are mapped over it."""

    def __str__(self) -> str:
        return f"unmappable return type {type(self.args[0]).__qualname__!r}"


class XComRefused(Exception):
    """The API does not take an XCom: others are mapped over it, and it is too long."""


class AirflowApiException(Exception):
    """The REST API said no: nothing happened. `status` is its HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"({status}) {detail}")
        self.status = status
        self.detail = detail


def named(error: BaseException, *names: str) -> bool:
    """Say whether an error is of a class with one of these names, or of one below it."""
    return any(one.__name__ in names for one in type(error).__mro__)
