"""Starts with timeouts, retries of the workflow and delays, as a client asks for them."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError

from tests.orchestrators.temporal.scripts.scripts import SCRIPTS, script, told
from tests.orchestrators.temporal.scripts.workflows import WORKFLOWS, seconds

__all__ = ["SCRIPTS"]


@workflow.defn
class Limited:
    """Does what it is told to, and says what it knows of its limits."""

    def __init__(self) -> None:
        self.gone = False

    @workflow.run
    async def run(self, how: str, number: float = 0) -> Any:
        info = workflow.info()
        match how:
            case "sleep":
                await workflow.sleep(number)
            case "flaky":
                if info.attempt < number:
                    raise ApplicationError(f"attempt {info.attempt}", type="Flaky")
                return [info.attempt, str(workflow.get_last_failure())]
            case "fatal":
                raise ApplicationError("no", type="Fatal", non_retryable=True)
            case "takes":
                await workflow.execute_activity("takes", number, start_to_close_timeout=seconds(30))
            case "again" if number:
                await workflow.sleep(0.2)
                workflow.continue_as_new(args=[how, number - 1])
            case "again shorter" if number:
                workflow.continue_as_new(args=["sleep", 3], run_timeout=seconds(0.6))
            case "signal":
                await workflow.wait_condition(lambda: self.gone)
        return [_text(info.run_timeout), _text(info.execution_timeout), _policy(info.retry_policy)]

    @workflow.signal
    def go(self) -> None:
        self.gone = True


def _text(lasting: timedelta | None) -> str:
    return str(lasting)


def _policy(policy: RetryPolicy | None) -> Any:
    if policy is None:
        return None
    first, most = policy.initial_interval, policy.maximum_interval
    return [str(first), policy.backoff_coefficient, str(most), policy.maximum_attempts]


WORKFLOWS.append(Limited)


async def limited(
    client: Client, name: str, *arguments: Any, **options: Any
) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        Limited.run, args=list(arguments), id=name, task_queue=name, **options
    )


async def ended(client: Client, name: str, *arguments: Any, **options: Any) -> list[Any]:
    handle = await limited(client, name, *arguments, **options)
    return [await told(handle.result())]


def tried(times: int, first: float = 0.3, **options: Any) -> RetryPolicy:
    return RetryPolicy(initial_interval=seconds(first), maximum_attempts=times, **options)


@script
async def run_timeout(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "sleep", 5, run_timeout=seconds(1))


@script
async def run_timeout_while_an_activity_runs(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "takes", 2, run_timeout=seconds(1))


@script
async def execution_timeout(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "sleep", 5, execution_timeout=seconds(1))


@script
async def limits_are_known(client: Client, name: str) -> list[Any]:
    return await ended(
        client, name, "", run_timeout=seconds(50), execution_timeout=seconds(40),
        retry_policy=tried(3),
    )  # fmt: skip


@script
async def workflow_is_tried_again(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "flaky", 3, retry_policy=tried(5))


@script
async def workflow_is_tried_often_enough(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "flaky", 9, retry_policy=tried(2))


@script
async def workflow_is_not_tried_again_for_good(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "fatal", retry_policy=tried(5))


@script
async def workflow_is_not_tried_again_by_type(client: Client, name: str) -> list[Any]:
    policy = tried(5, non_retryable_error_types=["Flaky"])
    return await ended(client, name, "flaky", 3, retry_policy=policy)


@script
async def workflow_that_timed_out_is_tried_again(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "sleep", 5, run_timeout=seconds(1), retry_policy=tried(2))


@script
async def retries_end_with_the_execution(client: Client, name: str) -> list[Any]:
    return await ended(
        client, name, "flaky", 9, execution_timeout=seconds(1.5), retry_policy=tried(0, 1)
    )


@script
async def continued_runs_keep_their_limits(client: Client, name: str) -> list[Any]:
    return await ended(
        client, name, "again", 1, execution_timeout=seconds(60), run_timeout=seconds(30),
        retry_policy=tried(4),
    )  # fmt: skip


@script
async def continued_run_has_another_timeout(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "again shorter", 1, run_timeout=seconds(30))


@script
async def execution_timeout_ends_the_chain(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "again", 9, execution_timeout=seconds(2.5))


@script
async def start_delay(client: Client, name: str) -> list[Any]:
    return await ended(client, name, "sleep", 0.2, start_delay=seconds(1))


@script
async def start_delay_and_a_signal(client: Client, name: str) -> list[Any]:
    handle = await limited(client, name, "signal", start_delay=seconds(1))
    await asyncio.sleep(0.2)
    await handle.signal(Limited.go)
    return [await told(handle.result())]


@script
async def start_delay_and_a_signal_with_start(client: Client, name: str) -> list[Any]:
    options: dict[str, Any] = {"start_signal": "go", "start_delay": seconds(20)}
    await limited(client, name, "signal", **options)
    await asyncio.sleep(0.2)
    handle = await limited(client, name, "signal", **options)
    return [await told(handle.result())]


@script
async def start_delay_and_cancellation(client: Client, name: str) -> list[Any]:
    handle = await limited(client, name, "sleep", 5, start_delay=seconds(1))
    await asyncio.sleep(0.2)
    await handle.cancel()
    return [await told(handle.result())]


@script
async def start_delay_and_termination(client: Client, name: str) -> list[Any]:
    handle = await limited(client, name, "sleep", 5, start_delay=seconds(20))
    await asyncio.sleep(0.2)
    await handle.terminate("enough")
    return [await told(handle.result())]


@script
async def start_delay_and_a_timeout(client: Client, name: str) -> list[Any]:
    return await ended(
        client, name, "sleep", 5, start_delay=seconds(1), execution_timeout=seconds(1)
    )


@workflow.defn
class LimitedParent:
    """Has a child with limits of its own."""

    @workflow.run
    async def run(self, how: str, number: float, limits: dict[str, float]) -> Any:
        options: dict[str, Any] = {
            name: seconds(value) for name, value in limits.items() if name.endswith("timeout")
        }
        if "tries" in limits:
            options["retry_policy"] = tried(int(limits["tries"]))
        try:
            return await workflow.execute_child_workflow(
                Limited.run,
                args=[how, number],
                id=f"{workflow.info().workflow_id}-child",
                **options,
            )
        except ChildWorkflowError as error:
            cause = error.__cause__
            return [str(error), str(error.retry_state), type(cause).__name__, str(cause)]


WORKFLOWS.append(LimitedParent)


async def with_child(client: Client, name: str, *arguments: Any, **options: Any) -> list[Any]:
    asked = client.execute_workflow(
        LimitedParent.run, args=list(arguments), id=name, task_queue=name, **options
    )
    return [await told(asked)]


@script
async def child_with_a_run_timeout(client: Client, name: str) -> list[Any]:
    return await with_child(client, name, "sleep", 5, {"run_timeout": 1})


@script
async def child_with_an_execution_timeout(client: Client, name: str) -> list[Any]:
    return await with_child(client, name, "sleep", 5, {"execution_timeout": 1})


@script
async def child_is_tried_again(client: Client, name: str) -> list[Any]:
    return await with_child(client, name, "flaky", 2, {"tries": 3})


@script
async def child_is_tried_often_enough(client: Client, name: str) -> list[Any]:
    return await with_child(client, name, "flaky", 9, {"tries": 2})


@script
async def child_that_timed_out_is_tried_again(client: Client, name: str) -> list[Any]:
    return await with_child(client, name, "sleep", 5, {"run_timeout": 1, "tries": 2})


@script
async def child_knows_its_limits(client: Client, name: str) -> list[Any]:
    limits = {"run_timeout": 50, "execution_timeout": 40, "tries": 3}
    return await with_child(client, name, "", 0, limits)


@script
async def child_has_no_limits_of_its_parent(client: Client, name: str) -> list[Any]:
    return await with_child(
        client, name, "", 0, {}, run_timeout=seconds(30), execution_timeout=seconds(60),
        retry_policy=tried(3),
    )  # fmt: skip


@script
async def child_outlasts_a_timeout_of_its_parent(client: Client, name: str) -> list[Any]:
    return await with_child(client, name, "sleep", 5, {"run_timeout": 50}, run_timeout=seconds(1))


@script
async def child_is_terminated(client: Client, name: str) -> list[Any]:
    asked = asyncio.ensure_future(with_child(client, name, "signal", 0, {}))
    await asyncio.sleep(0.5)
    await client.get_workflow_handle(f"{name}-child").terminate("enough")
    return await asked
