"""Versions of DAGs: a DAG file is changed while its runs go on.

*Source*: apache-airflow-core 3.x, `models/dagrun.py` (`verify_integrity`, and the tasks that
`task_instance_scheduling_decisions` leaves out), rule A10.
*Not modelled*: DAG bundles that are versioned, whose runs keep the version that they began with;
retries that were counted out under the version before.
"""

from collections.abc import Callable, Mapping
from typing import Final

from chaosharness.faults import Redeploy
from chaosharness.handlers.handling import reach
from chaosharness.handlers.port import strikes, surface
from chaosharness.kernel.scope import Scope
from chaosharness.orchestrators.airflow.definition import AirflowDAG
from chaosharness.orchestrators.airflow.machine import Machine

__all__ = ["Versions"]

BEGIN: Final = surface(before=(Redeploy,))
"""A run begins under the other version of its DAG."""


class Versions:
    """The two versions of some DAGs, and which of them a deployment has.

    Args:
        machine: The deployment.
        new: The DAGs as they are in the calm.
        before: Of some of them the version before.
        changed: Called when a DAG file has changed.
    """

    def __init__(
        self,
        machine: Machine,
        new: Mapping[str, AirflowDAG],
        before: Mapping[str, AirflowDAG],
        changed: Callable[[], None],
    ) -> None:
        self.machine = machine
        self.new = new
        self.before = before
        self.changed = changed

    def perhaps_begin(self, scope: Scope, dag_id: str, run_id: str) -> None:
        """Have a run that is new begin under the other version, if a fault says so."""
        if dag_id not in self.before or (dag_id, run_id) in self.machine.runs:
            return
        operation = f"{dag_id}/begin"
        attempt = reach(scope, operation, BEGIN)
        if operation in scope.world.armed and strikes(scope, operation, "before", attempt):
            self.change(dag_id)

    def change(self, dag_id: str) -> None:
        """Change a DAG file to its other version."""
        is_new = self.machine.dags[dag_id] is self.new[dag_id]
        self.machine.deploy(self.before[dag_id] if is_new else self.new[dag_id])
        self.changed()

    def stay(self) -> None:
        """Have each DAG in the version before, to the end."""
        self.new = {**self.new, **self.before}
        for dag in self.before.values():
            self.machine.deploy(dag)

    def settle(self) -> None:
        """In the calm each DAG is what it is."""
        for dag_id, dag in self.new.items():
            if self.machine.dags[dag_id] is not dag:
                self.change(dag_id)
