"""How much a worker has in hand at once: who waits, who takes over, what starves."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker, WorkerTuner

from chaosharness import System, Temporal, assumed, explore
from chaosharness.errors import InvalidDefinition

MINUTE = timedelta(seconds=60)


@activity.defn
async def slow(n: int) -> int:
    await asyncio.sleep(5)
    return n


@workflow.defn
class Several:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        asked = [
            workflow.execute_activity(slow, n, start_to_close_timeout=MINUTE) for n in range(count)
        ]
        return list(await asyncio.gather(*asked))


@workflow.defn
class Locally:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        asked = [
            workflow.execute_local_activity(slow, n, start_to_close_timeout=MINUTE)
            for n in range(count)
        ]
        return list(await asyncio.gather(*asked))


@workflow.defn
class Once:
    @workflow.run
    async def run(self, count: int) -> str:
        await workflow.execute_local_activity(slow, 1, start_to_close_timeout=MINUTE)
        return "done"


def system_of(what: type, *, count: int = 4, replicas: int = 1, runs: int = 1, **options: Any):
    """A system whose workflow is started so many times."""
    system = System("slots")
    temporal = system.add(Temporal("temporal"))

    @system.service("workers", replicas=replicas)
    def workers(env):
        env.worker(temporal, task_queue="q", workflows=[what], activities=[slow], **options)

    @system.entry(examples=[*range(runs)])
    async def begin(env, n):
        await env.client(temporal).start_workflow(what.run, count, id=f"w{n}", task_queue="q")

    return system


def ends_s(run) -> list[int]:
    """When activities ended, in whole seconds."""
    return [
        e.at_ms // 1000 for e in run.history.of("handled") if e.operation.endswith("slow/handle")
    ]


def done(run) -> int:
    return sum("WORKFLOW_EXECUTION_COMPLETED" in one for one in run.event_histories.values())


@pytest.mark.parametrize(("most", "ends"), [(None, [5, 5, 5, 5]), (1, [5, 10, 15, 20]),
                                            (3, [5, 5, 5, 10])])  # fmt: skip
def test_so_many_activities_at_once(most: int | None, ends: list[int]) -> None:
    run = system_of(Several, max_concurrent_activities=most).run()
    assert ends_s(run) == ends
    assert done(run) == 1


def test_another_worker_takes_what_one_has_no_slot_for() -> None:
    run = system_of(Several, replicas=2, max_concurrent_activities=1).run()
    assert ends_s(run) == [5, 5, 10, 10]


@pytest.mark.parametrize(("most", "ends"), [(None, [5, 5, 5]), (1, [5, 10, 15]), (2, [5, 5, 10])])
def test_so_many_local_activities_at_once(most: int | None, ends: list[int]) -> None:
    run = system_of(Locally, count=3, max_concurrent_local_activities=most).run()
    assert ends_s(run) == ends
    assert done(run) == 1


@pytest.mark.parametrize(("most", "ends"), [(None, [5, 5, 5]), (2, [5, 5, 10])])
def test_so_many_workflow_tasks_at_once(most: int | None, ends: list[int]) -> None:
    """A task with local activities is in hand until they have ended: others starve."""
    run = system_of(Once, runs=3, max_concurrent_workflow_tasks=most).run()
    assert ends_s(run) == ends
    assert done(run) == 3


@activity.defn
async def stuck() -> None:
    if activity.info().attempt == 1:
        await asyncio.sleep(30)


@workflow.defn
class Stuck:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(stuck, start_to_close_timeout=timedelta(seconds=5))


@pytest.mark.parametrize(("most", "ends"), [(None, [6, 30]), (1, [30, 30])])
def test_an_attempt_that_was_given_up_holds_its_slot(most: int | None, ends: list[int]) -> None:
    """What is stuck starves the next attempt, which waits for its slot."""
    system = System("stuck")
    temporal = system.add(Temporal("temporal"))

    @system.service("workers")
    def workers(env):
        env.worker(temporal, task_queue="q", workflows=[Stuck], activities=[stuck],
                   max_concurrent_activities=most)  # fmt: skip

    @system.entry(examples=[1])
    async def begin(env, n):
        await env.client(temporal).start_workflow(Stuck.run, id="w", task_queue="q")

    run = system.run()
    assert done(run) == 1
    assert [e.at_ms // 1000 for e in run.history.of("handled") if "stuck/h" in e.operation] == ends


def test_a_program_s_own_worker_has_its_limits() -> None:
    def of(**options: Any) -> list[int]:
        system = System("own")
        system.add(Temporal("temporal", address="localhost:7233"))

        @system.service("workers")
        def workers(env):
            async def main() -> None:
                client = await Client.connect("localhost:7233")
                worker = Worker(client, task_queue="q", workflows=[Several], activities=[slow],
                                **options)  # fmt: skip
                await worker.run()

            env.main(main)

        @system.entry(examples=[1])
        async def begin(env, n):
            client = await Client.connect("localhost:7233")
            await client.start_workflow(Several.run, 2, id="w", task_queue="q")

        return ends_s(system.run())

    assert of() == [5, 5]
    assert of(max_concurrent_activities=1) == [5, 10]
    fixed = WorkerTuner.create_fixed(workflow_slots=5, activity_slots=1, local_activity_slots=1)
    assert of(tuner=fixed) == [5, 10]
    grows = WorkerTuner.create_resource_based(target_memory_usage=0.5, target_cpu_usage=0.5)
    assert of(tuner=grows) == [5, 5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_concurrent_activities": 0}, "max_concurrent_activities is 1 or more, not 0"),
        ({"max_concurrent_local_activities": "4"}, "max_concurrent_local_activities is 1 or more"),
        ({"max_concurrent_workflow_tasks": 1}, "must be at least 2 where max_cached_workflows is"),
    ],
)
def test_limits_that_are_none_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        system_of(Several, **options).run()
    assert words in str(caught.value)
    assert "service 'workers'" in str(caught.value)


def test_one_workflow_task_at_a_time_without_a_cache() -> None:
    options = {"max_concurrent_workflow_tasks": 1, "max_cached_workflows": 0}
    assert ends_s(system_of(Once, runs=2, **options).run()) == [5, 10]


def test_right_code_is_silent_with_few_slots() -> None:
    few = {"max_concurrent_activities": 1, "max_concurrent_workflow_tasks": 2}
    system = system_of(Several, count=2, runs=2, replicas=2, **few)
    assert not explore(system, properties=assumed(system), faults_max=1).counterexamples
