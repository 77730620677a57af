"""Mapped task groups: one item each, from its first task to its last; what undoes them."""

from typing import Any

import pytest

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowFailException,
    AirflowGroup,
    AirflowTask,
    Crash,
    Delay,
    Env,
    External,
    System,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.records import DagRun
from models.third_parties import Bank
from tests.orchestrators.airflow.test_mapping import ends, system_of

Ends = dict[str, str]


def group(**given: Any) -> AirflowGroup:
    return AirflowGroup("g", **(given or {"expand": {"n": [5, 6]}}))


def test_each_item_goes_its_way_and_what_comes_after_has_all() -> None:
    seen: list[Any] = []
    parcels = group(expand={"n": "find"}, partial={"by": 10})

    def double(ti: Any, n: int) -> int:
        seen.append(("double", ti.map_index, n))
        return 2 * n

    def times(ti: Any, by: int) -> int:
        return by * int(ti.xcom_pull("g.double", map_indexes=ti.map_index))

    system = system_of(
        AirflowTask("find", lambda: [3, 4]),
        AirflowTask("g.double", double, group=parcels),
        AirflowTask("g.times", times, group=parcels, upstream="g.double"),
        AirflowTask("total", lambda ti: seen.append(ti.xcom_pull("g.times")), upstream="g.times"),
    )
    run = system.run()
    assert [*ends(run)] == ["find", "g.double[0]", "g.double[1]", "g.times[0]", "g.times[1]",
                            "total"]  # fmt: skip
    assert {*ends(run).values()} == {"success"}
    assert sorted(seen[-3:], key=str) == [("double", 0, 3), ("double", 1, 4), [60, 80]]


def test_a_list_that_is_known_has_its_instances_from_the_start() -> None:
    dag = AirflowDAG("d", tasks=[AirflowTask("g.a", group=group()),
                                 AirflowTask("g.b", group=group(), upstream="g.a")])  # fmt: skip
    run = Machine({"d": dag}).trigger("d", "r", {}, 0)
    assert isinstance(run, DagRun)
    assert [*run.tasks] == ["g.a[0]", "g.a[1]", "g.b[0]", "g.b[1]"]


def test_over_nothing_all_of_it_is_skipped() -> None:
    parcels = group(expand={"n": "find"})
    system = system_of(
        AirflowTask("find", lambda: []),
        AirflowTask("g.a", lambda n: n, group=parcels),
        AirflowTask("g.b", lambda: None, group=parcels, upstream="g.a"),
        AirflowTask("end", lambda: None, upstream="g.b", trigger_rule="none_failed"),
    )
    assert ends(system.run()) == {
        "find": "success", "g.a": "skipped", "g.b": "skipped", "end": "success"
    }  # fmt: skip


def after(rule: str, *, over: Any = "find", join: bool = False) -> dict[str, Any]:
    """What becomes of the second task, by its rule: of one item the first succeeds, of one not."""
    parcels = group(expand={"n": over})
    tasks = [AirflowTask("g.a", group=parcels),
             AirflowTask("g.b", group=parcels, upstream="g.a", trigger_rule=rule)]  # fmt: skip
    tasks += [AirflowTask("find")] if over == "find" else []
    tasks += [AirflowTask("end", upstream="g.b", trigger_rule="all_done")] if join else []
    machine = Machine({"d": AirflowDAG("d", tasks=tasks)})
    run = machine.trigger("d", "r", {}, 0)
    assert isinstance(run, DagRun)
    for name, end in [("find", "success"), ("g.a[0]", "success"), ("g.a[1]", "failed")]:
        machine.schedule(0)
        if name in run.tasks:
            one = run.tasks[name]
            machine.start(one.id, "p", 0)
            if name == "find":
                machine.push("d", "r", "find", "return_value", [5, 6])
            machine.finish(one.id, end, 0)
    machine.schedule(0)
    return {name: one.state for name, one in run.tasks.items()} | {"run": run.state}


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ("all_success", "queued", "upstream_failed"),
        ("one_failed", "skipped", "queued"),
        ("all_failed", "skipped", "queued"),
        ("all_done", "queued", "queued"),
        ("one_success", "queued", "upstream_failed"),
        ("none_failed", "queued", "upstream_failed"),
        ("all_skipped", "skipped", "skipped"),
    ],
)
def test_a_rule_looks_at_its_own_item_alone(rule: str, first: str, second: str) -> None:
    found = after(rule, over=[5, 6], join=True)
    assert (found["g.b[0]"], found["g.b[1]"]) == (first, second)


def test_a_run_may_end_while_what_was_made_last_still_waits() -> None:
    """Airflow 3.3.2 does so: `python -m benchmarks airflow` has it decide the same."""
    found = after("one_failed")
    assert (found["g.b[0]"], found["g.b[1]"], found["run"]) == ("skipped", "scheduled", "success")
    joined = after("one_failed", join=True)
    assert (joined["g.b[1]"], joined["end"], joined["run"]) == ("queued", None, "running")
    assert after("one_failed", over=[5, 6])["g.b[1]"] == "queued"


