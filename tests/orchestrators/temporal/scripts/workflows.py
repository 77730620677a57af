"""Workflows and activities that scripts play, on a real Temporal server and on ours."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

ACTIVITIES: list[Callable[..., Any]] = []
WORKFLOWS: list[type] = []


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@activity.defn
async def charge(order: str) -> str:
    return f"charged {order}"


@activity.defn
async def fails_until(attempt: int) -> str:
    if activity.info().attempt < attempt:
        raise ApplicationError(f"attempt {activity.info().attempt}", type="Flaky")
    return f"worked at attempt {activity.info().attempt}"


@activity.defn
async def takes(duration: float) -> str:
    await asyncio.sleep(duration)
    return f"took {duration}"


ACTIVITIES += [charge, fails_until, takes]


@workflow.defn
class Ledger:
    """Entries come as updates; it ends when it is told to."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.closed = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.closed)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.entries

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.signal
    def write(self, entry: str) -> None:
        self.entries.append(entry)

    @workflow.query
    def entries_so_far(self) -> list[str]:
        return self.entries

    @workflow.query
    def cannot(self) -> str:
        raise ValueError("no such page")

    @workflow.update
    async def add(self, entry: str) -> int:
        self.entries.append(entry)
        return len(self.entries)

    @add.validator
    def not_empty(self, entry: str) -> None:
        if not entry:
            raise ValueError("an empty entry")

    @workflow.update
    async def add_charged(self, entry: str) -> str:
        told = await workflow.execute_activity(charge, entry, start_to_close_timeout=seconds(5))
        self.entries.append(told)
        return told

    @workflow.update
    async def add_later(self, entry: str) -> int:
        await asyncio.sleep(0.5)
        self.entries.append(entry)
        return len(self.entries)

    @workflow.update
    async def refuse(self, entry: str) -> None:
        raise ApplicationError(f"refused {entry}", type="Refused")


@workflow.defn
class Locally:
    """Local activities, one after the other."""

    @workflow.run
    async def run(self, orders: list[str]) -> list[str]:
        found = []
        for order in orders:
            found.append(
                await workflow.execute_local_activity(
                    charge, order, start_to_close_timeout=seconds(5)
                )
            )
        return found


@workflow.defn
class LocallyTwoAtOnce:
    """Two local activities side by side, and a timer."""

    @workflow.run
    async def run(self) -> list[str]:
        both = [
            workflow.execute_local_activity(takes, one, start_to_close_timeout=seconds(5))
            for one in (0.3, 0.1)
        ]
        found = list(await asyncio.gather(*both))
        await asyncio.sleep(0.2)
        return found


@workflow.defn
class LocallyFlaky:
    """A local activity that fails some times first."""

    @workflow.run
    async def run(self, attempt: int, attempts_max: int) -> str:
        policy = RetryPolicy(
            initial_interval=seconds(0.1), backoff_coefficient=1.0, maximum_attempts=attempts_max
        )
        return await workflow.execute_local_activity(
            fails_until, attempt, start_to_close_timeout=seconds(5), retry_policy=policy
        )


