"""The pure machine: what the scheduler decides, what the API answers, what time does."""

from itertools import product
from typing import Any

import pytest

from chaosharness import AirflowDAG, AirflowTask
from chaosharness.machines.machine import Refusal
from chaosharness.orchestrators.airflow.machine import Machine
from chaosharness.orchestrators.airflow.records import DagRun, TaskInstance
from chaosharness.orchestrators.airflow.retries import delay_ms

CHAIN = (AirflowTask("a", retries=1, retry_delay_s=10), AirflowTask("b", upstream=["a"]))


def begun(*tasks: AirflowTask, **options: Any) -> tuple[Machine, DagRun]:
    machine = Machine({"d": AirflowDAG("d", tasks=tasks or CHAIN, **options)})
    run = machine.trigger("d", "r1", {}, 0)
    assert isinstance(run, DagRun)
    machine.schedule(0)
    return machine, run


def states(run: DagRun) -> dict[str, str | None]:
    return {name: task.state for name, task in run.tasks.items()}


def finish(machine: Machine, task: TaskInstance, state: str = "success", at_ms: int = 0) -> None:
    """Have a task that is queued run and end."""
    assert not isinstance(machine.start(task.id, "w", at_ms), Refusal)
    assert machine.finish(task.id, state, at_ms) is None
    machine.schedule(at_ms)


def code_of(answer: Any) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


# ---- A1: a run ends as its leaves do


def test_a_run_ends_as_its_leaves_do() -> None:
    machine, run = begun(
        AirflowTask("a"), AirflowTask("b", upstream=["a"], trigger_rule="one_failed")
    )
    finish(machine, run.tasks["a"], "failed")
    finish(machine, run.tasks["b"])
    assert states(run) == {"a": "failed", "b": "success"}
    assert run.state == "success"


def test_a_teardown_says_nothing_about_its_run_and_waits_for_all_between() -> None:
    machine, run = begun(
        AirflowTask("up", setup=True),
        AirflowTask("work", upstream=["up"]),
        AirflowTask("down", upstream=["up"], teardown=True),
        AirflowTask("after", upstream=["work"]),
        AirflowTask("end", upstream=["after", "up"], teardown=True),
    )
    assert run.tasks["down"].state is None
    finish(machine, run.tasks["up"])
    assert states(run)["down"] == "queued"  # nothing lies between
    assert states(run)["end"] is None
    finish(machine, run.tasks["work"], "failed")
    assert states(run) == {
        "up": "success", "work": "failed", "down": "queued", "after": "upstream_failed",
        "end": "queued",
    }  # fmt: skip
    finish(machine, run.tasks["down"], "failed")
    finish(machine, run.tasks["end"])
    assert run.state == "failed"  # by `after`, and not by `down`


def test_skips_and_failures_go_down_in_one_round() -> None:
    machine, run = begun(
        *(AirflowTask("abcd"[n], upstream=["abcd"[n - 1]] if n else []) for n in range(4))
    )
    finish(machine, run.tasks["a"], "failed")
    assert [*states(run).values()] == ["failed", *["upstream_failed"] * 3]
    assert run.state == "failed"


# ---- A2: who may begin, and who is told to stop


def test_only_what_is_queued_begins_and_one_process_may_ask_twice() -> None:
    machine, run = begun()
    id = run.tasks["a"].id
    assert not isinstance(machine.start(id, "w1", 5), Refusal)
    assert not isinstance(machine.start(id, "w1", 6), Refusal)
    assert code_of(machine.start(id, "w2", 7)) == "409"
    assert code_of(machine.start("d/r1/x/1", "w2", 7)) == "404"


def test_an_old_try_is_gone_once_there_is_another() -> None:
    machine, run = begun()
    old = run.tasks["a"].id
    machine.start(old, "w", 0)
    machine.tick(310_000)
    assert run.tasks["a"].state == "up_for_retry"
    assert code_of(machine.heartbeat(old, 310_001)) == "410"
    assert code_of(machine.finish(old, "success", 310_001)) == "404"
    assert code_of(machine.start(old, "w", 310_001)) == "404"
    machine.schedule(320_000)
    assert run.tasks["a"].state == "queued"
    assert run.tasks["a"].try_number == 2


def test_a_report_that_is_repeated_is_taken_once() -> None:
    machine, run = begun()
    id = run.tasks["a"].id
    machine.start(id, "w", 0)
    assert machine.finish(id, "success", 1) is None
    assert machine.finish(id, "success", 2) is None
    assert code_of(machine.finish(id, "failed", 3)) == "409"


# ---- A3: heartbeats


