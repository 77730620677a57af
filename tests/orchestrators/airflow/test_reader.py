"""DAG objects: read by their attributes, run by their own code where Airflow is installed."""

import runpy
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaosharness import Airflow, AirflowDAG, Env, System, assumed, explore
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.airflow.reader import read_dag
from tests.docs.pages import blocks
from tests.orchestrators.airflow.test_engine import states
from tests.orchestrators.airflow.test_mapping import ends

ROOT = Path(__file__).parents[3]


def operator(task_id: str, *upstream: str, **options: Any) -> Any:
    """What stands where an operator does: its attributes, as Airflow's have them."""
    plain = {
        "trigger_rule": "all_success", "retries": 0, "retry_delay": timedelta(seconds=300),
        "retry_exponential_backoff": 0, "max_retry_delay": None, "execution_timeout": None,
        "depends_on_past": False, "wait_for_downstream": False, "on_success_callback": (),
        "on_failure_callback": (), "on_retry_callback": (), "execute": lambda context: task_id,
        "task_id": task_id, "upstream_task_ids": set(upstream),
    }  # fmt: skip
    return SimpleNamespace(**plain | options)


def dag(*operators: Any, **options: Any) -> Any:
    made = SimpleNamespace(dag_id="d", task_dict={one.task_id: one for one in operators}, **options)
    for one in operators:
        one.dag = made
    return made


def test_what_the_scheduler_keeps_is_read() -> None:
    told: list[Any] = []
    made = dag(
        operator("b", "a", trigger_rule=SimpleNamespace(value="one_failed"), retries=None),
        operator(
            "a", retries=4, retry_delay=timedelta(minutes=1), retry_exponential_backoff=True,
            max_retry_delay=timedelta(hours=1), execution_timeout=timedelta(seconds=90),
            on_failure_callback=[told.append, told.append],
        ),
        max_active_runs=3,
    )  # fmt: skip
    read = read_dag(made)
    a, b = read.by_id["a"], read.by_id["b"]
    assert (b.upstream, b.trigger_rule, b.retries) == (("a",), "one_failed", 0)
    assert (a.retries, a.retry_delay_s, a.retry_exponential_backoff) == (4, 60, 2)
    assert (a.max_retry_delay_s, a.execution_timeout_s) == (3_600, 90)
    assert read.max_active_runs == 3
    assert a.on_failure_callback is not None
    a.on_failure_callback("context")
    assert told == ["context", "context"]


class Own:
    """A priority strategy of one's own."""

    def __repr__(self) -> str:
        return "own()"


GROUPS = (SimpleNamespace(group_id="g"), SimpleNamespace(group_id="h"))


