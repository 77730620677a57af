"""Runs that a timetable begins: one that fails is one less, and one that leaves half is told."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Env,
    Gateway,
    NetworkPartition,
    Schedule,
    Site,
    System,
    assumed,
    explore,
)

DAY_S = 86_400


def daily(key_of: Callable[[Any], Any], *more: AirflowTask, manual: bool = False) -> System:
    """A DAG that charges each day, for two days; and once by hand, if that is said."""
    system = System("daily")
    bank, courier = system.add(Gateway("bank")), system.add(Gateway("courier"))
    tasks = [AirflowTask("charge", retries=3), *more]
    dag = AirflowDAG("d", tasks=tasks, dag_schedule_s=DAY_S, dag_end_s=2 * DAY_S)
    airflow = system.add(Airflow("airflow", dags=[dag]))

    @system.service("work")
    def work(env: Env) -> None:
        money, parcels = env.client(bank), env.client(courier)
        code = {
            "charge": lambda ti: money.charge(ti.run_id, 500, key=key_of(ti)),
            "ship": lambda ti: parcels.charge(ti.run_id, 1, key=ti.run_id),
            "refund": lambda ti: money.refund(ti.run_id, 500, key=f"back {ti.run_id}"),
        }
        env.tasks(airflow, {task.task_id: code[task.task_id] for task in tasks})

    @system.entry(examples=["r1"])
    def begin(env: Env, name: str) -> None:
        if manual:
            env.client(airflow).trigger_dag_run("d", dag_run_id=name)

    return system


def found(system: System) -> list[str]:
    campaign = explore(system, properties=assumed(system), faults_max=1)
    assert campaign.runs > 100
    return [f"{one.findings[0].kind}: {one.findings[0].place}" for one in campaign.counterexamples]


@pytest.mark.parametrize("manual", [False, True])
def test_a_right_dag_on_a_schedule_is_silent(manual: bool) -> None:
    assert found(daily(lambda ti: ti.run_id, manual=manual)) == []


def test_another_key_at_each_try_is_told() -> None:
    assert "effect twice: bank.charge" in found(daily(lambda ti: f"{ti.run_id} {ti.try_number}"))


def test_a_scheduled_run_that_fails_with_the_money_is_told() -> None:
    kinds = found(daily(lambda ti: ti.run_id, AirflowTask("ship", upstream="charge")))
    assert "effect lost: courier.charge" in kinds


# ---- Temporal

pytest.importorskip("temporalio", reason="chaosharness[temporal] is not installed")

import temporalio.client  # noqa: E402
from temporalio import activity, workflow  # noqa: E402
from temporalio.common import RetryPolicy  # noqa: E402

from chaosharness import Temporal  # noqa: E402

THRICE: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(maximum_attempts=3),
}
FOR_EVER: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=30)}


@workflow.defn
class Pays:
    """Pays, and that is all."""

    @workflow.run
    async def run(self, member: str) -> None:
        await workflow.execute_activity("pay", member, **THRICE)


@workflow.defn
class Shrugs:
    """Pays if it can, and says in any case that all is well."""

    @workflow.run
    async def run(self, member: str) -> None:
        try:
            await workflow.execute_activity("pay", member, **THRICE)
        except Exception:
            workflow.logger.info("not paid")


@workflow.defn
class PaysOrPaysBack:
    """Pays, ships if it can, and pays back if not."""

    @workflow.run
    async def run(self, member: str) -> None:
        await workflow.execute_activity("pay", member, **FOR_EVER)
        try:
            await workflow.execute_activity("ship", member, **THRICE)
        except Exception:
            await workflow.execute_activity("unship", member, **FOR_EVER)
            await workflow.execute_activity("pay back", member, **FOR_EVER)
            raise


@workflow.defn
class Three:
    """Pays three parts by workflows of their own."""

    @workflow.run
    async def run(self, member: str) -> None:
        for part in range(3):
            child = await workflow.start_child_workflow(Pays.run, member, id=f"{member} {part}")
            try:
                await child
            except Exception:
                workflow.logger.info("one part is not paid")


def monthly(flow: Any, *, how: str = "schedule") -> System:
    """A workflow that begins each month, twice; or once, by hand."""
    system = System("monthly")
    server = system.add(Temporal("temporal"))
    bank, courier = system.add(Gateway("bank")), system.add(Gateway("courier"))

    @system.service("dues")
    def dues(env: Env) -> None:
        money, parcels = env.client(bank), env.client(courier)

        def key() -> str:
            info = activity.info()
            return f"{info.workflow_id} {info.workflow_run_id}"

        @activity.defn
        async def pay(member: str) -> None:
            await money.charge(member, 500, key=key())

        @activity.defn(name="pay back")
        async def pay_back(member: str) -> None:
            await money.refund(member, 500, key=f"back {key()}")

        @activity.defn
        async def ship(member: str) -> None:
            await parcels.charge(member, 1, key=key())

        @activity.defn
        async def unship(member: str) -> None:
            await parcels.refund(member, 1, key=f"back {key()}")

        done = [pay, pay_back, ship, unship]
        flows = [Pays, Shrugs, PaysOrPaysBack, Three]
        env.worker(server, task_queue="q", workflows=flows, activities=done)

    @system.entry(examples=["m1"])
    async def join(env: Env, member: str) -> None:
        client = env.client(server)
        given: dict[str, Any] = {"id": member, "task_queue": "q"}
        if how == "by hand":
            await client.start_workflow(flow.run, member, **given)
        elif how == "cron":
            await client.start_workflow(flow.run, member, **given, cron_schedule="0 9 1 * *")
        else:
            action = temporalio.client.ScheduleActionStartWorkflow(flow.run, member, **given)
            spec = temporalio.client.ScheduleSpec(cron_expressions=["0 9 1 * *"])
            plan = temporalio.client.Schedule(action=action, spec=spec)
            await client.create_schedule(f"dues of {member}", plan)

    return system


@pytest.mark.parametrize("how", ["schedule", "cron"])
def test_a_month_that_is_not_paid_is_one_less(how: str) -> None:
    assert found(monthly(Pays, how=how)) == []


@pytest.mark.parametrize("how", ["schedule", "cron"])
def test_a_month_that_is_not_paid_and_says_that_all_is_well_is_told(how: str) -> None:
    assert "effect lost: bank.charge" in found(monthly(Shrugs, how=how))


@pytest.mark.slow
def test_a_month_that_pays_back_is_right() -> None:
    assert not [one for one in found(monthly(PaysOrPaysBack)) if "bank" in one]


def test_workflows_that_no_timetable_begins_are_no_runs_of_one() -> None:
    system = monthly(Three, how="by hand")
    cut = Schedule([NetworkPartition(Site("dues.pay/bank.charge"), lasting=27_000)])
    run = system.run(schedule=cut)
    told = [str(one.data["what"]) for one in run.history.of("note") if "parent" in one.data]
    assert told.count("workflow failed") == 1 and told.count("workflow completed") == 2
    [finding] = [one for claim in assumed(system) for one in claim.findings(run.evidence())]
    assert (finding.kind, finding.place, finding.question) == ("effect lost", "bank.charge", False)
