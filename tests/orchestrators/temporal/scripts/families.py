"""Scripts about children: that fail, whose id is taken, and what becomes of them."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from tests.orchestrators.temporal.scripts.scripts import SCRIPTS, script, told
from tests.orchestrators.temporal.scripts.workflows import WORKFLOWS, Sleeper, takes

__all__ = ["SCRIPTS"]


@workflow.defn
class Fails:
    """Fails, for good or not."""

    @workflow.run
    async def run(self, how: str) -> str:
        if how == "locally":
            return await workflow.execute_local_activity(
                takes, 0.1, start_to_close_timeout=timedelta(seconds=5)
            )
        raise ApplicationError("no", how, type="Refused", non_retryable=how == "for good")


@workflow.defn
class Grand:
    """Has a child of its own, which is still there when it ends."""

    @workflow.run
    async def run(self) -> str:
        name = f"{workflow.info().workflow_id}-1"
        await workflow.start_child_workflow(Sleeper.run, 1.0, id=name)
        await asyncio.sleep(0.2)
        return "gone"


def seen(error: BaseException | None) -> list[str]:
    """Return an error and its causes."""
    found: list[str] = []
    while error is not None:
        found.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return found


@workflow.defn
class Begins:
    """Begins a child in one of many ways."""

    @workflow.run
    async def run(self, how: str) -> list[str]:
        name = f"{workflow.info().workflow_id}-child"
        try:
            found: list[str] = await getattr(self, how)(name)
            return found
        except Exception as error:
            if how in ("fails_itself", "goes_on_anew"):
                raise
            return seen(error)

    async def fails(self, name: str) -> list[str]:
        policy = RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_attempts=2)
        return [await workflow.execute_child_workflow(
            Fails.run, "now and then", id=name, retry_policy=policy)]  # fmt: skip

    async def fails_for_good(self, name: str) -> list[str]:
        return [await workflow.execute_child_workflow(Fails.run, "for good", id=name)]

    async def locally(self, name: str) -> list[str]:
        return [await workflow.execute_child_workflow(Fails.run, "locally", id=name)]

    async def taken(self, name: str) -> list[str]:
        await workflow.start_child_workflow(Sleeper.run, 0.5, id=name)
        return [await workflow.execute_child_workflow(Sleeper.run, 0.1, id=name)]

    async def twice(self, name: str) -> list[str]:
        first = await workflow.execute_child_workflow(Sleeper.run, 0.1, id=name)
        return [first, await workflow.execute_child_workflow(Sleeper.run, 0.1, id=name)]

    async def once(self, name: str) -> list[str]:
        first = await workflow.execute_child_workflow(Sleeper.run, 0.1, id=name)
        policy = WorkflowIDReusePolicy.REJECT_DUPLICATE
        try:
            await workflow.execute_child_workflow(Sleeper.run, 0.1, id=name, id_reuse_policy=policy)
        except Exception as error:
            return [first, *seen(error)]
        return [first, "again"]

    async def instead(self, name: str) -> list[str]:
        first = await workflow.start_child_workflow(Sleeper.run, 0.5, id=name)
        policy = WorkflowIDReusePolicy.TERMINATE_IF_RUNNING
        second = await workflow.execute_child_workflow(
            Sleeper.run, 0.1, id=name, id_reuse_policy=policy
        )
        try:
            return [second, await first]
        except Exception as error:
            return [second, *seen(error)]

    async def once_unless_it_failed(self, name: str) -> list[str]:
        policy = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        found = []
        for _ in range(2):
            try:
                await workflow.execute_child_workflow(
                    Fails.run, "for good", id=name, id_reuse_policy=policy
                )
            except Exception as error:
                found += seen(error)
        await workflow.execute_child_workflow(Sleeper.run, 0.1, id=name, id_reuse_policy=policy)
        try:
            await workflow.execute_child_workflow(Sleeper.run, 0.1, id=name, id_reuse_policy=policy)
        except Exception as error:
            found += seen(error)
        return found

    async def cancels(self, name: str) -> list[str]:
        return await self._cancelled(
            name, ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
        )

    async def asks(self, name: str) -> list[str]:
        return await self._cancelled(
            name, ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED
        )

    async def abandons(self, name: str) -> list[str]:
        return await self._cancelled(name, ChildWorkflowCancellationType.ABANDON)

    async def _cancelled(self, name: str, kind: ChildWorkflowCancellationType) -> list[str]:
        child = await workflow.start_child_workflow(
            Sleeper.run,
            0.8,
            id=name,
            cancellation_type=kind,
            parent_close_policy=ParentClosePolicy.ABANDON,
        )
        await asyncio.sleep(0.2)
        child.cancel()
        try:
            return [await child]
        except BaseException as error:
            await asyncio.sleep(0.4)  # the child is told at the same time
            return seen(error)

    async def fails_itself(self, name: str) -> list[str]:
        await workflow.start_child_workflow(Sleeper.run, 0.8, id=name)
        await asyncio.sleep(0.2)
        raise ApplicationError("the parent fails")

    async def goes_on_anew(self, name: str) -> list[str]:
        if workflow.info().continued_run_id:
            await asyncio.sleep(2)
            return ["the next run"]
        await workflow.start_child_workflow(Sleeper.run, 0.8, id=name)
        await asyncio.sleep(0.2)
        workflow.continue_as_new("goes_on_anew")

    async def grand(self, name: str) -> list[str]:
        first = await workflow.execute_child_workflow(Grand.run, id=name)
        return [first]

    async def waits(self, name: str) -> list[str]:
        return [await workflow.execute_child_workflow(Sleeper.run, 1.0, id=name)]

    async def lets_go(self, name: str) -> list[str]:
        policy = ParentClosePolicy.ABANDON
        await workflow.start_child_workflow(Sleeper.run, 0.8, id=name, parent_close_policy=policy)
        return ["gone"]


WORKFLOWS += [Begins, Fails, Grand]


async def begin(client: Client, name: str, how: str) -> list[Any]:
    found = [await told(client.execute_workflow(Begins.run, how, id=name, task_queue=name))]
    return [*found, await told(client.get_workflow_handle(f"{name}-child").result())]


@script
async def child_fails_and_is_tried_again(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "fails")


@script
async def child_fails_for_good(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "fails_for_good")


@script
async def child_with_a_local_activity(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "locally")


@script
async def child_whose_id_is_taken(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "taken")


@script
async def child_of_an_id_that_is_free_again(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "twice")


@script
async def child_of_an_id_that_was_used(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "once")


@script
async def child_of_an_id_that_may_be_used_again_once_it_failed(
    client: Client, name: str
) -> list[Any]:
    return await begin(client, name, "once_unless_it_failed")


@script
async def child_whose_namesake_is_terminated(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "instead")


@script
async def child_is_cancelled_by_its_parent(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "cancels")


@script
async def child_is_asked_to_end(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "asks")


@script
async def child_is_abandoned(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "abandons")


@script
async def parent_fails_and_the_child_is_terminated(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "fails_itself")


@script
async def parent_goes_on_anew_and_its_child_does_not(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "goes_on_anew")


@script
async def child_ends_before_its_own_child(client: Client, name: str) -> list[Any]:
    found = await begin(client, name, "grand")
    return [*found, await told(client.get_workflow_handle(f"{name}-child-1").result())]


@script
async def parent_is_terminated(client: Client, name: str) -> list[Any]:
    handle = await client.start_workflow(Begins.run, "waits", id=name, task_queue=name)
    await asyncio.sleep(0.4)
    await handle.terminate("enough")
    found = [await told(handle.result())]
    return [*found, await told(client.get_workflow_handle(f"{name}-child").result())]


@script
async def child_is_let_go_at_once(client: Client, name: str) -> list[Any]:
    return await begin(client, name, "lets_go")
