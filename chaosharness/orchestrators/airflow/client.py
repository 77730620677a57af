"""What services call Airflow by: the REST API, under the names of its Python client."""

import json
from typing import Any

from chaosharness.errors import RefusedValue
from chaosharness.externals.request import Server, call
from chaosharness.handlers.port import call_off
from chaosharness.kernel.allowed import spelled

__all__ = ["AirflowClient"]


class AirflowClient:
    """Airflow's REST API. In an `async` handler, await each method."""

    def __init__(self, engine: Server) -> None:
        self._engine = engine

    def _ask(self, what: str, action: str, **words: Any) -> Any:
        engine = self._engine
        return call(f"{engine.name}.{action}", engine, (what, words), {"method": action, **words})

    def trigger_dag_run(
        self, dag_id: str, *, dag_run_id: str = "", conf: dict[str, Any] | None = None
    ) -> Any:
        """Create a DAG run; return it. A run id is used once: with one, asking twice is safe.

        Raises:
            AirflowApiException: 404, there is no such DAG; 409, there is such a run.
        """
        if conf is not None and not isinstance(conf, dict):
            call_off(
                RefusedValue(
                    f"the conf of a run of DAG {dag_id!r} is a dict, not {spelled(conf)}: its "
                    "API answers 422"
                )
            )
        try:
            given = json.loads(json.dumps(conf or {}))  # as it is on the other side of a network
        except (TypeError, ValueError) as error:
            words = f"the conf of a run of DAG {dag_id!r} has no JSON form"
            call_off(RefusedValue(f"{words}: {error}. Give a dict of plain values"))
        return self._ask("trigger", "trigger_dag_run", dag_id=dag_id, run_id=dag_run_id, conf=given)

    def get_dag_run(self, dag_id: str, dag_run_id: str) -> Any:
        """Return a DAG run: its state and conf.

        Raises:
            AirflowApiException: 404, there is none.
        """
        return self._ask("get", "get_dag_run", dag_id=dag_id, run_id=dag_run_id)

    def get_task_instances(self, dag_id: str, dag_run_id: str) -> Any:
        """Return the task instances of a DAG run: their states and tries.

        Raises:
            AirflowApiException: 404, there is no such run.
        """
        return self._ask("tasks", "get_task_instances", dag_id=dag_id, run_id=dag_run_id)
