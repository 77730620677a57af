"""What orchestrators wait for by themselves is waited for, be it a month; and not for ever."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Approval,
    AsyncOrchestrator,
    Conductor,
    Delay,
    Env,
    Gateway,
    Orchestrator,
    Retry,
    Saga,
    SagaStore,
    Schedule,
    Site,
    Step,
    StepFunctions,
    System,
    TaskDeferred,
    Temporal,
    TriggerEvent,
    never_stuck,
)
from chaosharness.checkers.progress import waiting_in
from chaosharness.system.run import Run

MONTH = timedelta(days=30)


@workflow.defn
class Pays:
    """Pays each month: so often, or for ever."""

    @workflow.run
    async def run(self, months: int) -> str:
        paid = 0
        while months < 0 or paid < months:
            await asyncio.sleep(MONTH.total_seconds())
            await workflow.execute_activity("pay", start_to_close_timeout=timedelta(seconds=20))
            paid += 1
        return "over"


@workflow.defn
class Waits:
    """Waits for what never comes."""

    @workflow.run
    async def run(self, months: int) -> None:
        await workflow.execute_activity("pay", start_to_close_timeout=timedelta(seconds=20))
        await workflow.wait_condition(lambda: False)


def started(name: str, months: int, schedule: Schedule | None = None, **options: Any) -> Run:
    system = System("months")
    server, bank = system.add(Temporal("temporal")), system.add(Gateway("bank"))

    @system.service("work")
    def work(env: Env) -> None:
        client = env.client(bank)

        @activity.defn
        async def pay() -> None:
            await client.charge("o1", 500, key=activity.info().activity_id)

        env.worker(server, task_queue="q", workflows=[Pays, Waits], activities=[pay])

    @system.entry(examples=[months])
    async def begin(env: Env, months: int) -> None:
        given: dict[str, Any] = {"id": "w", "task_queue": "q", **options}
        await env.client(server).start_workflow(name, months, **given)

    return system.run(None, schedule)


def test_each_month_is_waited_for() -> None:
    run = started("Pays", 3)
    assert run.ending.verdict == "quiet"
    days = [round(event.at_ms / 86_400_000) for event in run.history.of("effect")]
    assert days == [30, 60, 90]


def test_so_is_the_time_that_a_workflow_may_take() -> None:
    run = started("Waits", 0, execution_timeout=MONTH)
    assert run.ending.verdict == "quiet"
    assert "WORKFLOW_EXECUTION_TIMED_OUT" in run.event_histories["w"]


def test_a_workflow_that_pays_for_ever_is_left_after_fifty_months() -> None:
    run = started("Pays", -1)
    assert run.ending.verdict == "quiet"
    assert len([*run.history.of("effect")]) == 50
    run.check(never_stuck())
    [told] = waiting_in(run.history)
    assert "workflow 'Pays' (w) goes on for ever by its timers, and nobody has ended it" in told


def test_a_request_that_is_late_past_a_timeout_of_days_comes_in_the_end() -> None:
    late = Schedule([Delay(Site("work.pay/bank.charge"), lasting="long")])
    run = started("Waits", 0, late, execution_timeout=timedelta(days=2))
    assert run.ending.verdict == "quiet"
    [end] = run.history.of("end")
    assert end.at_ms > 4 * 86_400_000


def test_a_state_that_waits_for_a_week_is_waited_for() -> None:
    states = {"A": {"Type": "Wait", "Seconds": 7 * 86_400, "End": True}}
    system = System("week")
    server = system.add(StepFunctions("sfn", machines={"m": {"StartAt": "A", "States": states}}))

    @system.entry(examples=["e1"])
    def begin(env: Env, name: str) -> None:
        env.client(server).start_execution(stateMachineArn="m", name=name, input="{}")

    run = system.run()
    assert run.ending.verdict == "quiet"
    last = json.loads(run.event_histories["m:e1"])["events"][-1]
    assert (last["type"], last["timestamp"] >= 7 * 86_400_000) == ("ExecutionSucceeded", True)


def test_a_task_that_waits_for_a_week_is_waited_for() -> None:
    task = {"name": "w", "taskReferenceName": "w", "type": "WAIT",
            "inputParameters": {"duration": "7 days"}}  # fmt: skip
    system = System("week")
    flow = {"name": "flow", "tasks": [task]}
    server = system.add(Conductor("conductor", workflows=[flow]))

    @system.entry(examples=["e1"])
    def begin(env: Env, name: str) -> None:
        env.client(server).start_workflow_by_name("flow", {})

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert json.loads(run.event_histories["flow-1"])["status"] == "COMPLETED"


# ---- sagas of one's own

DAY_MS = 86_400_000
WEEK = Approval("check", within_ms=7 * DAY_MS)
EVERY_TWO_DAYS = Retry(times=9, first_ms=2 * DAY_MS, factor=1, most_ms=2 * DAY_MS)


class NotYet(Exception):
    pass


def saga_of(*steps: Any, poll_s: float = 30.0, colour: str = "plain") -> Run:
    """A saga that charges first, in a service of its own, calm."""
    system = System("saga")
    bank, store = system.add(Gateway("bank")), system.add(SagaStore("sagas"))
    saga = Saga("order", Step("charge", undo="refund"), *steps)

    @system.service("orders")
    def orders(env: Env) -> None:
        client = env.client(bank)
        given: dict[str, Any] = {"now_ms": env.now_ms, "sleep": env.sleep, "poll_s": poll_s,
                                 "not_happened": (NotYet,)}  # fmt: skip

        def ship(command: Any) -> None:
            if command.attempt < 4:
                raise NotYet

        def charge(command: Any) -> None:
            client.charge(command.saga, 500, key=command.key)

        def refund(command: Any) -> None:
            client.refund(command.saga, 500, key=f"back {command.key}")

        async def charge_async(command: Any) -> None:
            await client.charge(command.saga, 500, key=command.key)

        async def refund_async(command: Any) -> None:
            await client.refund(command.saga, 500, key=f"back {command.key}")

        if colour == "plain":
            calls: dict[str, Any] = {"charge": charge, "refund": refund, "ship": ship}
            sagas: Any = Orchestrator(saga, env.connect(store), calls=calls, **given)
            env.serve("order", sagas.start)
        else:
            calls = {"charge": charge_async, "refund": refund_async, "ship": charge_async}
            sagas = AsyncOrchestrator(saga, env.connect(store), calls=calls, **given)

            async def order(id: str) -> None:
                await sagas.start(id)

            env.serve("order", order)
        env.main(sagas.run)

    @system.entry(examples=["o1"])
    def place(env: Env, id: str) -> None:
        env.call("orders", "order", id)

    return system.run()


def done_on(run: Run) -> list[tuple[int, str]]:
    """On which day what was done to the bank."""
    return [(event.at_ms // DAY_MS, event.data["method"]) for event in run.history.of("effect")]


@pytest.mark.parametrize("colour", ["plain", "asyncio"])
@pytest.mark.parametrize("poll_s", [30, 3_600])
def test_an_approval_within_a_week_is_waited_for_and_refused(poll_s: float, colour: str) -> None:
    run = saga_of(WEEK, poll_s=poll_s, colour=colour)
    assert run.ending.verdict == "quiet"
    assert done_on(run) == [(0, "charge"), (7, "refund")]
    assert saga_status(run) == "compensated"


def test_retries_two_days_apart_are_waited_for() -> None:
    run = saga_of(Step("ship", retry=EVERY_TWO_DAYS))
    assert run.ending.verdict == "quiet"
    assert saga_status(run) == "completed"
    assert run.history[len(run.history) - 1].at_ms >= 6 * DAY_MS


def saga_status(run: Run) -> str:
    [*_, state] = run.history.of("state")
    [row] = state.data["tables"]["sagas"]
    return str(row["status"])


# ---- Airflow

Worker = Callable[[Any], dict[str, Any]]


class InAWeek:
    """Fires once a week is over."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.InAWeek", {}

    async def run(self) -> Any:
        await asyncio.sleep(7 * 86_400)
        yield TriggerEvent("now")


