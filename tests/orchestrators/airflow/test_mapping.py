"""Mapped tasks: how many instances there are, what each is given, and who waits for them."""

import json
from typing import Any

import pytest

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowFailException,
    AirflowSkipException,
    AirflowTask,
    Crash,
    Env,
    External,
    Schedule,
    Site,
    System,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.mapping import Joined, Zipped, arguments_of, total_of
from chaosharness.orchestrators.airflow.records import DagRun, TaskInstance
from chaosharness.system.run import Run
from models.third_parties import Bank


def system_of(*tasks: AirflowTask, callables: dict[str, Any] | None = None, **given: Any) -> System:
    """A system of one DAG, which comes in once."""
    system = System("mapped")
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=tasks)], **given))

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow, callables)

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name, conf={})

    return system


def ends(run: Run) -> dict[str, str | None]:
    """The states of all task instances, by their ids and map indexes."""
    [text] = run.event_histories.values()
    return {
        one["task_id"] + (f"[{one['map_index']}]" if "map_index" in one else ""): one["state"]
        for one in json.loads(text)["task_instances"]
    }


def test_a_task_is_mapped_over_a_list_that_is_known() -> None:
    seen: list[Any] = []

    def ship(ti: Any, item: str, by: str) -> str:
        seen.append((ti.map_index, item, by))
        return item.upper()

    def total(ti: Any) -> None:
        seen.append(ti.xcom_pull("ship"))
        seen.append(ti.xcom_pull("ship", map_indexes=1))
        seen.append(ti.xcom_pull("ship", map_indexes=[1, 0]))

    system = system_of(
        AirflowTask("ship", ship, expand={"item": ["a", "b"]}, partial={"by": "land"}),
        AirflowTask("total", total, upstream="ship"),
    )
    assert ends(system.run()) == {"ship[0]": "success", "ship[1]": "success", "total": "success"}
    assert seen[-5:] == [(0, "a", "land"), (1, "b", "land"), ["A", "B"], "B", ["B", "A"]]


def test_a_task_is_mapped_over_what_another_returns_and_one_over_that() -> None:
    seen: list[Any] = []
    system = system_of(
        AirflowTask("find", lambda: [3, 4]),
        AirflowTask("double", lambda n: 2 * n, expand={"n": "find"}),
        AirflowTask("tell", lambda ti, n: seen.append((ti.map_index, n)), expand={"n": "double"}),
    )
    run = system.run()
    assert [*ends(run)] == ["find", "double[0]", "double[1]", "tell[0]", "tell[1]"]
    assert {*ends(run).values()} == {"success"}
    assert seen[-2:] == [(0, 6), (1, 8)]


def test_each_is_combined_with_each_and_the_last_goes_round_fastest() -> None:
    given = {"a": ["x", "y"], "b": {"k": 1, "l": 2}}
    found = [arguments_of(given, None, {}, n, lambda name: None) for n in range(4)]
    assert [(one["a"], one["b"]) for one in found] == [
        ("x", ("k", 1)), ("x", ("l", 2)), ("y", ("k", 1)), ("y", ("l", 2)),
    ]  # fmt: skip
    assert total_of(given, None, lambda name: None) == 4


def test_sources_side_by_side_and_one_after_the_other() -> None:
    known = {"two": 2, "three": 3}.get
    assert total_of({"n": Zipped(("two", "three"))}, None, known) == 2
    assert total_of({"n": Zipped(("two", "three"), filled=True)}, None, known) == 3
    assert total_of({"n": Joined(("two", "three"))}, None, known) == 5
    assert total_of({"n": Joined(("two", "nobody"))}, None, known) is None


def test_all_parameters_of_an_instance_together() -> None:
    seen: list[Any] = []
    system = system_of(
        AirflowTask("find", lambda: [{"a": 1, "b": 2}, {"a": 3}]),
        AirflowTask(
            "tell", lambda a, b: seen.append((a, b)), expand_kwargs="find", partial={"b": 0}
        ),
    )
    assert {*ends(system.run()).values()} == {"success"}
    assert seen[-2:] == [(1, 2), (3, 0)]


def test_a_list_of_something_else_fails_the_instance() -> None:
    system = system_of(
        AirflowTask("find", lambda: [1]), AirflowTask("tell", lambda a: a, expand_kwargs="find")
    )
    run = system.run()
    assert ends(run) == {"find": "success", "tell[0]": "failed"}
    assert "expects a list[dict], not list[int]" in str([*run.history.of("raised")][-1].data)


