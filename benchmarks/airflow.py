"""Random DAGs and random ends of their tasks, decided by Airflow's own scheduler and by ours.

python -m benchmarks airflow

Needs apache-airflow-core (in an environment of its own: it brings 134 packages). A DAG of two to
seven tasks with random trigger rules, retries, setups and teardowns, some of them mapped over
lists or over what others return, half of the DAGs with a mapped task group, is written to a fresh
SQLite database, and `DagRun.update_state` of the real Airflow decides what may run; our machine
decides the same. One task instance after the other ends as chance has it, in both, and the states
of all of them, their tries and the state of the run are compared after each step. The yardstick is
Airflow itself: none may differ.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import sys
import tempfile
import time
from datetime import timedelta
from typing import Any

from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.reader import read_dag
from chaosharness.orchestrators.airflow.records import DagRun
from chaosharness.orchestrators.airflow.trigger_rules import RULES

SEQUENCES = 300
GROUPED = 0.5
"""How many of the DAGs have a mapped task group."""
STEPS_MAX = 60
EITHER = frozenset(
    ("all_failed", "all_done_min_one_success", "one_done", "none_skipped", "all_skipped")
)
"""Rules that may skip a task while what it is mapped over fails it: Airflow keeps the word of that
dependency which a set of them has last, and it is another one in another process."""
ENDS = ("success", "success", "failed", "failed", "skipped")
States = dict[str, tuple[str | None, int]]


def prepare() -> None:
    """Make a fresh Airflow: before anything of it is imported."""
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    logging.disable(logging.CRITICAL)
    initdb()
    with create_session() as session:
        session.add(DagBundleModel(name="bundle"))


def random_dag(chance: random.Random, name: str, *, mapped: float = 0.3) -> Any:
    """Return a DAG of two to seven tasks: trigger rules, retries, setups, teardowns by chance.

    Args:
        chance: What it is drawn from.
        name: Its id.
        mapped: How likely a task is mapped, over a list or over what one before it returns.
    """
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG

    with DAG(name, schedule=None) as dag:
        made: list[Any] = []
        place = chance.randint(0, 3) if mapped and chance.random() < GROUPED else -1
        for number in range(chance.randint(2, 7)):
            if number == place:
                made += random_group(chance, made)
            options = {
                "task_id": f"t{number}",
                "python_callable": print,
                "trigger_rule": chance.choice(RULES) if chance.random() < 0.7 else "all_success",
                "retries": chance.choice((0, 0, 1, 2)),
                "retry_delay": timedelta(0),
            }
            is_mapped = mapped and chance.random() < mapped
            if is_mapped:
                over: Any = [[str(one)] for one in range(chance.choice((0, 1, 2, 2, 3)))]
                if made and chance.random() < 0.6 and options["trigger_rule"] not in EITHER:
                    over = chance.choice(made).output
                task = PythonOperator.partial(**options).expand(op_args=over)
            else:
                task = PythonOperator(**options)
            for earlier in made:
                if chance.random() < 0.4:
                    task.set_upstream(earlier)
            made.append(task)
            kind = 1.0 if is_mapped else chance.random()
            if kind < 0.2:
                task.as_setup()
            elif kind < 0.4:
                task.as_teardown(on_failure_fail_dagrun=chance.random() < 0.3)
    return dag


def random_group(chance: random.Random, made: list[Any]) -> list[Any]:
    """Return the two to four tasks of a mapped group: over a list, or what an earlier one returns.

    Args:
        chance: What it is drawn from.
        made: The tasks before it.
    """
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk.definitions._internal.expandinput import DictOfListsExpandInput
    from airflow.sdk.definitions.taskgroup import MappedTaskGroup

    over: Any = [str(one) for one in range(chance.choice((0, 1, 2, 2, 3)))]
    if made and chance.random() < 0.7:
        over = chance.choice(made).output
    inside: list[Any] = []
    with MappedTaskGroup(group_id="g", expand_input=DictOfListsExpandInput({"x": over})):
        for number in range(chance.randint(2, 4)):
            rules = [rule for rule in RULES if rule != "always"]
            rule = chance.choice(rules) if chance.random() < 0.7 else "all_success"
            task = PythonOperator(
                task_id=f"i{number}", python_callable=print, trigger_rule=rule,
                retries=chance.choice((0, 0, 1)), retry_delay=timedelta(0),
            )  # fmt: skip
            for earlier in inside:
                if chance.random() < 0.6:
                    task.set_upstream(earlier)
            for earlier in made:
                if chance.random() < 0.2:
                    task.set_upstream(earlier)
            inside.append(task)
            kind = chance.random()
            if kind < 0.1:
                task.as_setup()
            elif kind < 0.2:
                task.as_teardown()
    return inside


class Real:
    """A run of a DAG in Airflow's own database, decided by its own code."""

    def __init__(self, dag: Any, session: Any) -> None:
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.serialization.definitions.dag import SerializedDAG
        from airflow.serialization.serialized_objects import (
            DagSerialization,
            LazyDeserializedDAG,
        )
        from airflow.utils import timezone
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        self.session = session
        lazy = LazyDeserializedDAG.from_dag(dag)
        SerializedDAG.bulk_write_to_db("bundle", None, [lazy], session=session)
        SerializedDagModel.write_dag(lazy, bundle_name="bundle", session=session)
        session.commit()
        self.dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
        now = timezone.utcnow()
        self.run = self.dag.create_dagrun(
            run_id="r", run_after=now, logical_date=now, data_interval=(now, now),
            run_type=DagRunType.MANUAL, triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING, session=session,
        )  # fmt: skip
        self.run.dag = self.dag
        session.commit()

    def decide(self) -> None:
        """Let the scheduler go round until it changes nothing more."""
        from airflow.utils.state import TaskInstanceState

        last: States | None = None
        while (now := self.states()) != last and self.state == "running":
            last = now
            for one in self.run.get_task_instances(session=self.session):
                one.task = self.dag.get_task(one.task_id)
            ready, _ = self.run.update_state(session=self.session, execute_callbacks=False)
            for one in ready:
                one.try_number += one.state != TaskInstanceState.UP_FOR_RESCHEDULE
                one.state = TaskInstanceState.SCHEDULED
            self.session.commit()

    def end(self, task_id: str, state: str, map_index: int = -1, items: int = 0) -> None:
        """Have a scheduled task run and end; if well, it returns a list of some items."""
        from airflow.utils import timezone
        from airflow.utils.state import TaskInstanceState

        one = self.run.get_task_instance(task_id, session=self.session, map_index=map_index)
        one.task = self.dag.get_task(task_id)
        if state == "success":
            self._push(one, [str(number) for number in range(items)])
        one.state, one.start_date = TaskInstanceState.RUNNING, timezone.utcnow()
        self.session.commit()
        if state == "failed":
            one.handle_failure("no", session=self.session)
        else:
            one.set_state(TaskInstanceState(state), session=self.session)
        self.session.commit()
        time.sleep(0.002)  # a retry is due after its moment, and not at it

    def _push(self, one: Any, value: list[str]) -> None:
        from airflow.models.taskmap import TaskMap
        from airflow.models.xcom import XComModel

        XComModel.set(
            key="return_value", value=value, task_id=one.task_id, dag_id=one.dag_id,
            run_id=one.run_id, map_index=one.map_index, session=self.session,
        )  # fmt: skip
        if one.map_index < 0:
            self.session.merge(TaskMap.from_task_instance_xcom(one, value))

    def queue(self) -> None:
        """Have the executor take what is scheduled."""
        from airflow.utils.state import TaskInstanceState

        for one in self.run.get_task_instances(session=self.session):
            if one.state == TaskInstanceState.SCHEDULED:
                one.state = TaskInstanceState.QUEUED
        self.session.commit()

    def ids(self) -> dict[str, str]:
        """Return the id of each task's present try."""
        self.session.expire_all()
        return {
            key_of(one): str(one.id) for one in self.run.get_task_instances(session=self.session)
        }

    @property
    def state(self) -> str:
        return str(getattr(self.run.state, "value", self.run.state))

    def states(self) -> States:
        self.session.expire_all()
        return {
            key_of(one): (getattr(one.state, "value", one.state), one.try_number)
            for one in self.run.get_task_instances(session=self.session)
        }