def dag_of(tasks: list[AirflowTask], code: Worker, **options: Any) -> Run:
    system = System("dag")
    bank = system.add(Gateway("bank"))
    dag = AirflowDAG("d", tasks=tasks, **options)
    airflow = system.add(Airflow("airflow", dags=[dag]))

    @system.service("work")
    def work(env: Env) -> None:
        env.tasks(airflow, code(env.client(bank)))

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        if not options:
            env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    return system.run()


def charging(bank: Any) -> dict[str, Any]:
    return {"charge": lambda ti: bank.charge(ti.run_id, 500, key=ti.run_id)}


def test_a_retry_in_three_days_is_waited_for() -> None:
    def code(bank: Any) -> dict[str, Any]:
        def charge(ti: Any) -> None:
            if ti.try_number < 3:
                raise NotYet
            bank.charge(ti.run_id, 500, key=ti.run_id)

        return {"charge": charge}

    run = dag_of([AirflowTask("charge", retries=5, retry_delay_s=3 * 86_400)], code)
    assert run.ending.verdict == "quiet"
    assert done_on(run) == [(6, "charge")]


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_sensor_looks_for_days(mode: str) -> None:
    def code(bank: Any) -> dict[str, Any]:
        def look(logical_date: Any) -> bool:
            return bool(datetime.now(UTC) - logical_date > timedelta(days=3))

        return {"look": look, **charging(bank)}

    look = AirflowTask("look", kind="sensor", mode=mode, poke_interval_s=600)
    run = dag_of([look, AirflowTask("charge", upstream="look")], code)
    assert run.ending.verdict == "quiet"
    assert done_on(run) == [(3, "charge")]


def test_a_sensor_that_never_finds_anything_fails_when_its_time_is_over() -> None:
    look = AirflowTask("look", kind="sensor", poke_interval_s=600, timeout_s=3 * 86_400)
    run = dag_of([look], lambda bank: {"look": lambda: False})
    assert run.ending.verdict == "quiet"
    assert json.loads(run.event_histories["d:r1"])["state"] == "failed"


def test_a_trigger_that_sleeps_for_a_week_fires() -> None:
    def code(bank: Any) -> dict[str, Any]:
        def wait() -> None:
            raise TaskDeferred(trigger=InAWeek(), method_name="on")

        return {"wait": wait, "wait.on": lambda ti, event: charging(bank)["charge"](ti)}

    run = dag_of([AirflowTask("wait")], code)
    assert run.ending.verdict == "quiet"
    assert done_on(run) == [(7, "charge")]


def test_each_day_of_a_schedule_has_its_run() -> None:
    tasks = [AirflowTask("charge")]
    run = dag_of(tasks, charging, dag_schedule_s=86_400, dag_end_s=5 * 86_400)
    assert run.ending.verdict == "quiet"
    assert [day for day, _ in done_on(run)] == [1, 2, 3, 4, 5]


def test_a_task_that_reschedules_itself_for_ever_is_called_off() -> None:
    from chaosharness import AirflowRescheduleException

    def again() -> None:
        raise AirflowRescheduleException(datetime.now(UTC) + timedelta(days=1))

    run = dag_of([AirflowTask("again")], lambda bank: {"again": again})
    assert run.ending.verdict == "budget"
    assert "86,400 s" not in run.ending.reason  # it lasted for longer, and says so