@pytest.mark.parametrize(
    ("beat_ms", "noticed_ms"), [(0, 310_000), (9_999, 310_000), (10_000, 320_000)]
)
def test_a_process_that_is_not_heard_of_is_noticed_at_a_round_of_the_check(
    beat_ms: int, noticed_ms: int
) -> None:
    machine, run = begun()
    machine.start(run.tasks["a"].id, "w", 0)
    machine.heartbeat(run.tasks["a"].id, beat_ms)
    assert machine.due() == noticed_ms
    machine.tick(noticed_ms - 1)
    assert run.tasks["a"].state == "running"
    machine.tick(noticed_ms)
    assert run.tasks["a"].state == "up_for_retry"


def test_a_heartbeat_that_comes_late_but_in_time_saves_its_try() -> None:
    machine, run = begun()
    machine.start(run.tasks["a"].id, "w", 0)
    assert machine.heartbeat(run.tasks["a"].id, 309_000) is None
    machine.tick(310_000)
    assert run.tasks["a"].state == "running"


# ---- A4: retries


def test_there_are_as_many_retries_as_are_asked_for() -> None:
    machine, run = begun(AirflowTask("a", retries=2, retry_delay_s=10))
    at_ms, tries = 0, 0
    while run.state == "running":
        finish(machine, run.tasks["a"], "failed", at_ms)
        at_ms, tries = at_ms + 10_000, tries + 1
        machine.schedule(at_ms)
    assert (tries, run.tasks["a"].state) == (3, "failed")


def test_a_final_failure_is_not_tried_again() -> None:
    machine, run = begun()
    id = run.tasks["a"].id
    machine.start(id, "w", 0)
    machine.finish(id, "failed", 0, final=True)
    assert run.tasks["a"].state == "failed"


def test_exponential_pauses_have_a_hash_and_no_chance_in_them() -> None:
    task = AirflowTask("a", retries=9, retry_delay_s=10, retry_exponential_backoff=2)
    pauses = [delay_ms(task, "d", "2030-01-01 00:00:00+00:00", n) for n in range(1, 6)]
    for n, pause in enumerate(pauses):
        assert 10_000 * 2**n <= pause < 20_000 * 2**n
    assert pauses == [delay_ms(task, "d", "2030-01-01 00:00:00+00:00", n) for n in range(1, 6)]
    capped = AirflowTask("a", retry_delay_s=10, retry_exponential_backoff=2, max_retry_delay_s=15)
    assert delay_ms(capped, "d", "", 5) == 15_000
    assert delay_ms(task, "d", "", 5_000) == 86_400_000
    assert delay_ms(AirflowTask("a", retry_delay_s=7), "d", "", 3) == 7_000


def test_pauses_are_to_the_second_what_airflows_own_code_says() -> None:
    pytest.importorskip("airflow.models", reason="apache-airflow-core is not installed")
    from datetime import timedelta
    from types import SimpleNamespace

    from airflow.models.taskinstance import TaskInstance as Theirs

    from chaosharness.orchestrators.airflow.moments import at

    asked = 0
    for delay_s, multiplier, most_s, number in product(
        (0, 0.5, 10, 300), (0, 1, 1.5, 2, 3), (None, 45), (1, 2, 5, 40, 3_000)
    ):
        ours = AirflowTask("a", retry_delay_s=delay_s, retry_exponential_backoff=multiplier,
                           max_retry_delay_s=most_s)  # fmt: skip
        task = SimpleNamespace(
            retry_delay=timedelta(seconds=delay_s), retry_exponential_backoff=multiplier,
            max_retry_delay=None if most_s is None else timedelta(seconds=most_s),
        )  # fmt: skip
        real = SimpleNamespace(
            retry_delay_override=None, task=task, try_number=number, dag_id="d", task_id="a",
            logical_date=at(7_000), end_date=at(0), log=SimpleNamespace(warning=print),
        )  # fmt: skip
        theirs = Theirs.next_retry_datetime(real) - at(0)
        assert delay_ms(ours, "d", str(at(7_000)), number) == theirs / timedelta(milliseconds=1)
        asked += 1
    assert asked == 200


# ---- A5: queued for too long, and orphans


def test_a_task_that_nobody_begins_is_queued_anew_twice_and_then_fails() -> None:
    machine, run = begun()
    at_ms = []
    while run.tasks["a"].state == "queued":
        due = machine.due()
        assert due is not None
        machine.tick(due)
        machine.schedule(due)
        at_ms.append(due)
    assert at_ms == [720_000, 1_440_000, 2_160_000]
    assert (run.tasks["a"].state, run.tasks["a"].try_number) == ("failed", 1)


def test_an_orphan_that_no_executor_has_is_reset_and_uses_a_try_up() -> None:
    machine, run = begun()
    old = run.tasks["a"].id
    assert machine.adopt() == [run.tasks["a"]]
    machine.schedule(1_000)
    assert (run.tasks["a"].state, run.tasks["a"].try_number) == ("queued", 2)
    assert code_of(machine.start(old, "w", 1_000)) == "404"
    finish(machine, run.tasks["a"], "failed", 2_000)
    assert run.tasks["a"].state == "failed"  # one retry was asked for, and none is left