def key_of(one: Any) -> str:
    """Return what tells a task instance of Airflow from the others of its run."""
    return str(one.task_id) if one.map_index < 0 else f"{one.task_id}[{one.map_index}]"


def difference(seed: int) -> str:
    """Say where ours and Airflow decide differently; nothing where they do not."""
    from airflow.utils.session import create_session

    chance = random.Random(seed)
    dag = random_dag(chance, f"dag_{seed}")
    ours = read_dag(dag)
    machine = Machine({ours.dag_id: ours})
    run = machine.trigger(ours.dag_id, "r", {}, 0)
    assert isinstance(run, DagRun)
    with create_session() as session:
        real = Real(dag, session)
        for step in range(STEPS_MAX):
            real.decide()
            machine.schedule(step * 1_000)
            theirs, mine = real.states(), states_of(run)
            if (mine, run.state) != (theirs, real.state):
                return (
                    f"seed {seed}, step {step}: {mine} {run.state}, Airflow {theirs} {real.state}"
                )
            if run.state != "running":
                return ""
            ready = sorted(name for name, (state, _) in theirs.items() if state == "scheduled")
            task, end = run.tasks[chance.choice(ready)], chance.choice(ENDS)
            items, index = chance.choice((0, 1, 2, 3)), task.map_index
            machine.start(task.id, "process", step * 1_000)
            if end == "success":
                value = [str(number) for number in range(items)]
                machine.push(ours.dag_id, "r", task.task_id, "return_value", value, index)
            machine.finish(task.id, end, step * 1_000)
            real.end(task.task_id, end, index, items)
    return f"seed {seed}: did not end"


def states_of(run: DagRun) -> States:
    """Return our states, with what is queued as scheduled: nothing is queued in the real one."""
    return {
        name: ("scheduled" if one.state == "queued" else one.state, one.try_number)
        for name, one in run.tasks.items()
    }


def differences(count: int) -> list[str]:
    """Return where sequences 0 up to a number differ."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        prepare()
        return [found for seed in range(count) if (found := difference(seed))]


def main(count: int = SEQUENCES) -> int:
    """Print how many sequences differ, and where."""
    started = time.perf_counter()
    found = differences(count)
    print(*found, sep="\n", end="\n" if found else "")
    took = time.perf_counter() - started
    print(f"{count} random DAGs with random ends: {len(found)} differ from Airflow ({took:.0f} s)")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else SEQUENCES))
