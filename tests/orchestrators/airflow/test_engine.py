"""Airflow in a system: what can strike, who goes on, and what is told."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chaosharness import (
    Airflow,
    AirflowApiException,
    AirflowDAG,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTask,
    Crash,
    Delay,
    Env,
    External,
    Gateway,
    KeyValue,
    LostReply,
    LostRequest,
    Pause,
    Schedule,
    Site,
    System,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.reporting import to_text
from chaosharness.system.run import Run
from models.airflow import broken, right


def one_dag(*tasks: AirflowTask, callables: dict[str, Any] | None = None, **options: Any) -> System:
    """A system of one DAG, which comes in once."""
    system = System("one dag")
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=tasks, **options)]))

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow, callables)

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name, conf={"n": 1})

    return system


def states(run: Run) -> dict[str, str | None]:
    [text] = run.event_histories.values()
    return {one["task_id"]: one["state"] for one in json.loads(text)["task_instances"]}


def shown(run: Run) -> dict[str, Any]:
    [text] = run.event_histories.values()
    found: dict[str, Any] = json.loads(text)
    return found


def events(run: Run, *kinds: str) -> list[Any]:
    return [*run.history.of(*kinds)]


def decided(run: Run) -> list[str]:
    return [one for event in events(run, "decide") for one in event.data["commands"]]


def charges(run: Run) -> list[tuple[int, str]]:
    return [(e.at_ms, e.data["key"]) for e in events(run, "effect") if "charge" in e.operation]


# ---- faults


def run_with(*faults: Any, twin: Callable[[], System] = broken.key_of_try) -> Run:
    shop = twin()
    return shop.run(list(shop.examples[:1]), Schedule(faults))


def test_a_worker_that_stalls_is_a_zombie_and_killed_at_its_next_heartbeat() -> None:
    run = run_with(Pause(Site("workers.charge/bank.charge"), lasting="long"))
    assert charges(run) == [(320_020, "o1-2"), (1_201_031, "o1-1")]
    assert "tries charge again in 10 s: no heartbeat" in decided(run)
    [late] = [event for event in events(run, "reply") if event.data.get("late")]
    assert (late.at_ms, late.operation) == (1_201_041, "workers.charge/heartbeat")
    assert late.data["error"].startswith("410")
    # What the killed process would have done next is not done: it does not report.
    assert sum(e.operation == "workers.charge/handle" for e in events(run, "handled")) == 1


def test_a_stall_that_is_over_in_time_is_no_zombie() -> None:
    run = run_with(Pause(Site("workers.charge/bank.charge"), lasting=300_000))
    assert charges(run) == [(301_030, "o1-1")]


def test_a_worker_that_dies_is_noticed_by_its_heartbeats_and_charges_twice() -> None:
    run = run_with(Crash(Site("workers.charge/bank.charge", "after")))
    assert charges(run) == [(1_030, "o1-1"), (320_020, "o1-2")]


def test_a_worker_that_dies_takes_every_process_on_it_along() -> None:
    import time

    naps = {"a": lambda: time.sleep(1), "b": lambda: time.sleep(60)}
    system = one_dag(
        *(AirflowTask(name, nap, retries=1, retry_delay_s=10) for name, nap in naps.items())
    )
    run = system.run(["r1"], Schedule((Crash(Site("workers.a/handle", "after")),)))
    assert len(events(run, "crash")) == 1
    assert [one["try_number"] for one in shown(run)["task_instances"]] == [2, 2]


def test_a_report_that_is_lost_is_a_task_that_runs_again() -> None:
    run = run_with(LostRequest(Site("workers.charge/report")))
    assert [key for _, key in charges(run)] == ["o1-1", "o1-2"]


def test_a_reply_to_a_report_that_is_lost_changes_nothing() -> None:
    run = run_with(LostReply(Site("workers.charge/report", "after")))
    assert [key for _, key in charges(run)] == ["o1-1"]


def test_a_scheduler_that_dies_before_the_executor_has_the_task_leaves_an_orphan() -> None:
    run = run_with(Crash(Site("order.charge/queue")))
    assert "schedules charge anew: its scheduler died" in decided(run)
    assert charges(run) == [(302_031, "o1-2")]


def test_a_scheduler_that_dies_after_that_is_followed_by_one_that_adopts() -> None:
    run = run_with(Crash(Site("order.charge/queue", "after")))
    assert [key for _, key in charges(run)] == ["o1-1"]
    assert len(events(run, "crash")) == 1
    assert events(run, "note")[-1].data["what"] == "dag run success"


def test_a_message_of_the_executor_that_is_lost_is_missed_after_ten_minutes() -> None:
    assert charges(run_with(LostRequest(Site("order.charge/queue")))) == [(720_020, "o1-1")]


def test_a_message_of_the_executor_that_comes_too_late_begins_nothing_twice() -> None:
    run = run_with(Delay(Site("order.charge/queue"), lasting="long"))
    assert [key for _, key in charges(run)] == ["o1-1"]
    [late] = [event for event in events(run, "reply") if event.data.get("late")]
    assert late.operation == "workers.charge/start"
    assert late.data["error"].startswith("409")


def test_a_callback_is_lost_with_its_worker() -> None:
    shop = broken.refund_in_callback()
    place = Site("workers.ship/on_failure_callback", entity=2)
    run = shop.run(list(shop.examples), Schedule((Crash(place),)))
    assert not [event for event in events(run, "effect") if "refund" in event.operation]


def test_a_scheduler_is_told_of_in_a_report() -> None:
    shop = broken.key_of_try()
    campaign = explore(shop, properties=assumed(shop), items=shop.examples[:1], faults_max=1)
    text = to_text(campaign.counterexamples[0])
    assert "airflow" in text
    assert "decides: queues charge" in text


# ---- how tasks end


def fails(ti: Any) -> None:
    raise ValueError("no")


def fails_for_good(ti: Any) -> None:
    raise AirflowFailException("no")


def is_skipped(ti: Any) -> None:
    raise AirflowSkipException


def exits() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("code", "state", "tries"),
    [(fails, "failed", 3), (fails_for_good, "failed", 1), (is_skipped, "skipped", 1),
     (exits, "failed", 3)],
)  # fmt: skip
def test_how_a_task_ends(code: Any, state: str, tries: int) -> None:
    run = one_dag(AirflowTask("a", code, retries=2, retry_delay_s=10)).run()
    [task] = shown(run)["task_instances"]
    assert (task["state"], task["try_number"]) == (state, tries)
    assert not events(run, "crash")


def test_what_runs_past_its_execution_timeout_is_killed_and_tried_again() -> None:
    import time

    ended: list[int] = []

    def naps(ti: Any) -> None:
        time.sleep(100 if ti.try_number == 1 else 1)
        ended.append(ti.try_number)

    task = AirflowTask("a", naps, retries=1, retry_delay_s=10, execution_timeout_s=30)
    run = one_dag(task).run()
    assert states(run) == {"a": "success"}
    assert ended == [2]


def test_a_branch_is_followed_and_what_joins_goes_on() -> None:
    run = one_dag(
        AirflowTask("choose", lambda params: {1: "left"}[params["n"]], kind="branch"),
        AirflowTask("left", lambda: None, upstream=["choose"]),
        AirflowTask("right", lambda: None, upstream=["choose"]),
        AirflowTask("join", lambda: None, upstream=["left", "right"],
                    trigger_rule="none_failed_min_one_success"),
    ).run()  # fmt: skip
    assert states(run) == {
        "choose": "success", "left": "success", "right": "skipped", "join": "success",
    }  # fmt: skip


def test_a_branch_to_nowhere_fails() -> None:
    run = one_dag(AirflowTask("choose", lambda: "up", kind="branch")).run()
    assert states(run) == {"choose": "failed"}


@pytest.mark.parametrize(("flat", "last"), [(True, "skipped"), (False, "success")])
def test_a_short_circuit_skips_all_or_what_is_next(flat: bool, last: str) -> None:
    run = one_dag(
        AirflowTask("stop", lambda: False, kind="short_circuit",
                    ignore_downstream_trigger_rules=flat),
        AirflowTask("next", lambda: None, upstream=["stop"]),
        AirflowTask("last", lambda: None, upstream=["next"], trigger_rule="all_done"),
    ).run()  # fmt: skip
    assert states(run) == {"stop": "success", "next": "skipped", "last": last}


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_sensor_waits_in_both_modes(mode: str) -> None:
    looks: list[int] = []

    def look(ti: Any) -> bool:
        looks.append(ti.try_number)
        return len(looks) % 3 == 0

    task = AirflowTask("wait", look, kind="sensor", mode=mode, poke_interval_s=60)
    run = one_dag(task).run()
    assert states(run) == {"wait": "success"}
    assert set(looks) == {1}  # a reschedule is no new try
    assert 120_000 < events(run, "handled")[-1].at_ms < 130_000


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize(("soft", "state"), [(False, "failed"), (True, "skipped")])
def test_a_sensor_waits_for_so_long(mode: str, soft: bool, state: str) -> None:
    task = AirflowTask(
        "wait", lambda: False, kind="sensor", mode=mode, poke_interval_s=60, timeout_s=150,
        soft_fail=soft, retries=3,
    )  # fmt: skip
    run = one_dag(task).run()
    assert states(run) == {"wait": state}
    assert 180_000 < run.history[-1].at_ms < 200_000


def test_xcoms_are_copies() -> None:
    def makes() -> list[int]:
        return [1]

    def reads(ti: Any) -> None:
        ti.xcom_pull("makes").append(2)
        ti.xcom_push(key="seen", value=ti.xcom_pull("makes"))

    def judges(ti: Any, dag_run: Any, ds: str) -> None:
        assert ti.xcom_pull("reads", key="seen") == [1]
        assert ti.xcom_pull(["makes", "nobody"]) == [[1], None]
        assert (dag_run.run_id, ds) == ("r1", "2030-01-01")

    run = one_dag(
        AirflowTask("makes", makes),
        AirflowTask("reads", reads, upstream=["makes"]),
        AirflowTask("judges", judges, upstream=["reads"]),
    ).run()
    assert states(run) == {"makes": "success", "reads": "success", "judges": "success"}


def test_tasks_may_be_async_and_dags_tell_how_they_ended() -> None:
    told: list[str] = []

    async def work(params: Any) -> int:
        return int(params["n"])

    run = one_dag(
        AirflowTask("work", work),
        callables={"d.on_success_callback": lambda context: told.append(context["run_id"])},
    ).run()
    assert states(run) == {"work": "success"}
    assert set(told) == {"r1"}


def test_each_try_is_a_process_with_memory_and_connections_of_its_own() -> None:
    system = System("memory")
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=[
        AirflowTask("a"), AirflowTask("b", upstream=["a"])])]))  # fmt: skip
    store = system.add(KeyValue("store"))

    @system.service("workers")
    def workers(env: Env) -> None:
        memory: list[str] = []
        rows = env.connect(store)

        def work(ti: Any) -> None:
            assert memory == []
            memory.append(ti.task_id)
            rows.put(ti.task_id, 1)

        env.tasks(airflow, {"a": work, "b": work})

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    assert states(system.run()) == {"a": "success", "b": "success"}


def test_a_dag_schedule_runs_by_itself() -> None:
    system = one_dag(AirflowTask("a", lambda: None), dag_schedule_s=3_600, dag_end_s=7_200)
    run = system.run([], Schedule())
    assert sorted(run.event_histories) == [
        "d:scheduled__2030-01-01T00:00:00+00:00", "d:scheduled__2030-01-01T01:00:00+00:00",
    ]  # fmt: skip


def test_the_api_answers_as_airflows_does() -> None:
    seen: list[Any] = []
    system = one_dag(AirflowTask("a", lambda: None))
    airflow = system.resources["airflow"]

    @system.service("watcher")
    def watcher(env: Env) -> None:
        client = env.client(airflow)

        def look() -> None:
            env.sleep(10)
            seen.append(client.get_dag_run("d", "r1")["state"])
            seen.append([one["state"] for one in client.get_task_instances("d", "r1")])
            for ask in (
                lambda: client.trigger_dag_run("d", dag_run_id="r1"),
                lambda: client.get_dag_run("d", "r2"),
            ):
                try:
                    ask()
                except AirflowApiException as error:
                    seen.append(error.status)

        env.main(look)

    system.run()
    assert seen[:4] == ["success", ["success"], 409, 404]


# ---- mistakes


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidDefinition) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: AirflowTask("a", trigger_rule="all_ok"), "AirflowTask('a'): trigger_rule is all_"),
        (lambda: AirflowTask("a", retries=-1), "retries is a whole number from 0"),
        (lambda: AirflowTask(""), "needs a task_id"),
        (lambda: AirflowTask("a", retry_delay_s="1m"), "retry_delay_s is a number of seconds"),
        (lambda: AirflowDAG("d", tasks=[AirflowTask("a", upstream=["b"])]),
         "task 'a' comes after 'b', which is no task of it; they are: a"),
        (lambda: AirflowDAG("d", tasks=[AirflowTask("a", upstream=["b"]),
                                        AirflowTask("b", upstream=["a"])]), "a cycle goes through"),
        (lambda: AirflowDAG("d", tasks=[AirflowTask("a")] * 2), "two tasks are called 'a'"),
        (lambda: AirflowDAG("d", tasks=[]), "has no tasks"),
        (lambda: AirflowDAG("d", tasks=[AirflowTask("a")], dag_schedule_s=60),
         "a DAG schedule needs dag_schedule_s and dag_end_s"),
        (lambda: Airflow("airflow", dags=[]), "needs dags=[...]"),
        (lambda: Airflow("airflow", dags=[lambda: None]), "call the function that @dag is above"),
        (lambda: one_dag(AirflowTask("a")).run(), "task 'a' of DAG 'd' has nothing to run"),
        (lambda: one_dag(AirflowTask("a"), callables={"b": print}).run(),
         "runs a task 'b', which no DAG of 'airflow' has; there are: a, d.a"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(call: Callable[[], object], words: str) -> None:
    assert words in refusal(call)


def test_waiting_for_a_person_is_not_modelled_and_says_so() -> None:
    class TaskAwaitingInput(BaseException):
        pass

    def asks() -> None:
        raise TaskAwaitingInput

    words = "TaskAwaitingInput, which is not modelled"
    assert words in refusal(one_dag(AirflowTask("a", asks)).run)


def test_a_service_that_runs_tasks_does_nothing_beside() -> None:
    system = System("both")
    airflow = system.add(
        Airflow("airflow", dags=[AirflowDAG("d", tasks=[AirflowTask("a", fails)])])
    )

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow)
        env.main(lambda: None)

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    assert "service 'workers' runs tasks, each in a process of its own" in refusal(system.run)


def test_a_reschedule_by_hand_is_no_new_try() -> None:
    from datetime import UTC, datetime, timedelta

    seen: list[int] = []

    def once(ti: Any) -> None:
        seen.append(ti.try_number)
        if ti.get_first_reschedule_date({}) is None:
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=45))

    run = one_dag(AirflowTask("a", once)).run()
    assert states(run) == {"a": "success"}
    assert set(seen) == {1}
    assert 46_000 < events(run, "handled")[-1].at_ms < 50_000


def test_the_right_model_is_built_of_these() -> None:
    assert right.build().run().ending.verdict == "quiet"
    assert Gateway and External