@pytest.mark.parametrize("over", [[], {}, "find"])
def test_mapped_over_nothing_it_is_skipped_and_so_is_what_comes_after(over: Any) -> None:
    tasks = [AirflowTask("find", lambda: [])] if over == "find" else []
    system = system_of(
        *tasks,
        AirflowTask("ship", lambda n: n, expand={"n": over}),
        AirflowTask("tell", lambda: None, upstream="ship"),
        AirflowTask("end", lambda: None, upstream="ship", trigger_rule="none_failed"),
    )
    found = ends(system.run())
    assert (found["ship"], found["tell"], found["end"]) == ("skipped", "skipped", "success")


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ("all_success", "upstream_failed"),
        ("all_done", "success"),
        ("one_success", "success"),
        ("one_failed", "success"),
        ("none_failed", "upstream_failed"),
        ("all_failed", "skipped"),
        ("none_skipped", "skipped"),
    ],
)
def test_a_trigger_rule_counts_each_instance(rule: str, state: str) -> None:
    def one_of_each(n: int) -> None:
        if n == 1:
            raise AirflowSkipException("none")
        if n == 2:
            raise AirflowFailException("no")

    system = system_of(
        AirflowTask("ship", one_of_each, expand={"n": [0, 1, 2]}),
        AirflowTask("end", lambda: None, upstream="ship", trigger_rule=rule),
    )
    found = ends(system.run())
    assert [found[f"ship[{n}]"] for n in range(3)] == ["success", "skipped", "failed"]
    assert found["end"] == state


@pytest.mark.parametrize("rule", ["all_done", "none_failed_min_one_success", "always"])
def test_what_it_is_mapped_over_has_to_be_there_whatever_its_rule(rule: str) -> None:
    def no() -> None:
        raise AirflowFailException("no")

    system = system_of(
        AirflowTask("find", no), AirflowTask("ship", lambda n: n, expand={"n": "find"},
                                             trigger_rule=rule),
    )  # fmt: skip
    assert ends(system.run())["ship"] == "upstream_failed"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "XComForMappingNotPushed: did not push XCom for task mapping"),
        (3, "UnmappableXComTypePushed: unmappable return type 'int'"),
        ("text", "UnmappableXComTypePushed: unmappable return type 'str'"),
    ],
)
def test_what_nothing_can_be_mapped_over_fails_the_task_that_returned_it(
    returned: Any, words: str
) -> None:
    system = system_of(
        AirflowTask("find", lambda: returned),
        AirflowTask("ship", lambda n: n, expand={"n": "find"}),
    )
    run = system.run()
    assert ends(run) == {"find": "failed", "ship": "upstream_failed"}
    assert words in str([*run.history.of("raised")][-1].data)


def test_a_list_that_is_too_long_fails_the_task_that_returned_it() -> None:
    tasks = (
        AirflowTask("find", lambda: [1, 2, 3]),
        AirflowTask("s", lambda n: n, expand={"n": "find"}),
    )
    assert ends(system_of(*tasks, max_map_length=3).run())["find"] == "success"
    run = system_of(*tasks, max_map_length=2).run()
    assert ends(run) == {"find": "failed", "s": "upstream_failed"}


def test_each_instance_has_tries_and_xcoms_of_its_own() -> None:
    system = system_of(
        AirflowTask("ship", lambda n: n, expand={"n": [0, 1]}, retries=1, retry_delay_s=10)
    )
    run = system.run(["r1"], Schedule([Crash(Site("workers.ship/handle", "after", attempt=2))]))
    [text] = run.event_histories.values()
    tries = [one["try_number"] for one in json.loads(text)["task_instances"]]
    assert sorted(tries) in ([1, 2], [2, 2])  # one worker has both
    assert {*ends(run).values()} == {"success"}


def machine_of(*tasks: AirflowTask) -> tuple[Machine, DagRun]:
    machine = Machine({"d": AirflowDAG("d", tasks=tasks)})
    run = machine.trigger("d", "r", {}, 0)
    assert isinstance(run, DagRun)
    return machine, run


def returns(machine: Machine, one: TaskInstance, value: Any, state: str = "success") -> None:
    machine.start(one.id, "w", 0)
    machine.push("d", "r", one.task_id, "return_value", value, one.map_index)
    machine.finish(one.id, state, 0)
    machine.schedule(0)


