"""What begins again and again: cron expressions, crons and schedules in a system."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow
from temporalio.client import Schedule, ScheduleActionStartWorkflow, ScheduleSpec

from chaosharness import Crash, Env, Gateway, System, Temporal, assumed, explore
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.temporal.calendars import NotACalendar, cron_of

NEW_YEAR_S = 1_893_456_000  # 2030, a Tuesday

NEXT = [
    ("0 9 * * *", "2030-01-01T09:00:00"),
    ("@daily", "2030-01-02T00:00:00"),
    ("*/15 * * * MON-FRI", "2030-01-01T00:15:00"),
    ("0 0 10 * 1", "2030-01-07T00:00:00"),  # either day is enough
    ("0 0 29 2 *", "2032-02-29T00:00:00"),
    ("CRON_TZ=America/New_York 0 9 * * *", "2030-01-01T14:00:00"),
    ("@every 1h30m", "2030-01-01T01:30:00"),
]


@pytest.mark.parametrize(("text", "wanted"), NEXT)
def test_a_cron_expression_comes_next(text: str, wanted: str) -> None:
    at = cron_of(text).after(NEW_YEAR_S)
    assert at is not None
    assert datetime.fromtimestamp(at, UTC).isoformat() == f"{wanted}+00:00"


def test_a_schedules_expression_needs_both_days_and_may_have_seconds() -> None:
    both = cron_of("0 0 7 * 1 # a Monday", of_schedule=True).after(NEW_YEAR_S)
    assert both == NEW_YEAR_S + 6 * 86_400
    assert cron_of("30 0 0 * * * *", of_schedule=True).after(NEW_YEAR_S) == NEW_YEAR_S + 30


def test_a_clock_that_is_put_forward_leaves_out_what_it_leaps_over() -> None:
    march = datetime(2030, 3, 30, 12, tzinfo=UTC).timestamp()
    at = cron_of("CRON_TZ=Europe/Berlin 30 2 * * *").after(march)
    assert at == datetime(2030, 4, 1, 0, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", ["", "each day", "61 * * * *", "5-2 * * * *", "*/0 * * * *",
                                  "@often", "@every x", "TZ=No/Where * * * * *"])  # fmt: skip
def test_what_is_none_is_said(text: str) -> None:
    with pytest.raises(NotACalendar):
        cron_of(text)


@workflow.defn
class Dues:
    """Takes what a member owes, each time."""

    @workflow.run
    async def run(self, member: str) -> None:
        wait = timedelta(seconds=30)
        await workflow.execute_activity("take", member, start_to_close_timeout=wait)


def club(key_of: Any, begin: Any, **options: Any) -> System:
    system = System("club")
    temporal = system.add(Temporal("temporal", **options))
    bank = system.add(Gateway("bank"))

    @system.service("dues")
    def dues(env: Env) -> None:
        client = env.client(bank)

        @activity.defn(name="take")
        async def take(member: str) -> None:
            await client.charge(member, 500, key=key_of(activity.info()))

        env.worker(temporal, task_queue="dues", workflows=[Dues], activities=[take])

    @system.entry(examples=["m1"])
    async def join(env: Env, member: str) -> None:
        await begin(env.client(temporal), member)

    return system


async def with_cron(client: Any, member: str) -> None:
    await client.start_workflow(
        Dues.run, member, id=member, task_queue="dues", cron_schedule="0 0 1 * *"
    )


async def with_schedule(client: Any, member: str) -> None:
    action = ScheduleActionStartWorkflow(Dues.run, member, id=member, task_queue="dues")
    spec = ScheduleSpec(cron_expressions=["0 9 * * MON-FRI"])
    await client.create_schedule("dues", Schedule(action=action, spec=spec))


def of_run(info: Any) -> str:
    return f"{info.workflow_id} {info.workflow_run_id}"


def of_member(info: Any) -> str:
    return str(info.workflow_id)


def of_attempt(info: Any) -> str:
    return f"{of_run(info)} {info.attempt}"


@pytest.mark.parametrize("begin", [with_cron, with_schedule])
def test_a_timetable_has_its_runs_and_then_the_system_is_quiet(begin: Any) -> None:
    for many in (0, 1, 3):
        run = club(of_run, begin, timetable_runs=many).run()
        assert run.ending.verdict == "quiet"
        assert len([*run.history.of("effect")]) == many


@pytest.mark.parametrize("begin", [with_cron, with_schedule])
def test_a_key_of_the_run_is_silent_and_one_of_the_attempt_is_found(begin: Any) -> None:
    right = club(of_run, begin)
    assert not explore(
        right, properties=assumed(right), faults_max=1, kinds=[Crash]
    ).counterexamples
    broken = club(of_attempt, begin)
    found = explore(
        broken, properties=assumed(broken), faults_max=1, kinds=[Crash], stop_at_first=True
    )
    assert found.counterexamples[0].findings[0].kind == "effect twice"


def test_a_cron_with_a_key_of_its_workflow_id_takes_once() -> None:
    run = club(of_member, with_cron, timetable_runs=3).run()
    assert len([*run.history.of("effect")]) == 1  # three months, one charge: the id stays


@pytest.mark.parametrize("many", [-1, "2"])
def test_how_often_is_a_number(many: Any) -> None:
    with pytest.raises(InvalidDefinition):
        Temporal("temporal", timetable_runs=many)
