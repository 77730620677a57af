"""What a client does, as code that runs on a real server and on ours: answers are compared too."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateStage
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from tests.orchestrators.temporal.scripts.workflows import (
    ByHand,
    Family,
    Ledger,
    Locally,
    LocallyBackedOff,
    LocallyCancelled,
    LocallyFlaky,
    LocallyLong,
    LocallyTimedOut,
    LocallyTwoAtOnce,
    Noted,
    Parent,
    Teller,
    TwoChildren,
    seconds,
)

Script = Callable[[Client, str], Awaitable[list[Any]]]
SCRIPTS: dict[str, Script] = {}


def script(function: Script) -> Script:
    SCRIPTS[function.__name__.replace("_", "-")] = function
    return function


async def told(asked: Awaitable[Any]) -> Any:
    """What a client sees: an answer, or an error in words."""
    try:
        return await asked
    except Exception as error:
        cause = f", {type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else ""
        return f"{type(error).__name__}: {error}{cause}"


async def ledger(client: Client, name: str) -> Any:
    return await client.start_workflow(Ledger.run, id=name, task_queue=name)


@script
async def update(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = [await told(handle.execute_update(Ledger.add, "a", id="u1"))]
    await handle.signal(Ledger.close)
    return [*found, await told(handle.result())]


@script
async def update_rejected(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = [await told(handle.execute_update(Ledger.add, "", id="u1"))]
    await handle.signal(Ledger.close)
    return [*found, await told(handle.result())]


@script
async def update_rejected_and_accepted(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = [await told(handle.execute_update(Ledger.add, "", id="u1"))]
    found += [await told(handle.execute_update(Ledger.add, "b", id="u2"))]
    found += [await told(handle.execute_update(Ledger.add, "", id="u3"))]
    await handle.signal(Ledger.close)
    return [*found, await told(handle.result())]


@script
async def update_twice_with_one_id(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = [await told(handle.execute_update(Ledger.add, "a", id="u1")) for _ in range(2)]
    await handle.signal(Ledger.close)
    return [*found, await told(handle.result())]


@script
async def update_fails(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = [await told(handle.execute_update(Ledger.refuse, "a", id="u1"))]
    await handle.signal(Ledger.close)
    return [*found, await told(handle.result())]


@script
async def update_with_an_activity(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = [await told(handle.execute_update(Ledger.add_charged, "a", id="u1"))]
    await handle.signal(Ledger.close)
    return [*found, await told(handle.result())]


@script
async def update_that_takes_time(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    update = await handle.start_update(
        Ledger.add_later, "a", id="u1", wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    await handle.signal(Ledger.write, "b")
    await asyncio.sleep(0.2)
    await handle.signal(Ledger.close)
    found = [await told(update.result())]
    return [*found, await told(handle.result())]


@script
async def update_of_a_name_that_there_is_not(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = [await told(handle.execute_update("nothing", "a", id="u1"))]
    await handle.signal(Ledger.close)
    return [str(found[0]).split("known")[0], await told(handle.result())]


@script
async def update_after_the_end(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    await handle.signal(Ledger.close)
    found = [await told(handle.result())]
    return [*found, await told(handle.execute_update(Ledger.add, "a", id="u1"))]


@script
async def update_again_after_the_end(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = [await told(handle.execute_update(Ledger.add, "a", id="u1"))]
    await handle.signal(Ledger.close)
    found += [await told(handle.result())]
    return [*found, await told(handle.execute_update(Ledger.add, "a", id="u1"))]


@script
async def update_is_out_at_the_end(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    update = await handle.start_update(
        Ledger.add_later, "a", id="u1", wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    await handle.terminate("enough")
    return [await told(update.result()), await told(handle.result())]


@script
async def update_with_start(client: Client, name: str) -> list[Any]:
    def start() -> WithStartWorkflowOperation[Any, Any]:
        return WithStartWorkflowOperation(
            Ledger.run,
            id=name,
            task_queue=name,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )

    found = []
    for entry in ("a", "b"):
        operation = start()
        found.append(
            await told(
                client.execute_update_with_start_workflow(
                    Ledger.add, entry, id=f"u-{entry}", start_workflow_operation=operation
                )
            )
        )
    handle = await operation.workflow_handle()
    await handle.signal(Ledger.close)
    return [*found, await told(handle.result())]


@script
async def two_updates_one_after_the_other(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    await asyncio.sleep(0.5)
    found = []
    for entry in ("a", "b"):
        found.append(await told(handle.execute_update(Ledger.add, entry, id=f"u-{entry}")))
        await handle.signal(Ledger.write, f"after {entry}")
    await handle.signal(Ledger.close)
    return [*found, await told(handle.result())]


async def started_again(client: Client, name: str, *, over: bool, **policies: Any) -> list[Any]:
    """Start one workflow id twice; tell whether the second is a run of its own."""
    first = await ledger(client, name)
    await asyncio.sleep(0.5)
    if over:
        await first.signal(Ledger.close)
        await first.result()
    second = await told(client.start_workflow(Ledger.run, id=name, task_queue=name, **policies))
    if isinstance(second, str):
        return [second.replace(name, "ID"), over or await told(first.terminate("enough"))]
    await asyncio.sleep(0.5)
    await second.signal(Ledger.close)
    found = [second.result_run_id == first.result_run_id, await told(second.result())]
    return [*found, str(await told(first.result())).replace(name, "ID")]


@script
async def start_again_while_it_runs(client: Client, name: str) -> list[Any]:
    return await started_again(client, name, over=False)


@script
async def start_again_and_use_what_runs(client: Client, name: str) -> list[Any]:
    use = WorkflowIDConflictPolicy.USE_EXISTING
    return await started_again(client, name, over=False, id_conflict_policy=use)


@script
async def start_again_and_terminate_what_runs(client: Client, name: str) -> list[Any]:
    end = WorkflowIDConflictPolicy.TERMINATE_EXISTING
    return await started_again(client, name, over=False, id_conflict_policy=end)


@script
async def start_again_what_is_over(client: Client, name: str) -> list[Any]:
    return await started_again(client, name, over=True)


@script
async def start_again_what_is_over_and_is_refused(client: Client, name: str) -> list[Any]:
    reject = WorkflowIDReusePolicy.REJECT_DUPLICATE
    return await started_again(client, name, over=True, id_reuse_policy=reject)


@script
async def start_again_only_what_has_failed(client: Client, name: str) -> list[Any]:
    failed = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
    return await started_again(client, name, over=True, id_reuse_policy=failed)


@script
async def query(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    found = [await told(handle.query(Ledger.entries_so_far))]
    await handle.signal(Ledger.write, "a")
    found += [await told(handle.query(Ledger.entries_so_far))]
    found += [await told(handle.query(Ledger.cannot))]
    found += [str(await told(handle.query("nothing"))).split(", known")[0]]
    await handle.signal(Ledger.close)
    found += [await told(handle.result())]
    return [*found, await told(handle.query(Ledger.entries_so_far))]


@script
async def query_of_nothing(client: Client, name: str) -> list[Any]:
    handle = client.get_workflow_handle(name)
    return [str(await told(handle.query("entries_so_far"))).replace(name, "ID")]


@script
async def local_activities(client: Client, name: str) -> list[Any]:
    asked = client.execute_workflow(Locally.run, ["a", "b", "c"], id=name, task_queue=name)
    return [await told(asked)]


@script
async def local_activities_side_by_side(client: Client, name: str) -> list[Any]:
    return [await told(client.execute_workflow(LocallyTwoAtOnce.run, id=name, task_queue=name))]


@script
async def local_activity_works_at_the_third_attempt(client: Client, name: str) -> list[Any]:
    asked = client.execute_workflow(LocallyFlaky.run, args=[3, 5], id=name, task_queue=name)
    return [await told(asked)]


@script
async def local_activity_never_works(client: Client, name: str) -> list[Any]:
    asked = client.execute_workflow(LocallyFlaky.run, args=[9, 3], id=name, task_queue=name)
    return [await told(asked)]


@script
async def local_activity_backs_off(client: Client, name: str) -> list[Any]:
    return [await told(client.execute_workflow(LocallyBackedOff.run, id=name, task_queue=name))]


@script
async def local_activity_is_longer_than_a_task(client: Client, name: str) -> list[Any]:
    asked = client.execute_workflow(
        LocallyLong.run, 2.0, id=name, task_queue=name, task_timeout=seconds(1)
    )
    return [await told(asked)]


@script
async def local_activity_times_out(client: Client, name: str) -> list[Any]:
    return [await told(client.execute_workflow(LocallyTimedOut.run, id=name, task_queue=name))]


@script
async def signal_while_a_local_activity_runs(client: Client, name: str) -> list[Any]:
    handle = await client.start_workflow(LocallyLong.run, 1.0, id=name, task_queue=name)
    await asyncio.sleep(0.3)
    await handle.signal("anything")
    return [await told(handle.result())]


@script
async def signal_of_another_workflow(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    asked = client.execute_workflow(
        Teller.run, args=[name, "signal"], id=f"{name}-teller", task_queue=name
    )
    return [await told(asked), await told(handle.result())]


@script
async def cancellation_of_another_workflow(client: Client, name: str) -> list[Any]:
    handle = await ledger(client, name)
    asked = client.execute_workflow(
        Teller.run, args=[name, "cancel"], id=f"{name}-teller", task_queue=name
    )
    return [await told(asked), await told(handle.result())]


@script
async def signal_of_nobody(client: Client, name: str) -> list[Any]:
    asked = client.execute_workflow(
        Teller.run, args=["nobody", "signal"], id=f"{name}-teller", task_queue=name
    )
    return [await told(asked)]


@script
async def cancellation_of_nobody(client: Client, name: str) -> list[Any]:
    asked = client.execute_workflow(
        Teller.run, args=["nobody", "cancel"], id=f"{name}-teller", task_queue=name
    )
    return [await told(asked)]


@script
async def signal_of_a_child(client: Client, name: str) -> list[Any]:
    return [await told(client.execute_workflow(Parent.run, id=name, task_queue=name))]


@script
async def memo(client: Client, name: str) -> list[Any]:
    return [await told(client.execute_workflow(Noted.run, id=name, task_queue=name))]


@script
async def child_is_cancelled_with_its_parent(client: Client, name: str) -> list[Any]:
    handle = await client.start_workflow(Family.run, "wait", id=name, task_queue=name)
    await asyncio.sleep(0.3)
    await handle.cancel()
    return [await told(handle.result())]


@script
async def child_is_cancelled_and_not_waited_for(client: Client, name: str) -> list[Any]:
    handle = await client.start_workflow(Family.run, "try", id=name, task_queue=name)
    await asyncio.sleep(0.3)
    await handle.cancel()
    return [await told(handle.result())]


async def parent_ends(client: Client, name: str, how: str) -> list[Any]:
    found = [await told(client.execute_workflow(Family.run, how, id=name, task_queue=name))]
    return [*found, await told(client.get_workflow_handle(f"{name}-child").result())]


@script
async def parent_ends_and_the_child_is_terminated(client: Client, name: str) -> list[Any]:
    return await parent_ends(client, name, "leave")


@script
async def parent_ends_and_the_child_goes_on(client: Client, name: str) -> list[Any]:
    return await parent_ends(client, name, "abandon")


@script
async def parent_ends_and_the_child_is_cancelled(client: Client, name: str) -> list[Any]:
    return await parent_ends(client, name, "ask")


@script
async def two_children_at_once(client: Client, name: str) -> list[Any]:
    return [await told(client.execute_workflow(TwoChildren.run, id=name, task_queue=name))]


@script
async def activity_completed_by_somebody_else(client: Client, name: str) -> list[Any]:
    handle = await client.start_workflow(ByHand.run, "a", id=name, task_queue=name)
    await asyncio.sleep(0.3)
    work = client.get_async_activity_handle(workflow_id=name, run_id=None, activity_id="by-hand")
    await work.heartbeat("half")
    await work.complete("done by hand")
    found = [await told(work.complete("again"))]
    return [*found, await told(handle.result())]


@script
async def activity_failed_by_somebody_else(client: Client, name: str) -> list[Any]:
    handle = await client.start_workflow(ByHand.run, "a", id=name, task_queue=name)
    await asyncio.sleep(0.3)
    work = client.get_async_activity_handle(workflow_id=name, run_id=None, activity_id="by-hand")
    await work.fail(ValueError("no"))
    return [await told(handle.result())]


@script
async def local_activity_is_cancelled(client: Client, name: str) -> list[Any]:
    asked = client.execute_workflow(LocallyCancelled.run, False, id=name, task_queue=name)
    return [await told(asked)]


@script
async def local_activity_is_cancelled_and_waited_for(client: Client, name: str) -> list[Any]:
    asked = client.execute_workflow(LocallyCancelled.run, True, id=name, task_queue=name)
    return [await told(asked)]
