"""Limits of tasks, domains of workers, and fields that there are not."""

import time
import warnings
from typing import Any

import pytest

from chaosharness import Conductor, Crash, Env, Schedule, Site, System, assumed, explore
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.conductor.limits import domain_of
from chaosharness.orchestrators.conductor.steps import run
from chaosharness.system.run import Run
from tests.orchestrators.conductor.driven import finish, server_of


def simple(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE", **more}


def flow(*steps: Any, name: str = "w", **more: Any) -> dict[str, Any]:
    return {"name": name, "tasks": [*steps], **more}


def polled(definition: dict[str, Any], *, workflows: int = 3) -> tuple[Any, list[Any]]:
    """A server whose workflows have a task each, and what was handed out at once."""
    server = server_of([flow(simple("a"))], [{"name": "a", **definition}])
    for _ in range(workflows):
        run(server.start("w", {}))
    return server, [run(server.poll("a", "worker")) for _ in range(workflows)]


def test_as_many_as_may_be_are_in_progress_and_another_is_looked_at_after_a_minute() -> None:
    server, got = polled({"concurrentExecLimit": 2})
    assert [task is not None for task in got] == [True, True, False]
    finish(server, got[0])
    assert run(server.poll("a", "worker")) is None  # it was postponed
    assert server.due() == 60_000
    server.now = 60_000
    assert run(server.poll("a", "worker")) is not None


def test_who_has_waited_longest_goes_first() -> None:
    """A task that came later waits, also where a slot is free: others are before it."""
    server = server_of([flow(simple("a"))], [{"name": "a", "concurrentExecLimit": 1}])
    run(server.start("w", {}))
    run(server.start("w", {}))
    first, second = server.store.queue("a").visible
    server.store.queue("a").push(first, 10_000)
    assert run(server.poll("a", "worker")) is None
    server.now = 10_000
    task = run(server.poll("a", "worker"))
    assert task is not None
    assert task.id == first != second


def test_a_task_that_was_given_up_counts_no_more_though_its_worker_goes_on() -> None:
    definition = {"concurrentExecLimit": 1, "responseTimeoutSeconds": 10, "retryDelaySeconds": 0}
    server, got = polled(definition, workflows=1)
    assert got[0] is not None
    server.tick(11_000)
    server.now = 71_000
    assert run(server.poll("a", "worker")) is not None


def test_so_many_in_so_many_seconds() -> None:
    server, got = polled({"rateLimitPerFrequency": 2, "rateLimitFrequencyInSeconds": 90})
    assert [task is not None for task in got] == [True, True, False]
    server.now = 60_000
    assert run(server.poll("a", "worker")) is None
    server.now = 120_000
    assert run(server.poll("a", "worker")) is not None


def test_a_window_ends_with_its_last_millisecond() -> None:
    server, got = polled({"rateLimitPerFrequency": 1, "rateLimitFrequencyInSeconds": 60})
    assert [task is not None for task in got] == [True, False, False]
    server.now = 60_000
    assert run(server.poll("a", "worker")) is not None


def test_no_limit_is_none() -> None:
    _, got = polled({"concurrentExecLimit": 0, "rateLimitPerFrequency": 0})
    assert None not in got


# ---- in a system


def shop(task: dict[str, Any], *, threads: int = 3) -> System:
    system = System("limited")
    conductor = system.add(Conductor("conductor", workflows=[flow(simple("a"))], tasks=[task]))

    @system.service("workers")
    def workers(env: Env) -> None:
        def a() -> None:
            time.sleep(5)

        env.task_worker(conductor, a, threads=threads)

    @system.entry(examples=[1, 2, 3])
    def begin(env: Env, n: int) -> None:
        env.client(conductor).start_workflow_by_name("w", {})

    return system


def at_once(run_of: Run) -> int:
    """How many tasks went on at the same time, at most."""
    ends = [event.at_ms for event in run_of.history.of("handled") if "workers.a" in event.operation]
    return max(sum(end - 5_000 < at < end for end in ends) for at in (e - 1 for e in ends))


def test_threads_are_not_used_where_a_limit_is_reached() -> None:
    assert at_once(shop({"name": "a"}).run()) == 3
    run_of = shop({"name": "a", "concurrentExecLimit": 1}).run()
    assert at_once(run_of) == 1
    assert run_of.ending.verdict == "quiet"


def test_right_code_is_silent_under_limits() -> None:
    system = shop({"name": "a", "concurrentExecLimit": 1, "rateLimitPerFrequency": 1})
    assert not explore(system, properties=assumed(system), faults_max=1).counterexamples


# ---- domains


def test_the_domain_is_the_first_that_is_polled_or_the_last() -> None:
    def of(asked: str, *there: str) -> str | None:
        return domain_of("a", {"a": asked}, lambda queue: queue.partition(":")[0] in there)

    assert of("eu,us", "us") == "us"
    assert of("eu, us", "us", "eu") == "eu"
    assert of("eu,us") == "us"  # nobody is there: it waits for the last one
    assert of("eu,NO_DOMAIN") is None
    assert of("NO_DOMAIN,eu") == "eu"
    assert domain_of("a", {"*": "eu"}, lambda queue: False) == "eu"
    assert domain_of("a", {"b": "eu"}, lambda queue: False) is None
    assert domain_of("a", {"*": "us", "a": "eu"}, lambda queue: False) == "eu"


def abroad(domains: Any, *, inner: bool = False, polls: str = "eu") -> System:
    """A worker at home, and one that polls in a domain."""
    system = System("abroad")
    steps = [simple("a")]
    workflows = [flow(*steps, name="inner"), flow(*steps)]
    if inner:
        sub = {"name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
               "subWorkflowParam": {"name": "inner"}}  # fmt: skip
        workflows[1] = flow(sub)
    conductor = system.add(Conductor("conductor", workflows=workflows))

    @system.service("home")
    def home(env: Env) -> None:
        env.task_worker(conductor, lambda: {"by": "home"}, name="a")

    @system.service("eu")
    def eu(env: Env) -> None:
        env.task_worker(conductor, lambda: {"by": "eu"}, name="a", domain=polls)

    @system.entry(examples=[1])
    def begin(env: Env, n: int) -> None:
        request = {"name": "w", "input": {}, "taskToDomain": domains}
        env.client(conductor).start_workflow(request)

    return system


@pytest.mark.parametrize(
    ("domains", "who"),
    [(None, "home"), ({"a": "eu"}, "eu"), ({"*": "eu"}, "eu"), ({"a": "us,NO_DOMAIN"}, "home"),
     ({"b": "eu"}, "home")],
)  # fmt: skip
@pytest.mark.parametrize("inner", [False, True])
def test_workers_of_a_domain_get_its_tasks_alone(domains: Any, who: str, inner: bool) -> None:
    run_of = abroad(domains, inner=inner).run()
    [place] = {e.operation for e in run_of.history.of("handled") if "/handle" in e.operation}
    assert place.startswith(f"{who}.")


def test_a_task_of_a_domain_that_nobody_polls_is_told() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        abroad({"a": "eu"}, polls="ue").run()
    assert "waits for a worker for 'a' in domain 'eu', and there is none" in str(caught.value)
    assert "'ue:a'" in str(caught.value)


def test_a_worker_that_has_just_died_is_still_asked_and_the_task_waits_for_it() -> None:
    system = abroad({"a": "eu,NO_DOMAIN"})
    crash = Crash(Site("eu.<lambda>/handle"))
    run_of = system.run([1, 1], Schedule([crash]))
    places = [e.operation for e in run_of.history.of("handled") if "/handle" in e.operation]
    assert all(place.startswith("eu.") for place in places)


def test_right_code_is_silent_with_domains() -> None:
    system = abroad({"a": "eu,NO_DOMAIN"})
    assert not explore(system, properties=assumed(system), faults_max=1).counterexamples


# ---- fields that there are not


@pytest.mark.parametrize(
    ("workflow", "task", "words"),
    [
        (flow(simple("a")), {"name": "a", "retyCount": 5},
         r"task 1: Conductor knows no field 'retyCount' and leaves it out: is 'retryCount' meant"),
        (flow(simple("a", retry_count=5)), {"name": "a"},
         r"workflow 'w' /tasks/0: Conductor knows no field 'retry_count' .* is 'retryCount' meant"),
        (flow(simple("a"), failureWorkFlow="undo"), {"name": "a"},
         r"workflow 'w': Conductor knows no field 'failureWorkFlow' .* is 'failureWorkflow' meant"),
        (flow(simple("a"), zebra=1), {"name": "a"}, r"no field 'zebra' and leaves it out$"),
        (flow(simple("a"), {"name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
                            "subWorkflowParam": {"name": "w", "verison": 2}}), {"name": "a"},
         r"/tasks/1/subWorkflowParam: Conductor knows no field 'verison' .* is 'version' meant"),
    ],
)  # fmt: skip
def test_a_field_that_the_server_leaves_out_is_told(workflow: Any, task: Any, words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        Conductor("conductor", workflows=[workflow], tasks=[task])


def test_fields_of_the_library_s_models_are_known() -> None:
    models = pytest.importorskip("conductor.client.http.models")
    from chaosharness.orchestrators.conductor import fields

    for name, known in (
        ("WorkflowDef", fields.OF_WORKFLOWS), ("WorkflowTask", fields.OF_STEPS),
        ("TaskDef", fields.OF_TASK_DEFS), ("SubWorkflowParams", fields.OF_SUB_WORKFLOWS),
        ("StartWorkflowRequest", fields.OF_STARTS),
    ):  # fmt: skip
        assert {*getattr(models, name).attribute_map.values()} <= known, name


def test_right_definitions_are_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Conductor(
            "conductor",
            workflows=[flow(simple("a", startDelay=1, description="x"), ownerEmail="a@b.c")],
            tasks=[{"name": "a", "ownerEmail": "a@b.c", "rateLimitPerFrequency": 1}],
        )


def test_a_request_with_a_field_that_there_is_not_is_refused() -> None:
    system = System("mistyped")
    conductor = system.add(Conductor("conductor", workflows=[flow(simple("a"))]))

    @system.entry(examples=[1])
    def begin(env: Env, n: int) -> None:
        env.client(conductor).start_workflow({"name": "w", "corelationId": "c"})

    with pytest.raises(InvalidDefinition, match="no field 'corelationId': is 'correlationId' mean"):
        system.run()