@pytest.mark.parametrize("kind", ["branch", "short_circuit"])
def test_a_choice_within_a_group_skips_nothing(kind: str) -> None:
    """Airflow 3.3.2 looks for it under another index (`not_previously_skipped_dep.py`)."""
    choice = AirflowTask("g.pick", lambda: "g.yes" if kind == "branch" else "", kind=kind,
                         group=group())  # fmt: skip
    more = [AirflowTask(f"g.{name}", lambda: None, group=group(), upstream="g.pick")
            for name in ("yes", "no")]  # fmt: skip
    assert {*ends(system_of(choice, *more).run()).values()} == {"success"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AirflowGroup("g"), "AirflowGroup('g') has neither expand nor expand_kwargs"),
        (lambda: AirflowGroup("", expand={"n": [1]}), "an AirflowGroup needs a group_id, not ''"),
        (lambda: AirflowTask("a", group="g"), "group is an AirflowGroup(...), not 'g'"),
        (
            lambda: AirflowTask("a", group=group(), expand={"n": [1]}),
            "is mapped, and in the mapped group 'g': Airflow has no such tasks",
        ),
        (
            lambda: AirflowTask("a", group=group(), trigger_rule="always"),
            "a task of a mapped group cannot have trigger_rule='always'",
        ),
        (
            lambda: AirflowDAG("d", tasks=[AirflowTask("a", group=group()),
                                           AirflowTask("b", group=group(expand={"n": [1]}))]),
            "two groups are called 'g'",
        ),
        (
            lambda: AirflowDAG("d", tasks=[AirflowTask("a", group=group(expand={"n": "nobody"}))]),
            "task 'a' comes after 'nobody', which is no task of it",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make: Any, words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        make()
    assert words in str(caught.value)


# ---- a business: each order of a file is charged, and what cannot be shipped is given back


def shop(*, join: bool, key_of_try: bool = False) -> System:
    """Charge and ship each order of a list; a group's own task undoes it for one of them."""
    orders = AirflowGroup("each", expand={"order": "read"})
    patient: dict[str, Any] = {"retries": 8, "retry_delay_s": 60}
    tasks = [
        AirflowTask("read", **patient),
        AirflowTask("each.charge", group=orders, **patient),
        AirflowTask("each.ship", group=orders, upstream="each.charge", **patient),
        AirflowTask("each.refund", group=orders, upstream="each.ship",
                    trigger_rule="one_failed", **patient),
    ]  # fmt: skip
    if join:
        tasks.append(AirflowTask("end", upstream="each.refund", trigger_rule="all_done"))
    system = System("orders of a file")
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("orders", tasks=tasks)]))
    bank = system.add(External("bank", Bank))

    @system.service("workers", replicas=2)
    def workers(env: Env) -> None:
        money = env.client(bank)

        def read(params: Any) -> list[str]:
            return [*params["orders"]]

        def charge(ti: Any, order: str) -> None:
            money.charge(f"{order} {ti.try_number}" if key_of_try else order, 500)

        def ship(order: str) -> None:
            if order == "lamp":
                raise AirflowFailException("too large")

        def refund(order: str) -> None:
            money.refund(order, 500)

        def end() -> None: ...

        named = {"read": read, "each.charge": charge, "each.ship": ship, "each.refund": refund}
        env.tasks(airflow, named | ({"end": end} if join else {}))

    @system.entry(examples=[["book", "lamp"]])
    def place(env: Env, orders: list[str]) -> None:
        env.client(airflow).trigger_dag_run("orders", dag_run_id="r", conf={"orders": orders})

    return system


def given_back(system: System) -> list[str]:
    return [one.data["method"] for one in system.run().history.of("effect")]


def test_an_undo_that_is_last_in_its_group_never_runs_and_that_is_named() -> None:
    assert given_back(shop(join=True)).count("refund") == 1
    broken = shop(join=False)
    assert given_back(broken).count("refund") == 0
    found = explore(broken, properties=assumed(broken), faults_max=0).counterexamples
    words = "task 'each.refund[1]' of DAG run 'r' (orders) is scheduled, and never begins: the run"
    assert [one.property for one in found] == ["never stuck"]
    assert words in found[0].findings[0].summary


def test_a_key_of_the_try_is_named_and_the_order_s_own_key_is_silent() -> None:
    broken = shop(join=True, key_of_try=True)
    campaign = explore(broken, properties=assumed(broken), kinds=(Crash, Delay), faults_max=1,
                       runs_max=150, stop_at_first=True)  # fmt: skip
    first = campaign.counterexamples[0]
    assert (first.findings[0].kind, first.findings[0].place) == ("effect twice", "bank.charge")
    right = shop(join=True)
    campaign = explore(right, properties=assumed(right), kinds=(Crash, Delay), faults_max=1,
                       runs_max=150)  # fmt: skip
    assert campaign.counterexamples == ()
