"""What a DAG run waits for by itself, be it days: a retry, a trigger, a sensor, the next interval.

Airflow's scheduler looks each second, so the end of the calm finds it waiting for whatever is next.
"""

from collections.abc import Iterator
from typing import Any, Final

from chaosharness.kernel.agenda import DUE, WAITER
from chaosharness.kernel.scope import Incarnation
from chaosharness.orchestrators.airflow.definition import AirflowTask
from chaosharness.orchestrators.long_waits import LONG_MS, LongWaits

__all__ = ["Waits"]

FAULTY_RUNS: Final = 2
"""In how many runs of a DAG schedule faults strike: those to come are like these."""


class Waits:
    """Lengthens the calm of one run for what its Airflow waits for."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._long = LongWaits(engine.world)
        engine.world.before_end.append(self._look)
        for dag in engine.definition.by_id.values():
            if dag.dag_schedule_s is not None:
                last_s = min(FAULTY_RUNS * dag.dag_schedule_s, dag.dag_end_s)
                engine.world.promise(round(last_s * 1000) + engine.world.budget.chaos_ms)

    def _look(self) -> None:
        if not self._engine.world.chaos:
            due_ms = min((*self._engine.machine.waits(), *self._asleep()), default=None)
            if due_ms is not None:
                self._long.past(due_ms)

    def _asleep(self) -> Iterator[int]:
        """When tasks and triggers go on that sleep for long; and sensors, which look often."""
        own: dict[Incarnation, str] = dict.fromkeys(self._engine.triggerer.processes, "trigger")
        own |= {one.incarnation: _kind_of(one.task) for one in self._engine.processes}
        for entry in self._engine.world.agenda.pending():
            asleep: Any = getattr(entry[WAITER], "incarnation", None)
            kind = own.get(asleep)
            if kind == "sensor" or (kind and entry[WAITER].delay_ms >= LONG_MS):
                yield entry[DUE]


def _kind_of(task: AirflowTask) -> str:
    """The kind of a task; an operator of Airflow that pokes is a sensor."""
    return "sensor" if callable(getattr(task.run, "poke", None)) else task.kind
