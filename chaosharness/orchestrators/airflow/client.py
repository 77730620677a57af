"""What services call Airflow by: the REST API, under the names of its Python client."""

from typing import Any

from chaosharness.externals.request import Server, call

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
        return self._ask(
            "trigger", "trigger_dag_run", dag_id=dag_id, run_id=dag_run_id, conf=conf or {}
        )

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