def test_a_zombie_that_returns_other_items_changes_how_many_instances_there_are() -> None:
    """An XCom is there at once: of a try, too, that was given up (A6), before a retry looks."""
    machine, run = machine_of(
        AirflowTask("find"), AirflowTask("ship", expand={"n": "find"}, retries=1, retry_delay_s=0)
    )
    machine.schedule(0)
    returns(machine, run.tasks["find"], ["a", "b"])
    returns(machine, run.tasks["ship[1]"], None)
    machine.push("d", "r", "find", "return_value", ["a", "b", "c"])
    returns(machine, run.tasks["ship[0]"], None, "failed")
    assert [*run.tasks] == ["find", "ship[0]", "ship[1]", "ship[2]"]
    machine.push("d", "r", "find", "return_value", ["a"])
    returns(machine, run.tasks["ship[2]"], None, "failed")
    assert [one.state for one in run.of("ship")] == ["queued", "removed", "removed"]


def test_a_mapped_branch_skips_nothing_that_is_not_mapped() -> None:
    """Its choice is kept by its map index, and what is not mapped has none. So in Airflow."""
    system = system_of(
        AirflowTask("choose", lambda n: "left", kind="branch", expand={"n": [1]}),
        AirflowTask("left", lambda: None, upstream="choose"),
        AirflowTask("right", lambda: None, upstream="choose"),
    )
    assert ends(system.run()) == {"choose[0]": "success", "left": "success", "right": "success"}


def test_a_branch_skips_a_mapped_task() -> None:
    system = system_of(
        AirflowTask("choose", lambda: ["left"], kind="branch"),
        AirflowTask("left", lambda n: n, upstream="choose", expand={"n": [1]}),
        AirflowTask("right", lambda n: n, upstream="choose", expand={"n": [1, 2]}),
    )
    assert ends(system.run()) == {
        "choose": "success", "left[0]": "success", "right[0]": "skipped", "right[1]": "skipped",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"expand": []}, "expand is {parameter: a list, or the id of a task"),
        ({"expand": {}}, "expand is {parameter: a list"),
        ({"expand": {"n": 3}}, "expand['n'] is a list, a dict, or the id of a task"),
        ({"expand": {"n": [1]}, "expand_kwargs": "b"}, "has expand or expand_kwargs, not both"),
        ({"expand_kwargs": [1]}, "expand_kwargs is a list of dicts"),
        ({"expand": {"n": [1]}, "partial": {"n": 2}}, "'n' is in partial and in expand"),
        ({"partial": {"n": 2}}, "it was never mapped"),
    ],
)
def test_what_no_task_can_be_mapped_over_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        AirflowTask("a", **given)
    assert words in str(caught.value)
    assert "AirflowTask('a')" in str(caught.value)


def test_a_source_that_is_no_task_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="comes after 'fnid', which is no task of it"):
        AirflowDAG("d", tasks=[AirflowTask("ship", expand={"n": "fnid"})])


# ---- right and broken


PATIENCE: dict[str, Any] = {
    "retries": 20, "retry_delay_s": 10, "retry_exponential_backoff": 2, "max_retry_delay_s": 600,
}  # fmt: skip


def shop(key_of: Any) -> System:
    """Charges each part of an order; where one cannot be, all are given back."""
    system = System("shop")
    tasks = [
        AirflowTask("parts", lambda params: params["cents"], **PATIENCE),
        AirflowTask("charge", expand={"cents": "parts"}, **PATIENCE),
        AirflowTask(
            "undo", expand={"cents": "parts"}, upstream="charge", trigger_rule="all_done",
            **PATIENCE,
        ),
    ]  # fmt: skip
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("order", tasks=tasks)]))
    bank = system.add(External("bank", Bank))

    @system.service("workers", replicas=2)
    def workers(env: Env) -> None:
        client = env.client(bank)

        def charge(ti: Any, cents: int) -> str:
            client.charge(key_of(ti), cents)
            return "charged"

        def undo(ti: Any, params: Any, cents: int) -> None:
            if len([*filter(None, ti.xcom_pull("charge", map_indexes=range(2)))]) == 2:
                raise AirflowSkipException("all is paid")
            client.refund(key_of(ti), cents)

        env.tasks(airflow, {"charge": charge, "undo": undo})

    @system.entry(examples=[{"id": "o1", "cents": [500, 700]}])
    def place(env: Env, order: Any) -> None:
        env.client(airflow).trigger_dag_run("order", dag_run_id=order["id"], conf=order)

    return system


def test_a_key_of_the_instance_holds_and_one_of_the_try_does_not() -> None:
    right = shop(lambda ti: f"{ti.run_id}/{ti.map_index}")
    assert not explore(right, properties=assumed(right), faults_max=1).counterexamples
    broken = shop(lambda ti: f"{ti.run_id}/{ti.map_index}/{ti.try_number}")
    found = explore(broken, properties=assumed(broken), faults_max=1).counterexamples
    assert "effect twice" in {one.kind for of in found for one in of.findings}