@workflow.defn
class LocallyBackedOff:
    """A local activity whose pause is longer than what is waited for in a workflow task."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_local_activity(
            fails_until,
            2,
            start_to_close_timeout=seconds(5),
            local_retry_threshold=seconds(0.2),
            retry_policy=RetryPolicy(initial_interval=seconds(0.5), backoff_coefficient=1.0),
        )


@workflow.defn
class LocallyLong:
    """A local activity that takes longer than a workflow task."""

    @workflow.run
    async def run(self, duration: float) -> str:
        return await workflow.execute_local_activity(
            takes, duration, start_to_close_timeout=seconds(20)
        )


@workflow.defn
class LocallyTimedOut:
    """A local activity that takes longer than it may."""

    @workflow.run
    async def run(self) -> str:
        try:
            return await workflow.execute_local_activity(
                takes,
                2.0,
                start_to_close_timeout=seconds(0.3),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except Exception as error:
            return f"{type(error).__name__}, {type(error.__cause__).__name__}"


@workflow.defn
class Teller:
    """Tells another workflow, or asks it to end."""

    @workflow.run
    async def run(self, other: str, how: str) -> str:
        handle = workflow.get_external_workflow_handle(other)
        try:
            if how == "signal":
                await handle.signal("write", "told")
                await handle.signal("close")
            else:
                await handle.cancel()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "told"


@workflow.defn
class Parent:
    """Tells its child, and waits for it."""

    @workflow.run
    async def run(self) -> list[str]:
        child = await workflow.start_child_workflow(
            Ledger.run, id=f"{workflow.info().workflow_id}-child"
        )
        await child.signal(Ledger.write, "from above")
        await child.signal(Ledger.close)
        return await child


@workflow.defn
class Noted:
    """Notes things about itself."""

    @workflow.run
    async def run(self) -> str:
        workflow.upsert_memo({"step": "one"})
        await asyncio.sleep(0.1)
        workflow.upsert_memo({"step": "two"})
        return str(workflow.memo_value("step"))


@workflow.defn
class Sleeper:
    """Sleeps, and says so where it is woken."""

    @workflow.run
    async def run(self, duration: float) -> str:
        await asyncio.sleep(duration)
        return "slept"


@workflow.defn
class Family:
    """A child, and a parent that ends, or is cancelled, before it."""

    @workflow.run
    async def run(self, how: str) -> str:
        policy = {
            "abandon": ParentClosePolicy.ABANDON,
            "ask": ParentClosePolicy.REQUEST_CANCEL,
        }.get(how, ParentClosePolicy.TERMINATE)
        child = await workflow.start_child_workflow(
            Sleeper.run,
            1.0,
            id=f"{workflow.info().workflow_id}-child",
            parent_close_policy=policy,
            cancellation_type=ChildWorkflowCancellationType.TRY_CANCEL
            if how == "try"
            else ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        if how in ("abandon", "ask", "leave"):
            await asyncio.sleep(0.3)
            return "gone"
        try:
            return await child
        except BaseException as error:
            return f"{type(error).__name__}, {type(error.__cause__).__name__}"


@workflow.defn
class TwoChildren:
    """Two children that are asked for in one go."""

    @workflow.run
    async def run(self) -> list[str]:
        name = workflow.info().workflow_id
        both = [
            workflow.execute_child_workflow(Sleeper.run, one, id=f"{name}-child-{one}")
            for one in (0.2, 0.4)
        ]
        return list(await asyncio.gather(*both))


@activity.defn
async def by_hand(order: str) -> str:
    activity.raise_complete_async()


ACTIVITIES.append(by_hand)


@workflow.defn
class ByHand:
    """An activity that somebody else completes."""

    @workflow.run
    async def run(self, order: str) -> str:
        return await workflow.execute_activity(
            by_hand,
            order,
            activity_id="by-hand",
            start_to_close_timeout=seconds(5),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@workflow.defn
class LocallyCancelled:
    """A local activity that the workflow itself cancels."""

    @workflow.run
    async def run(self, wait: bool) -> str:
        kind = workflow.ActivityCancellationType.TRY_CANCEL
        if wait:
            kind = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        running = workflow.start_local_activity(
            takes, 0.5, start_to_close_timeout=seconds(5), cancellation_type=kind
        )
        await workflow.execute_local_activity(takes, 0.1, start_to_close_timeout=seconds(5))
        running.cancel()
        try:
            return await running
        except BaseException as error:
            return f"{type(error).__name__}, {type(error.__cause__).__name__}"


WORKFLOWS += [
    ByHand,
    Family,
    Sleeper,
    TwoChildren,
    LocallyCancelled,
    Ledger,
    Locally,
    LocallyBackedOff,
    LocallyFlaky,
    LocallyLong,
    LocallyTimedOut,
    LocallyTwoAtOnce,
    Noted,
    Parent,
    Teller,
]
