"""What the code of a task raises to say how it ends, under Airflow's names, and the API's no.

Airflow's own exceptions of the same names mean the same: they are told apart by name, so that
code needs no Airflow to be tested here, and no change to run there.
"""

from datetime import datetime

__all__ = [
    "AirflowApiException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
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


class AirflowApiException(Exception):
    """The REST API said no: nothing happened. `status` is its HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"({status}) {detail}")
        self.status = status
        self.detail = detail


def named(error: BaseException, *names: str) -> bool:
    """Say whether an error is of a class with one of these names, or of one below it."""
    return any(one.__name__ in names for one in type(error).__mro__)
