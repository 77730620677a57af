"""When a task is tried again.

*Source*: apache-airflow-core 3.3.2, `TaskInstance.next_retry_datetime` (rule A4): what is added to
an exponential delay is no chance but a hash of the try, so two schedulers agree on it.
*Not modelled*: retry policies as objects.
"""

import hashlib
import math
from typing import Final

from chaosharness.orchestrators.airflow.definition import AirflowTask

__all__ = ["delay_ms"]

DELAY_S_MAX: Final = 86_400


def delay_ms(task: AirflowTask, dag_id: str, logical_date: str, try_number: int) -> int:
    """Return how long to wait after a try that has failed, in milliseconds."""
    multiplier = float(task.retry_exponential_backoff)
    if multiplier == 0 or multiplier == 1:
        return round(task.retry_delay_s * 1000)
    try:
        least = math.ceil(task.retry_delay_s * multiplier ** (try_number - 1))
    except OverflowError:
        least = DELAY_S_MAX
    least = max(least, 1)
    text = f"{dag_id}#{task.task_id}#{logical_date}#{try_number}"
    drawn = int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16)
    seconds: float = min(least + drawn % least, DELAY_S_MAX)
    if task.max_retry_delay_s is not None:
        seconds = min(seconds, task.max_retry_delay_s)
    return round(seconds * 1000)
