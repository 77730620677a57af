"""Airflow 3: DAG runs, trigger rules, retries and zombies, as a pure machine and in a system.

A1 to A14 are the rules of `docs/explanation/orchestrators.md`, which has their sources.
"""

from chaosharness.orchestrators.airflow.definition import AirflowDAG as AirflowDAG
from chaosharness.orchestrators.airflow.definition import AirflowTask as AirflowTask
from chaosharness.orchestrators.airflow.engine import Airflow as Airflow
from chaosharness.orchestrators.airflow.exceptions import (
    AirflowApiException as AirflowApiException,
)
from chaosharness.orchestrators.airflow.exceptions import (
    AirflowFailException as AirflowFailException,
)
from chaosharness.orchestrators.airflow.exceptions import (
    AirflowRescheduleException as AirflowRescheduleException,
)
from chaosharness.orchestrators.airflow.exceptions import (
    AirflowSensorTimeout as AirflowSensorTimeout,
)
from chaosharness.orchestrators.airflow.exceptions import (
    AirflowSkipException as AirflowSkipException,
)
from chaosharness.orchestrators.airflow.exceptions import TaskDeferred as TaskDeferred
from chaosharness.orchestrators.airflow.exceptions import TriggerEvent as TriggerEvent
from chaosharness.orchestrators.airflow.groups import AirflowGroup as AirflowGroup
from chaosharness.orchestrators.airflow.limits import AirflowPool as AirflowPool

__all__ = [
    "Airflow",
    "AirflowApiException",
    "AirflowDAG",
    "AirflowFailException",
    "AirflowGroup",
    "AirflowPool",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTask",
    "TaskDeferred",
    "TriggerEvent",
]
