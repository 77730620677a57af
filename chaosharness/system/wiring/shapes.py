"""The steps of all that is orchestrated in a system: from definitions, or from its calm run."""

from __future__ import annotations

from chaosharness.orchestrators.airflow.engine import Airflow
from chaosharness.orchestrators.conductor.conductor import Conductor
from chaosharness.orchestrators.durablefunctions.engine import DurableFunctions
from chaosharness.orchestrators.saga.shape import SEEN
from chaosharness.orchestrators.shape import StepGraph
from chaosharness.orchestrators.stepfunctions.engine import StepFunctions
from chaosharness.orchestrators.temporal.engine import Temporal
from chaosharness.system.system import System


def step_graphs(system: System) -> list[StepGraph]:
    """Return the steps of each workflow, in the order in which the system has them.

    The system is run once, in calm: sagas are made by its services, and what a workflow of
    Temporal or a durable function does stands in no definition.

    >>> print(step_graphs(shop)[0].text())
    """
    sagas: dict[str, StepGraph] = {}
    token = SEEN.set(sagas)
    try:
        run = system.run()
    finally:
        SEEN.reset(token)
    found = [*sagas.values()]
    for part in system.resources.values():
        if isinstance(part, StepFunctions):
            from chaosharness.orchestrators.stepfunctions.shape import steps_of as of_machine

            found += [of_machine(name, graph) for name, graph in part.graphs.items()]
        elif isinstance(part, Conductor):
            from chaosharness.orchestrators.conductor.shape import steps_of as of_blueprint

            found += [of_blueprint(one) for one in part.blueprints.values()]
        elif isinstance(part, Airflow):
            from chaosharness.orchestrators.airflow.shape import steps_of as of_dag

            found += [of_dag(one) for one in part.by_id.values()]
        elif isinstance(part, Temporal):
            from chaosharness.orchestrators.temporal.shape import steps_of as of_histories

            found += of_histories(run.event_histories.values())
        elif isinstance(part, DurableFunctions):
            from chaosharness.orchestrators.durablefunctions.shape import steps_of as of_executions

            found += of_executions(run.event_histories.values())
    return found