class HITLOperator:
    """What is called so waits for a person."""


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (dag(operator("a"), fail_fast=True), "has fail_fast, which is not modelled"),
        (dag(operator("a", weight_rule=Own())), "has weight_rule=own(), which is not modelled"),
        (
            dag(operator("a", operator_class=type("ApprovalOperator", (HITLOperator,), {}))),
            "task 'a' of DAG 'd' waits for a person (ApprovalOperator), which is not modelled: let",
        ),
        (dag(SimpleNamespace(task_id="a")), "task 'a' of DAG 'd' is no operator"),
        (
            dag(
                operator(
                    "a",
                    get_closest_mapped_task_group=lambda: GROUPS[0],
                    iter_mapped_task_groups=lambda: iter(GROUPS),
                )
            ),
            "task 'a' of DAG 'd' is in the mapped task group 'g', and that in the mapped group 'h'",
        ),
        (3, "3 is no DAG"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(made: Any, words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        read_dag(made)
    assert words in str(caught.value)


def test_what_a_task_waits_for_first_is_read() -> None:
    asked = SimpleNamespace(trigger_cls="a.B", trigger_kwargs={"n": 1}, next_method="on",
                            next_kwargs=None, timeout=timedelta(hours=1))  # fmt: skip
    first = operator("a", start_from_trigger=True, start_trigger_args=asked)
    later = operator("b", start_from_trigger=False, start_trigger_args=asked)
    a, b = read_dag(dag(first, later)).tasks
    assert a.start_from_trigger.trigger.serialize() == ("a.B", {"n": 1})
    assert (a.start_from_trigger.method_name, a.start_from_trigger.kwargs) == ("on", {})
    assert a.start_from_trigger.timeout == timedelta(hours=1)
    assert b.start_from_trigger is None


def test_limits_are_read() -> None:
    made = dag(
        operator(
            "a", pool="slow", pool_slots=2, priority_weight=3, max_active_tis_per_dag=4,
            weight_rule=SimpleNamespace(value="absolute"), max_active_tis_per_dagrun=None,
        ),
        operator("b", weight_rule=type("_UpstreamPriorityWeightStrategy", (), {})()),
    )  # fmt: skip
    a, b = read_dag(made).tasks
    assert (a.pool, a.pool_slots, a.priority_weight, a.weight_rule) == ("slow", 2, 3, "absolute")
    assert (a.max_active_tis_per_dag, a.max_active_tis_per_dagrun) == (4, None)
    assert (b.pool, b.weight_rule) == ("default_pool", "upstream")
    with pytest.raises(InvalidDefinition, match="is in pool 'slow', which there is not"):
        Airflow("airflow", dags=[made])


def test_a_dag_of_ours_is_read_as_it_is() -> None:
    ours = AirflowDAG("d", tasks=read_dag(dag(operator("a"))).tasks)
    assert read_dag(ours) is ours


# ---- with Airflow itself


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of the how-to page, where Airflow is installed."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    pytest.importorskip("airflow.sdk", reason="apache-airflow-task-sdk is not installed")
    for block in blocks(ROOT / "docs/how-to/airflow.md", "airflow.md"):
        if block.text.startswith("# file: "):
            name, _, code = block.text.removeprefix("# file: ").partition("\n")
            (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("order_dag", None)


def test_the_dag_file_of_the_page_is_read_run_and_caught(files: Path) -> None:
    page = runpy.run_path(str(files / "test_order_dag.py"))
    page["test_nobody_is_charged_twice"]()
    assert states(page["shop"].run()) == {
        "charge": "success", "choose": "success", "tell": "success", "nothing": "skipped",
    }  # fmt: skip


def test_classic_operators_run_by_their_own_code(files: Path) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.providers.standard.operators.python import PythonOperator, ShortCircuitOperator
    from airflow.providers.standard.sensors.python import PythonSensor
    from airflow.sdk import DAG

    seen: list[Any] = []

    def arrived(ti: Any) -> bool:
        seen.append("look")
        return len(seen) % 3 == 0

    patient = {"retries": 3, "retry_delay": timedelta(seconds=10)}
    with DAG("classic", default_args=patient) as made:
        wait = PythonSensor(
            task_id="wait", python_callable=arrived, mode="reschedule", poke_interval=60
        )
        read = PythonOperator(
            task_id="read", python_callable=lambda ds, *, word: f"{ds} {word}",
            templates_dict={"run": "{{ run_id }}"}, op_kwargs={"word": "{{ params.n }}"},
        )  # fmt: skip
        stop = ShortCircuitOperator(task_id="stop", python_callable=lambda: False)
        never = PythonOperator(task_id="never", python_callable=lambda: 1 / 0)
        end = EmptyOperator(task_id="end", trigger_rule="none_failed")
        wait >> read >> [stop, end]
        stop >> never
    system = System("classic")
    airflow = system.add(Airflow("airflow", dags=[made]))

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow)

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("classic", dag_run_id=name, conf={"n": 7})

    run = system.run()
    assert states(run) == {
        "wait": "success", "read": "success", "stop": "success", "never": "skipped",
        "end": "success",
    }  # fmt: skip
    assert len(seen) % 3 == 0
    assert run.ending.verdict == "quiet"
    assert not explore(system, properties=assumed(system), faults_max=1).counterexamples


def test_mapped_groups_are_read_and_their_operators_run_by_their_own_code(files: Path) -> None:
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG, task, task_group

    seen: list[Any] = []
    with DAG("grouped", default_args={"retries": 2}) as made:

        @task
        def find(params: Any) -> list[int]:
            return [*range(params["n"])]

        @task
        def double(n: int, by: int, ti: Any) -> int:
            seen.append((ti.map_index, n))
            return n * by

        @task
        def add(doubled: int, more: int) -> int:
            return doubled + more

        @task
        def total(all_of: Any) -> None:
            seen.append([*all_of])

        @task_group
        def parcel(n: int, by: int) -> Any:
            found = add(double(n, by), 1)
            told = PythonOperator(task_id="told", python_callable=seen.append, op_args=[found])
            found >> told
            return found

        total(parcel.partial(by=2).expand(n=find()))
        known = parcel.expand_kwargs([{"n": 7, "by": 1}, {"n": 8, "by": 1}])
        total(known)
    system = System("grouped")
    airflow = system.add(Airflow("airflow", dags=[made]))

    @system.service("workers", replicas=2)
    def workers(env: Env) -> None:
        env.tasks(airflow)

    @system.entry(examples=[3])
    def begin(env: Env, n: int) -> None:
        env.client(airflow).trigger_dag_run("grouped", dag_run_id="r", conf={"n": n})

    run = system.run()
    found = ends(run)
    assert {*found.values()} == {"success"}
    assert [name for name in found if name.startswith("parcel.add")] == [
        "parcel.add[0]", "parcel.add[1]", "parcel.add[2]",
    ]  # fmt: skip
    assert sorted(one for one in seen if isinstance(one, int)) == [1, 3, 5, 8, 9]
    assert sorted(one for one in seen if isinstance(one, list)) == [[1, 3, 5], [8, 9]]
    campaign = explore(system, properties=assumed(system), faults_max=1, runs_max=80)
    assert not campaign.counterexamples


def test_mapped_operators_run_by_their_own_code(files: Path) -> None:
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG, task

    seen: list[Any] = []
    with DAG("mapped", default_args={"retries": 2}) as made:

        @task
        def find(params: Any) -> list[int]:
            return [*range(params["n"])]

        @task
        def double(n: int, by: int, ti: Any) -> int:
            seen.append((ti.map_index, ti.try_number))
            return n * by

        @task
        def total(all_of: Any) -> int:
            seen.append([*all_of])
            return sum(all_of)

        doubled = double.partial(by=2).expand(n=find())
        total(doubled)
        classic = PythonOperator.partial(
            task_id="classic", python_callable=lambda *given: seen.append(given)
        ).expand(op_args=doubled.map(lambda n: [f"no {n}"]))
        both = PythonOperator.partial(task_id="both", python_callable=seen.append).expand_kwargs(
            [{"op_args": ["x"]}, {"op_args": ["y"]}]
        )
        classic >> both
    system = System("mapped")
    airflow = system.add(Airflow("airflow", dags=[made]))

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow)

    @system.entry(examples=[3])
    def begin(env: Env, n: int) -> None:
        env.client(airflow).trigger_dag_run("mapped", dag_run_id="r", conf={"n": n})

    run = system.run()
    found = ends(run)
    assert {*found.values()} == {"success"}
    assert [*found] == [
        "find", "double[0]", "double[1]", "double[2]", "total", "classic[0]", "classic[1]",
        "classic[2]", "both[0]", "both[1]",
    ]  # fmt: skip
    assert [0, 2, 4] in seen
    assert [one for one in seen if isinstance(one, tuple)][-3:] == [
        ("no 0",), ("no 2",), ("no 4",),
    ]  # fmt: skip
    assert seen[-2:] == ["x", "y"]
    assert ends(system.run([0]))["double"] == "skipped"
    assert not explore(system, properties=assumed(system), faults_max=1).counterexamples


def test_deferrable_operators_run_by_their_own_code(files: Path) -> None:
    from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
    from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
    from airflow.sdk import DAG, BaseOperator

    seen: list[Any] = []

    class Wait(BaseOperator):
        def execute(self, context: Any) -> None:
            trigger = TimeDeltaTrigger(timedelta(hours=1))
            self.defer(trigger=trigger, method_name="on", kwargs={"n": 7})

        def on(self, context: Any, event: Any, n: int) -> str:
            seen.append((type(event).__name__, n, context["ti"].try_number))
            return "done"

    with DAG("deferring", default_args={"retries": 2}) as made:
        wait = Wait(task_id="wait")
        sensor = TimeDeltaSensor(task_id="sensor", delta=timedelta(hours=2), deferrable=True)
        wait >> sensor
    system = System("deferring")
    airflow = system.add(Airflow("airflow", dags=[made]))

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow)

    @system.entry(examples=["r"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("deferring", dag_run_id=name)

    run = system.run()
    assert ends(run) == {"wait": "success", "sensor": "success"}
    assert seen[-1][1:] == (7, 1)
    assert [*run.history.of("handled")][-1].at_ms > 7_200_000
    assert not explore(system, properties=assumed(system), faults_max=1).counterexamples


def test_an_operator_that_starts_from_its_trigger_has_a_worker_behind_it(
    files: Path,
) -> None:
    pytest.importorskip("airflow.providers.standard.sensors.date_time")
    from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
    from airflow.sdk import DAG

    with DAG("first") as made:
        when = datetime(2030, 1, 1, 0, 2, tzinfo=UTC)
        DateTimeSensorAsync(task_id="until_two", target_time=when, start_from_trigger=True)
    system = System("first")
    airflow = system.add(Airflow("airflow", dags=[made]))

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow)

    @system.entry(examples=["r"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("first", dag_run_id=name)

    run = system.run()
    assert ends(run) == {"until_two": "success"}
    done = [(event.operation, event.at_ms >= 120_000) for event in run.history.of("handled")]
    assert done == [("workers.until_two/trigger", True), ("workers.until_two/handle", True)]


def test_an_operator_that_waits_for_a_person_is_refused_by_name(files: Path) -> None:
    pytest.importorskip("airflow.providers.standard.operators.hitl")
    from airflow.providers.standard.operators.hitl import ApprovalOperator
    from airflow.sdk import DAG

    with DAG("asks") as made:
        ApprovalOperator(task_id="may_it", subject="may it go on?")
    with pytest.raises(InvalidDefinition, match=r"waits for a person \(ApprovalOperator\)"):
        Airflow("airflow", dags=[made])
