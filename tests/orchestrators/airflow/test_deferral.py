"""Deferred tasks: a trigger fires, fails, is too late, or is run twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Crash,
    Env,
    External,
    Schedule,
    Site,
    System,
    TaskDeferred,
    TriggerEvent,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.system.run import Run
from tests.orchestrators.airflow.test_mapping import ends


class After:
    """A trigger that fires after some time."""

    def __init__(self, seconds: float, payload: Any = "now", fails: bool = False) -> None:
        self.seconds, self.payload, self.fails = seconds, payload, fails

    def serialize(self) -> tuple[str, dict[str, Any]]:
        mine = {"seconds": self.seconds, "payload": self.payload, "fails": self.fails}
        return f"{After.__module__}.After", mine

    async def run(self) -> AsyncIterator[Any]:
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise ValueError("no")
        yield TriggerEvent(self.payload)


def deferring(
    trigger: Any, resume: Callable[..., Any] | None, *, timeout: Any = None, **options: Any
) -> System:
    """A system whose task waits for a trigger, and goes on with `resume`."""
    system = System("deferring")
    task = AirflowTask("wait", **options)
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=[task])]))

    def wait() -> None:
        raise TaskDeferred(trigger=trigger, method_name="resume", kwargs={"n": 7}, timeout=timeout)

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow, {"wait": wait} | ({"wait.resume": resume} if resume else {}))

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    return system


def decided(run: Run) -> list[str]:
    return [one for event in run.history.of("decide") for one in event.data["commands"]]


def raised_in(run: Run) -> list[str]:
    return [str(event.data["error"]) for event in run.history.of("raised")]


def test_a_task_goes_on_with_what_its_trigger_has_said() -> None:
    seen: list[Any] = []

    def resume(ti: Any, event: Any, n: int) -> str:
        seen.append((ti.try_number, event, n))
        return "done"

    run = deferring(After(3_600, {"at": 1}), resume).run()
    assert ends(run) == {"wait": "success"}
    assert seen[-1] == (1, {"at": 1}, 7)  # that is no new try
    assert decided(run) == [
        "queues wait", "schedules wait anew: its trigger has fired", "queues wait",
    ]  # fmt: skip
    assert 3_600_000 < [*run.history.of("handled")][-1].at_ms < 3_610_000
    assert run.ending.verdict == "quiet"


@pytest.mark.parametrize("kind", ["python", "sensor"])
@pytest.mark.parametrize("timeout", [60, timedelta(seconds=60)])
def test_a_trigger_that_is_too_late_fails_the_try(kind: str, timeout: Any) -> None:
    run = deferring(After(3_600), lambda event: None, timeout=timeout, kind=kind, retries=1).run()
    assert ends(run) == {"wait": "failed"}
    name = "TaskDeferralTimeout" if kind == "python" else "AirflowSensorTimeout"
    raised = [str(event.data["error"]) for event in run.history.of("raised")]
    assert raised[0].startswith(f"{name}: Trigger timeout")
    assert len(raised) == (2 if kind == "python" else 1)  # a sensor's is not tried again


def test_a_sensor_that_fails_softly_is_skipped_where_its_trigger_is_too_late() -> None:
    run = deferring(After(3_600), lambda event: None, timeout=60, kind="sensor", soft_fail=True)
    assert ends(run.run()) == {"wait": "skipped"}


def test_a_trigger_that_fails_fails_the_try_on_a_worker() -> None:
    run = deferring(After(1, fails=True), lambda event: None).run()
    assert ends(run) == {"wait": "failed"}
    raised = [str(event.data["error"]) for event in run.history.of("raised")]
    assert "ValueError: no" in raised[0]
    assert raised[1].startswith("TaskDeferralError: Trigger failure")


def test_a_trigger_that_says_nothing_fails_the_try() -> None:
    class Silent:
        async def run(self) -> AsyncIterator[Any]:
            for event in ():
                yield event

    run = deferring(Silent(), lambda event: None).run()
    assert ends(run) == {"wait": "failed"}
    assert "exited without sending an event" in str([*run.history.of("raised")][-1].data)


@pytest.mark.parametrize(("position", "times"), [("before", 1), ("after", 2)])
def test_another_triggerer_begins_a_trigger_anew_where_one_dies(position: str, times: int) -> None:
    system = System("counted")
    task = AirflowTask("wait")
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=[task])]))
    shop = system.add(External("shop", Shop))

    @system.service("workers")
    def workers(env: Env) -> None:
        client = env.client(shop)

        class Ask:
            async def run(self) -> AsyncIterator[Any]:
                await client.ask()
                yield TriggerEvent("there")

            def __deepcopy__(self, memo: Any) -> Any:
                return self

        def wait() -> None:
            raise TaskDeferred(trigger=Ask(), method_name="resume")

        env.tasks(airflow, {"wait": wait, "wait.resume": lambda event: event})

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    fault = Crash(Site("workers.wait/trigger", position))
    run = system.run(["r1"], Schedule([fault]))
    assert ends(run) == {"wait": "success"}
    assert len([*run.history.of("effect")]) == times
    assert len(decided(run)) == 3  # only the first event counts


class Shop:
    """A third party that is asked for something."""

    def ask(self) -> str:
        """Say yes."""
        return "yes"


def test_a_method_that_nobody_has_is_refused_by_name() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        deferring(After(1), None).run()
    assert "is deferred to 'resume', which service 'workers' does not have" in str(caught.value)


def test_a_trigger_that_yields_no_event_is_refused_by_name() -> None:
    class Plain:
        async def run(self) -> AsyncIterator[Any]:
            yield "now"

    with pytest.raises(InvalidDefinition, match=r"trigger Plain of task 'wait' .* yields 'now'"):
        deferring(Plain(), lambda event: None).run()


def test_a_trigger_that_is_no_generator_fails_the_try() -> None:
    class Once:
        async def run(self) -> Any:
            return TriggerEvent(1)

    run = deferring(Once(), lambda event: None).run()
    assert ends(run) == {"wait": "failed"}
    assert "run() is an async generator" in str(raised_in(run)[0])


def test_a_trigger_whose_arguments_cannot_be_kept_fails_its_task() -> None:
    run = deferring(After(1, payload=lambda: 1), lambda event: None).run()
    assert ends(run) == {"wait": "failed"}
    assert "cannot serialize object of type <class 'function'>" in raised_in(run)[0]


def test_a_trigger_that_forgets_an_argument_of_its_own_is_found_at_once() -> None:
    """A triggerer makes it anew from what `serialize` says, and has nothing else."""

    class Forgetful(After):
        def serialize(self) -> tuple[str, dict[str, Any]]:
            return f"{Forgetful.__module__}.Forgetful", {"payload": 1}

    run = deferring(Forgetful(1), lambda event: None).run()
    assert ends(run) == {"wait": "failed"}
    assert "missing 1 required positional argument" in str(raised_in(run)[0])


def test_xcoms_of_before_the_deferral_are_there_after_it() -> None:
    seen: list[Any] = []

    def resume(ti: Any, event: Any) -> None:
        seen.append(ti.xcom_pull(key="before"))

    system = deferring(After(1), resume)
    run = system.run()
    assert ends(run) == {"wait": "success"}
    assert seen[-1] is None
    system = System("keeps")
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=[AirflowTask("wait")])]))

    def wait(ti: Any) -> None:
        ti.xcom_push("before", 3)
        raise TaskDeferred(trigger=After(1), method_name="resume")

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow, {"wait": wait, "wait.resume": resume})

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    assert ends(system.run()) == {"wait": "success"}
    assert seen[-1] == 3


def test_a_typo_in_the_name_of_a_callback_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="on_failure_calback"):
        deferring_with({"wait.on_failure_calback": lambda context: None}).run()


def deferring_with(more: dict[str, Any]) -> System:
    system = System("more")
    airflow = system.add(Airflow("airflow", dags=[AirflowDAG("d", tasks=[AirflowTask("wait")])]))

    @system.service("workers")
    def workers(env: Env) -> None:
        env.tasks(airflow, {"wait": lambda: None, **more})

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    return system


def test_whatever_strikes_a_deferred_task_goes_on() -> None:
    system = deferring(After(60), lambda event: None, retries=5, retry_delay_s=10)
    assert not explore(system, properties=assumed(system), faults_max=1).counterexamples


def started_by(trigger: Any, resume: Callable[..., Any], **options: Any) -> System:
    """A system whose task waits for a trigger before any worker has it."""
    timeout = options.pop("timeout", None)
    first = TaskDeferred(trigger=trigger, method_name="resume", kwargs={"n": 7}, timeout=timeout)
    return deferring(None, resume, start_from_trigger=first, **options)


def test_a_task_may_wait_for_its_trigger_before_any_worker_has_it() -> None:
    def resume(event: Any, n: int, ti: Any) -> tuple[Any, int, int]:
        assert (event, n, ti.try_number) == ("now", 7, 1)
        return event, n, ti.try_number

    run = started_by(After(3_600), resume).run()
    assert ends(run) == {"wait": "success"}
    assert decided(run)[0] == "marks wait deferred: no worker is needed yet"
    begun = [event for event in run.history.of("handled") if event.operation.endswith("/handle")]
    assert [event.operation for event in begun] == ["workers.wait/handle"]
    assert begun[0].at_ms > 3_600_000


def test_each_try_of_it_waits_anew() -> None:
    def resume(ti: Any, event: Any, n: int) -> None:
        if ti.try_number == 1:
            raise ValueError("not yet")

    run = started_by(After(60), resume, retries=1, retry_delay_s=10.0).run()
    assert ends(run) == {"wait": "success"}
    assert sum("deferred" in one for one in decided(run)) == 2


def test_it_waits_no_longer_than_it_may_take() -> None:
    for limits in ({"execution_timeout_s": 30.0}, {"timeout": timedelta(seconds=30)}):
        run = started_by(After(3_600), lambda event, n: None, **limits).run()
        assert ends(run) == {"wait": "failed"}


def test_what_starts_from_no_trigger_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="start_from_trigger is a TaskDeferred"):
        AirflowTask("wait", start_from_trigger=After(1))
    first = TaskDeferred(trigger=After(1), method_name="resume")
    with pytest.raises(InvalidDefinition, match="a mapped task that starts from a trigger is not"):
        AirflowTask("wait", start_from_trigger=first, expand={"n": [1]})
    strange = TaskDeferred(trigger=After(1, payload=object()), method_name="resume")
    with pytest.raises(InvalidDefinition, match="its start_from_trigger cannot be kept: cannot se"):
        deferring(None, lambda event: None, start_from_trigger=strange).run()
