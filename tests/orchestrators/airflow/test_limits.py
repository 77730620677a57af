"""Pools, priorities and limits of tasks: who is queued where not all may."""

from typing import Any

import pytest

from chaosharness import Airflow, AirflowDAG, AirflowPool, AirflowTask
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.airflow.deferral import Resumption
from chaosharness.orchestrators.airflow.limits import pools_of
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.records import DagRun
from chaosharness.orchestrators.airflow.settings import DEFAULTS


def runs_of(*tasks: AirflowTask, pools: Any = (), runs: int = 1, **options: Any) -> tuple[
    Machine, list[DagRun]
]:  # fmt: skip
    dag = AirflowDAG("d", tasks=tasks, **options)
    machine = Machine({"d": dag}, DEFAULTS, pools_of("airflow", dict(pools)))
    made = [machine.trigger("d", f"r{number}", {}, number) for number in range(runs)]
    machine.schedule(100)
    return machine, [run for run in made if isinstance(run, DagRun)]


def queued(*runs: DagRun) -> list[str]:
    return [one.key for run in runs for one in run.tasks.values() if one.state == "queued"]


def test_a_pool_has_so_many_slots_for_all_that_are_queued_or_run() -> None:
    slow = [AirflowTask(name, pool="bank") for name in "abc"]
    machine, [run] = runs_of(*slow, AirflowTask("free"), pools={"bank": 2})
    assert queued(run) == ["a", "b", "free"]
    machine.start(run.tasks["a"].id, "w", 100)
    machine.schedule(200)
    assert queued(run) == ["b", "free"]
    machine.finish(run.tasks["a"].id, "success", 300)
    machine.schedule(300)
    assert queued(run) == ["b", "c", "free"]


def test_a_pool_is_shared_by_all_dags() -> None:
    dags = {name: AirflowDAG(name, tasks=[AirflowTask("t", pool="bank")]) for name in "de"}
    machine = Machine(dags, DEFAULTS, pools_of("airflow", {"bank": 1}))
    made = [machine.trigger(name, "r", {}, 0) for name in dags]
    machine.schedule(0)
    assert [run.tasks["t"].state for run in made if isinstance(run, DagRun)] == [
        "queued", "scheduled",
    ]  # fmt: skip


def test_one_that_needs_more_slots_than_are_free_waits_and_a_lighter_one_goes_before_it() -> None:
    _, [run] = runs_of(
        AirflowTask("first", pool="bank", priority_weight=9),
        AirflowTask("wide", pool="bank", pool_slots=2, priority_weight=5),
        AirflowTask("last", pool="bank"),
        pools={"bank": 2},
    )
    assert queued(run) == ["first", "last"]


@pytest.mark.parametrize(
    ("rule", "first"), [("downstream", "b"), ("upstream", "a"), ("absolute", "a")]
)
def test_the_heaviest_go_first_with_the_weight_of_all_after_them(rule: str, first: str) -> None:
    _, [run] = runs_of(
        AirflowTask("a", pool="bank", weight_rule=rule),
        AirflowTask("b", pool="bank", weight_rule=rule),
        AirflowTask("after", upstream="b"),
        pools={"bank": 1},
    )
    assert queued(run) == [first]


def test_as_many_as_are_wanted_and_none() -> None:
    tasks = [AirflowTask(name, pool="p") for name in "abc"]
    assert len(queued(*runs_of(*tasks, pools={"p": -1})[1])) == 3
    _, [run] = runs_of(*tasks, pools={"p": 0})
    assert queued(run) == []


def test_tasks_at_once_are_counted_by_run_of_the_dag() -> None:
    """Airflow 3 counts `max_active_tasks` by run, and not over all runs of a DAG."""
    _, runs = runs_of(AirflowTask("a"), AirflowTask("b"), runs=2, max_active_tasks=1)
    assert [queued(run) for run in runs] == [["a"], ["a"]]


@pytest.mark.parametrize(
    ("option", "instances"),
    [("max_active_tis_per_dag", [["s[0]"], []]), ("max_active_tis_per_dagrun", [["s[0]"]] * 2)],
)
def test_instances_of_one_task_at_once(option: str, instances: list[list[str]]) -> None:
    task = AirflowTask("s", expand={"n": [0, 1, 2]}, **{option: 1})  # type: ignore[arg-type]
    _, runs = runs_of(task, runs=2)
    assert [queued(run) for run in runs] == instances


@pytest.mark.parametrize(("included", "next_one"), [(False, ["b"]), (True, [])])
def test_a_task_that_is_deferred_gives_its_slot_back_unless_its_pool_says_so(
    included: bool, next_one: list[str]
) -> None:
    pool = AirflowPool(1, include_deferred=included)
    tasks = [AirflowTask(name, pool="p") for name in "ab"]
    machine, [run] = runs_of(*tasks, pools={"p": pool})
    machine.start(run.tasks["a"].id, "w", 100)
    machine.defer(run.tasks["a"].id, object(), Resumption("on"), None)
    machine.schedule(200)
    assert queued(run) == next_one


def test_a_task_that_is_deferred_counts_among_those_that_go_on() -> None:
    machine, [run] = runs_of(AirflowTask("s", expand={"n": [0, 1]}, max_active_tis_per_dag=1))
    machine.start(run.tasks["s[0]"].id, "w", 100)
    machine.defer(run.tasks["s[0]"].id, object(), Resumption("on"), None)
    machine.schedule(200)
    assert queued(run) == []


@pytest.mark.parametrize(
    ("task", "pools", "words"),
    [
        (
            AirflowTask("a", pool="bnak"),
            {"bank": 1},
            "task 'a' of DAG 'd' is in pool 'bnak', which",
        ),
        (AirflowTask("a", pool_slots=3, pool="bank"), {"bank": 2}, "needs 3 slots of pool 'bank'"),
        (AirflowTask("a"), {"bank": -2}, "slots is a whole number from 0, or -1; not -2"),
        (AirflowTask("a"), [], "pools is {name: slots}, not []"),
    ],
)
def test_what_airflow_would_never_run_is_refused(task: AirflowTask, pools: Any, words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        Airflow("airflow", dags=[AirflowDAG("d", tasks=[task])], pools=pools)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pool": ""}, "pool is the name of a pool"),
        ({"pool_slots": None}, "pool_slots is a whole number from 1, not None"),
        ({"max_active_tis_per_dag": 0}, "max_active_tis_per_dag is a whole number from 1"),
        ({"weight_rule": "heavy"}, "weight_rule is downstream, upstream"),
        ({"priority_weight": "1"}, "priority_weight is a whole number"),
    ],
)
def test_limits_that_are_none_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        AirflowTask("a", **given)
    assert words in str(caught.value)
