"""Twins of the order saga, each with one planted bug in its DAG or its tasks."""

from typing import Any

from chaosharness import AirflowDAG, AirflowTask, System
from models.airflow.right import LONG_PATIENCE, PATIENCE, Parts, build, dag, renamed, with_insurance


def _key_of_try(ti: Any, dag: AirflowDAG) -> str:
    """Another key at each try."""
    return f"{ti.run_id}-{ti.try_number}"


def _charge_once_by_xcom(money: Any, ti: Any, cents: int, key: str) -> None:
    """Remember the charge as an XCom: those are gone when the next try begins."""
    if ti.xcom_pull(key="charged") is None:
        money.charge(f"{key}-{ti.try_number}", cents)
        ti.xcom_push(key="charged", value=f"{key}-{ti.try_number}")


def _key_that_was_charged(ti: Any, dag: AirflowDAG) -> str:
    return str(ti.xcom_pull("charge", key="charged") or ti.run_id)


def _dag_without_its_last_task() -> AirflowDAG:
    """A cancelled order ends as its last task, the refund, does: as a success."""
    return AirflowDAG("order", tasks=dag().tasks[:-1])


def _dag_that_undoes_too_soon() -> AirflowDAG:
    """Charges and ships side by side: one_failed does not wait for the one that still runs."""
    charge, ship, recall, refund, cancelled = dag().tasks
    ship = AirflowTask("ship", **PATIENCE)
    return AirflowDAG("order", tasks=[charge, ship, recall, refund, cancelled])


def _dag_that_cleans_up() -> AirflowDAG:
    """Refunds at the end what has left no XCom, as if that had not happened."""
    charge, ship = dag().tasks[:2]
    clean_up = AirflowTask("clean_up", upstream=["ship"], trigger_rule="all_done", **LONG_PATIENCE)
    return AirflowDAG("order", tasks=[charge, ship, clean_up])


def _dag_of_two() -> AirflowDAG:
    return AirflowDAG("order", tasks=dag().tasks[:2])


def key_of_try() -> System:
    return build(Parts(key=_key_of_try), name="key of try")


def charge_once_by_xcom() -> System:
    parts = Parts(charge=_charge_once_by_xcom, key=_key_that_was_charged)
    return build(parts, name="charge once by xcom")


def failure_hidden_by_last_task() -> System:
    return build(Parts(dag=_dag_without_its_last_task), name="failure hidden by last task")


def undone_too_soon() -> System:
    return build(Parts(dag=_dag_that_undoes_too_soon), name="undone too soon")


def cleaned_up_by_xcom() -> System:
    return build(Parts(dag=_dag_that_cleans_up), name="cleaned up by xcom")


def refund_in_callback() -> System:
    """Undoes in a callback, which is run once, after the state is in the database, or never."""
    parts = Parts(dag=_dag_of_two, callbacks=("ship.on_failure_callback",))
    return build(parts, name="refund in callback")


def compensated_out_of_order() -> System:
    """The money goes back first, and the parcel is stopped then."""
    parts = Parts(dag=lambda: with_insurance("refund", "recall"), insured=True)
    return build(parts, name="compensated out of order")


def compensation_forgotten() -> System:
    """The money goes back, and nobody stops the parcel."""
    parts = Parts(dag=lambda: with_insurance("refund"), insured=True)
    return build(parts, name="compensation forgotten")


def _mark_and_charge(money: Any, ti: Any, cents: int, key: str) -> None:
    """Say that there may be something to undo, and then do it."""
    ti.xcom_push(key="begun", value=True)
    money.charge(ti.run_id, cents)


def _key_if_it_was_begun(ti: Any, dag: AirflowDAG) -> str:
    """What nobody has begun is not given back: there is no such key. Each version of the file looks
    for the task as it is called there."""
    begun = ti.xcom_pull(dag.tasks[0].task_id, key="begun")
    return str(ti.run_id) if begun else f"nothing of {ti.run_id}"


def task_renamed_amid_a_run() -> System:
    """The refund looks for the XCom of a task by its new name; older runs have the old one."""
    parts = Parts(dag=renamed, previous=dag, charge=_mark_and_charge, key=_key_if_it_was_begun)
    return build(parts, name="task renamed amid a run")


BROKEN = (
    key_of_try,
    charge_once_by_xcom,
    failure_hidden_by_last_task,
    undone_too_soon,
    cleaned_up_by_xcom,
    refund_in_callback,
    task_renamed_amid_a_run,
    compensated_out_of_order,
    compensation_forgotten,
)
