"""Workflows that begin again and again: `cron_schedule` of a start, and schedules."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from tests.orchestrators.temporal.scripts.scripts import SCRIPTS, script, told
from tests.orchestrators.temporal.scripts.workflows import WORKFLOWS, seconds

__all__ = ["SCRIPTS"]


@workflow.defn
class Again:
    """Counts on from what the last run said, and does what it is told to."""

    def __init__(self) -> None:
        self.gone = False

    @workflow.run
    async def run(self, how: str) -> Any:
        info = workflow.info()
        if how == "again" and info.continued_run_id is None:
            workflow.continue_as_new("again")
        if how == "sleep":
            await workflow.sleep(60)
        if how == "wait":
            await workflow.wait_condition(lambda: self.gone)
        last = workflow.get_last_completion_result() if workflow.has_last_completion_result() else 0
        failure = workflow.get_last_failure()
        number = (last[0] if isinstance(last, list) else last) + 1
        if failure is None and (how == "fails" or (how == "second fails" and number == 2)):
            raise ApplicationError(f"no {number}", type="No")
        return [number, info.cron_schedule or "", str(failure), info.attempt]

    @workflow.signal
    def go(self) -> None:
        self.gone = True


@workflow.defn
class AgainParent:
    """Has a child that begins again and again, and ends."""

    @workflow.run
    async def run(self) -> str:
        name = workflow.info().workflow_id
        await workflow.start_child_workflow(
            Again.run, "", id=f"{name}-child", cron_schedule="@every 2s",
            parent_close_policy=workflow.ParentClosePolicy.TERMINATE,
        )  # fmt: skip
        await workflow.sleep(3.5)
        return "done"


WORKFLOWS += [Again, AgainParent]


async def each(client: Client, name: str, many: int) -> list[Any]:
    """What the first so many runs say; then whatever is there is terminated."""
    found = []
    run_id: str | None = None
    for _ in range(many):
        handle = client.get_workflow_handle(name, run_id=run_id)
        description = await handle.describe()
        one = client.get_workflow_handle(name, run_id=description.run_id)
        found.append(await told(one.result(follow_runs=False)))
        run_id = None
    await asyncio.sleep(0.5)
    await client.get_workflow_handle(name).terminate("enough")
    return found


async def started(client: Client, name: str, how: str, cron: str, **options: Any) -> Any:
    return await client.start_workflow(
        Again.run, how, id=name, task_queue=name, cron_schedule=cron, **options
    )


@script
async def cron_runs_again(client: Client, name: str) -> list[Any]:
    await started(client, name, "", "@every 2s")
    return await each(client, name, 2)


@script
async def cron_run_that_fails(client: Client, name: str) -> list[Any]:
    await started(client, name, "fails", "@every 2s")
    return await each(client, name, 2)


@script
async def cron_run_that_fails_keeps_what_was_said(client: Client, name: str) -> list[Any]:
    await started(client, name, "second fails", "@every 2s")
    return await each(client, name, 3)


@script
async def cron_run_that_fails_is_tried_again_first(client: Client, name: str) -> list[Any]:
    retry = RetryPolicy(initial_interval=seconds(0.5), maximum_attempts=2)
    await started(client, name, "fails", "@every 2s", retry_policy=retry)
    return await each(client, name, 3)


@script
async def cron_run_that_takes_too_long(client: Client, name: str) -> list[Any]:
    await started(client, name, "sleep", "@every 3s", run_timeout=seconds(1))
    return await each(client, name, 2)


@script
async def cron_run_that_continues_as_new(client: Client, name: str) -> list[Any]:
    handle = await started(client, name, "again", "@every 2s")
    return [await told(handle.result())]  # which runs no more


@script
async def cron_is_cancelled_while_it_waits(client: Client, name: str) -> list[Any]:
    handle = await started(client, name, "wait", "@every 2s")
    await handle.cancel()
    return [await told(handle.result())]


@script
async def cron_is_signalled_while_it_waits(client: Client, name: str) -> list[Any]:
    handle = await started(client, name, "wait", "@every 2s")
    await handle.signal(Again.go)
    return await each(client, name, 1)


@script
async def cron_that_is_none(client: Client, name: str) -> list[Any]:
    found = await told(started(client, name, "", "each day"))
    delayed = started(client, name, "", "@every 2s", start_delay=seconds(1))
    return [str(found).partition(":")[0], await told(delayed)]


@script
async def cron_child_is_left(client: Client, name: str) -> list[Any]:
    return [await told(client.execute_workflow(AgainParent.run, id=name, task_queue=name))]


# ---- schedules


def schedule(name: str, how: str, every: float = 3_600, **options: Any) -> Schedule:
    action = ScheduleActionStartWorkflow(Again.run, how, id=f"{name}-scheduled", task_queue=name)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=every))])
    return Schedule(action=action, spec=spec, **options)


async def seen(handle: Any) -> list[Any]:
    """What a description says, but for times."""
    found = await handle.describe()
    info, state = found.info, found.schedule.state
    return [
        info.num_actions, info.num_actions_missed_catchup_window,
        info.num_actions_skipped_overlap, len(info.running_actions), len(info.recent_actions),
        state.paused, state.note, state.remaining_actions, len(info.next_action_times),
    ]  # fmt: skip


async def results(client: Client, handle: Any) -> list[Any]:
    """What the workflows that it has started say."""
    found = []
    for one in (await handle.describe()).info.recent_actions:
        begun = one.action
        workflow = client.get_workflow_handle(
            begun.workflow_id, run_id=begun.first_execution_run_id
        )
        found.append(await told(workflow.result()))
    return found


@script
async def schedule_is_triggered(client: Client, name: str) -> list[Any]:
    handle = await client.create_schedule(f"{name}-plan", schedule(name, ""))
    await handle.trigger()
    await asyncio.sleep(2)
    await handle.trigger()
    await asyncio.sleep(2)
    found = [await seen(handle), await results(client, handle)]
    again = client.create_schedule(f"{name}-plan", schedule(name, ""))
    try:
        await again
    except ScheduleAlreadyRunningError as error:
        found.append(f"{type(error).__name__}: {error}")
    await handle.delete()
    return [*found, str(await told(handle.describe())).partition(":")[0]]


@script
async def schedule_runs_by_itself(client: Client, name: str) -> list[Any]:
    handle = await client.create_schedule(
        f"{name}-plan",
        schedule(name, "", every=2, state=ScheduleState(limited_actions=True, remaining_actions=2)),
    )
    await asyncio.sleep(7)
    found = [await seen(handle), await results(client, handle)]
    await handle.delete()
    return found


@script
async def schedule_is_paused(client: Client, name: str) -> list[Any]:
    handle = await client.create_schedule(
        f"{name}-plan",
        schedule(name, "", every=2, state=ScheduleState(paused=True, note="not yet")),
    )
    await asyncio.sleep(3)
    found = [(await seen(handle))[:8]]
    await handle.trigger()
    await asyncio.sleep(1)
    found.append((await seen(handle))[:8])
    await handle.unpause(note="go")
    await asyncio.sleep(3)
    found.append((await handle.describe()).info.num_actions > 1)
    await handle.pause(note="stop")
    found.append((await seen(handle))[5:7])
    await handle.delete()
    return found


async def overlapping(client: Client, name: str, policy: ScheduleOverlapPolicy) -> list[Any]:
    """It is triggered three times while the first workflow goes on."""
    handle = await client.create_schedule(
        f"{name}-plan", schedule(name, "wait", policy=SchedulePolicy(overlap=policy))
    )
    for _ in range(3):
        await handle.trigger()
        await asyncio.sleep(1.5)
    found = [await seen(handle)]
    begun = (await handle.describe()).info.recent_actions
    for one in begun:
        workflow = client.get_workflow_handle(one.action.workflow_id)
        found.append((await workflow.describe()).status.name)
    first = client.get_workflow_handle(begun[0].action.workflow_id)
    await told(first.signal(Again.go))
    await asyncio.sleep(2)
    found.append(await seen(handle))
    await handle.delete()
    return found


@script
async def schedule_skips_what_overlaps(client: Client, name: str) -> list[Any]:
    return await overlapping(client, name, ScheduleOverlapPolicy.SKIP)


@script
async def schedule_buffers_one(client: Client, name: str) -> list[Any]:
    return await overlapping(client, name, ScheduleOverlapPolicy.BUFFER_ONE)


@script
async def schedule_buffers_all(client: Client, name: str) -> list[Any]:
    return await overlapping(client, name, ScheduleOverlapPolicy.BUFFER_ALL)


@script
async def schedule_cancels_the_other(client: Client, name: str) -> list[Any]:
    return await overlapping(client, name, ScheduleOverlapPolicy.CANCEL_OTHER)


@script
async def schedule_terminates_the_other(client: Client, name: str) -> list[Any]:
    return await overlapping(client, name, ScheduleOverlapPolicy.TERMINATE_OTHER)


@script
async def schedule_allows_all(client: Client, name: str) -> list[Any]:
    return await overlapping(client, name, ScheduleOverlapPolicy.ALLOW_ALL)


@script
async def schedule_pauses_when_a_run_fails(client: Client, name: str) -> list[Any]:
    handle = await client.create_schedule(
        f"{name}-plan", schedule(name, "fails", policy=SchedulePolicy(pause_on_failure=True))
    )
    await handle.trigger()
    await asyncio.sleep(2)
    await seen(handle)  # which has the real one look how its workflows are
    await asyncio.sleep(1)
    found = await seen(handle)
    await handle.delete()
    return [found[0], found[5], str(found[6]).rpartition(": ")[2]]


@script
async def schedule_is_filled_in(client: Client, name: str) -> list[Any]:
    handle = await client.create_schedule(f"{name}-plan", schedule(name, "", every=3_600))
    day = datetime(2020, 1, 1, tzinfo=UTC)
    await handle.backfill(
        ScheduleBackfill(
            start_at=day, end_at=day + timedelta(hours=2, minutes=30),
            overlap=ScheduleOverlapPolicy.BUFFER_ALL,
        )
    )  # fmt: skip
    await asyncio.sleep(4)
    found = [await seen(handle)]
    begun = (await handle.describe()).info.recent_actions
    found.append([one.action.workflow_id.removeprefix(name) for one in begun])
    await handle.delete()
    return found


@script
async def schedule_is_updated(client: Client, name: str) -> list[Any]:
    handle = await client.create_schedule(f"{name}-plan", schedule(name, "", every=3_600))

    async def sooner(asked: Any) -> ScheduleUpdate:
        changed = asked.description.schedule
        changed.spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=2))])
        changed.state.limited_actions, changed.state.remaining_actions = True, 1
        return ScheduleUpdate(schedule=changed)

    await handle.update(sooner)
    await asyncio.sleep(5)
    found = [await seen(handle), await results(client, handle)]
    await handle.delete()
    return found