def test_what_the_executor_has_or_runs_is_adopted_as_it_is() -> None:
    machine, run = begun()
    machine.sent(run.tasks["a"].id)
    assert machine.adopt() == []
    assert not isinstance(machine.start(run.tasks["a"].id, "w", 0), Refusal)
    assert machine.adopt() == []


# ---- A6: XComs


def test_xcoms_of_a_failed_try_are_there_until_the_next_begins() -> None:
    machine, run = begun()
    task = run.tasks["a"]
    machine.start(task.id, "w", 0)
    machine.push("d", "r1", "a", "return_value", 1)
    machine.finish(task.id, "failed", 0)
    assert machine.pull("d", "r1", "a", "return_value") == 1
    machine.schedule(10_000)
    machine.start(task.id, "w", 10_000)
    assert machine.pull("d", "r1", "a", "return_value") is None


# ---- A7: what a branch skips


def test_a_branch_skips_what_does_not_run_yet() -> None:
    machine, run = begun(
        AirflowTask("choose"),
        AirflowTask("left", upstream=["choose"]),
        AirflowTask("right", upstream=["choose"], trigger_rule="always"),
    )
    machine.start(run.tasks["right"].id, "w", 0)
    machine.start(run.tasks["choose"].id, "w", 0)
    machine.skip(run.tasks["choose"].id, ("left", "right"))
    assert states(run) == {"choose": "running", "left": "skipped", "right": "running"}
    machine.finish(run.tasks["choose"].id, "success", 1)
    machine.finish(run.tasks["right"].id, "success", 1)
    machine.schedule(1)
    assert run.state == "success"


# ---- A8: runs beside each other


def test_a_task_that_depends_on_its_past_waits_for_it() -> None:
    machine, first = begun(AirflowTask("a", depends_on_past=True))
    second = machine.trigger("d", "r2", {}, 1)
    assert isinstance(second, DagRun)
    machine.schedule(1)
    assert second.tasks["a"].state is None
    finish(machine, first.tasks["a"], "failed", 2)
    assert second.tasks["a"].state is None  # and for ever, unless somebody clears the first
    assert second.state == "running"


def test_no_more_runs_go_on_than_may() -> None:
    machine, first = begun(AirflowTask("a"), max_active_runs=1)
    second = machine.trigger("d", "r2", {}, 1)
    assert isinstance(second, DagRun)
    machine.schedule(1)
    assert (first.state, second.state) == ("running", "queued")
    finish(machine, first.tasks["a"], at_ms=2)
    machine.schedule(3)
    assert (first.state, second.state) == ("success", "running")


def test_no_more_tasks_are_queued_than_may() -> None:
    machine, run = begun(AirflowTask("a"), AirflowTask("b"), AirflowTask("c"), max_active_tasks=2)
    assert [*states(run).values()] == ["queued", "queued", "scheduled"]
    finish(machine, run.tasks["a"])
    assert [*states(run).values()] == ["success", "queued", "queued"]


def test_a_dag_schedule_makes_a_run_at_the_end_of_each_interval() -> None:
    dag = AirflowDAG("d", tasks=[AirflowTask("a")], dag_schedule_s=3_600, dag_end_s=7_200)
    machine = Machine({"d": dag})
    machine.schedule(3_599_999)
    assert (machine.runs, machine.due()) == ({}, 3_600_000)
    machine.schedule(3_600_000)
    machine.schedule(9_000_000)
    assert [run_id for _, run_id in machine.runs] == [
        "scheduled__2030-01-01T00:00:00+00:00", "scheduled__2030-01-01T01:00:00+00:00",
    ]  # fmt: skip


def test_a_run_id_is_used_once() -> None:
    machine, _ = begun()
    assert code_of(machine.trigger("d", "r1", {}, 1)) == "409"
    assert code_of(machine.trigger("x", "r1", {}, 1)) == "404"
    assert code_of(machine.find("d", "r9")) == "404"


def test_nothing_changes_before_it_is_due() -> None:
    """A law: whatever state tasks are in, `tick` before `due()` says nothing."""
    machine, run = begun(AirflowTask("a", retries=1, retry_delay_s=10), AirflowTask("b"))
    machine.start(run.tasks["a"].id, "w", 3)
    for _ in range(12):
        machine.take()
        due = machine.due()
        if due is None:
            break
        machine.tick(due - 1)
        assert machine.take() == []
        machine.tick(due)
        queued = machine.schedule(due)
        assert machine.take()
        for task in queued:
            machine.start(task.id, "w", due)
    assert run.state == "failed"
