"""What a worker says that it runs: tasks, callbacks, what deferred tasks go on with."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import listed
from chaosharness.orchestrators.airflow.definition import AirflowDAG

__all__ = ["check_callables"]

OF_TASKS: Final = ("on_success_callback", "on_failure_callback", "on_retry_callback")
OF_DAGS: Final = ("on_success_callback", "on_failure_callback")


def check_callables(service: str, callables: Any, airflow: str, dags: Iterable[AirflowDAG]) -> None:
    """Refuse functions that nothing would ever run.

    Args:
        service: The worker.
        callables: What it gave, by name: `ship`, `order.ship`, `ship.on_failure_callback`,
            `order.on_failure_callback`; `ship.METHOD`, which a deferred task goes on with.
        airflow: The name of its Airflow.
        dags: All its DAGs, in each version.

    Raises:
        InvalidDefinition: Says which, and what there is.
    """
    if not isinstance(callables, Mapping):
        raise InvalidDefinition(
            f"service {service!r}: env.tasks takes {{task_id: function}}, not {callables!r}"
        )
    ids, tasks = set[str](), set[str]()
    for dag in dags:
        ids.add(dag.dag_id)
        tasks.update(dag.by_id, (f"{dag.dag_id}.{name}" for name in dag.by_id))
    for name in callables:
        plain, _, kind = name.rpartition(".") if isinstance(name, str) else ("", "", "")
        if name in tasks or (plain in ids and kind in OF_DAGS):
            continue
        if plain in tasks and (kind in OF_TASKS or not kind.startswith("on_")):
            continue
        if kind.startswith("on_") and plain in ids | tasks:
            there = OF_TASKS if plain in tasks else OF_DAGS
            raise InvalidDefinition(
                f"service {service!r} has {name!r}, which is no callback of Airflow's; there are: "
                f"{listed(there)}"
            )
        raise InvalidDefinition(
            f"service {service!r} runs a task {name!r}, which no DAG of {airflow!r} has; "
            f"there are: {', '.join(sorted(tasks))}"
        )
