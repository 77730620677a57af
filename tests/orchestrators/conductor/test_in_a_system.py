"""Workers, clients and endpoints of a system: what can strike them, and what reports say."""

import json
from typing import Any

import pytest

from chaosharness import (
    Conductor,
    Crash,
    Env,
    External,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    Schedule,
    Site,
    System,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.reporting.formats.text import to_text
from models.conductor import broken
from tests.orchestrators.conductor.test_crash_points import RICH
from tests.orchestrators.conductor.test_rules import flow, simple

CHARGE = {"name": "charge", "responseTimeoutSeconds": 30, "retryDelaySeconds": 1,
          "timeoutPolicy": "RETRY"}  # fmt: skip


class Bank:
    def __init__(self) -> None:
        self.keys: set[str] = set()

    def charge(self, key: str) -> Any:
        if key in self.keys:
            return External.unchanged(key)
        self.keys.add(key)
        return key


def shop_of(
    *tasks: dict[str, Any], key: str = "${workflow.input.n}", work_s: float = 0.0, **options: Any
) -> System:
    """A shop whose workflow charges, with what else it is given."""
    shop = System("shop")
    charge = simple("charge", inputParameters={"key": key})
    conductor = shop.add(Conductor("conductor", workflows=[flow(charge, *tasks)], tasks=[CHARGE]))
    bank = shop.add(External("bank", Bank))

    @shop.service("payments")
    def payments(env: Env) -> None:
        client = env.client(bank)

        def charge(key: str) -> dict[str, Any]:
            if work_s:
                env.sleep(work_s)
            return {"paid": client.charge(key)}

        env.task_worker(conductor, charge, **options)

    @shop.entry(examples=["o1"])
    def order(env: Env, n: str) -> None:
        env.client(conductor).start_workflow_by_name("flow", {"n": n})

    return shop


def tasks_of(run: Any, name: str = "flow-1") -> list[tuple[str, str, int]]:
    found = json.loads(run.event_histories[name])["tasks"]
    return [(one["referenceTaskName"], one["status"], one["retryCount"]) for one in found]


def struck(shop: System, fault: Any) -> Any:
    run = shop.run(list(shop.examples), Schedule([fault]))
    assert not run.unused
    return run


def charges(run: Any) -> list[str]:
    return [event.data["key"] for event in run.history.of("effect")]


BOTH = [("charge", "TIMED_OUT", 0), ("charge", "COMPLETED", 1)]


def test_a_poll_whose_answer_is_lost_costs_a_response_timeout() -> None:
    run = struck(shop_of(), LostReply(Site("payments.charge/poll", phase="after")))
    assert tasks_of(run) == BOTH
    assert charges(run) == ["o1"]


def test_a_worker_that_dies_behind_its_effect_has_had_it_and_another_one_reports() -> None:
    run = struck(
        shop_of(key="${CPEWF_TASK_ID}"), Crash(Site("payments.charge/handle", phase="after"))
    )
    assert tasks_of(run) == BOTH
    assert charges(run) == ["flow-1/charge", "flow-1/charge.1"]


def test_a_worker_that_stalls_is_overtaken_and_reports_too_late() -> None:
    run = struck(
        shop_of(key="${CPEWF_TASK_ID}"),
        Pause(Site("payments.charge/bank.charge", phase="before"), lasting=70_000),
    )
    assert tasks_of(run) == BOTH
    assert len(charges(run)) == 2
    late = [e for e in run.history.of("reply") if e.data.get("late")]
    assert [e.operation for e in late] == ["payments.charge/report"]


@pytest.mark.parametrize("fault", [LostRequest, LostReply])
def test_a_report_that_is_lost_is_sent_again(fault: Any) -> None:
    phase = "before" if fault is LostRequest else "after"
    run = struck(shop_of(), fault(Site("payments.charge/report", phase=phase)))
    assert tasks_of(run) == [("charge", "COMPLETED", 0)]


def test_a_result_is_lost_where_the_network_is_gone_for_longer_than_the_library_tries() -> None:
    fault = NetworkPartition(Site("payments.charge/report", phase="before"), lasting="long")
    run = struck(shop_of(), fault)
    assert any(e.data.get("error") == "Task result LOST" for e in run.history.of("reply"))
    assert tasks_of(run)[0] == ("charge", "TIMED_OUT", 0)
    assert tasks_of(run)[-1][1] == "COMPLETED"


@pytest.mark.parametrize("extends", [False, True])
def test_a_lease_is_extended_where_worker_task_says_so(extends: bool) -> None:
    from conductor.client.http.models import Task
    from conductor.client.worker.worker_task import worker_task

    shop = System("shop")
    conductor = shop.add(Conductor("conductor", workflows=[flow(simple("charge"))], tasks=[CHARGE]))

    @shop.service("payments")
    def payments(env: Env) -> None:
        @worker_task(task_definition_name="charge", lease_extend_enabled=extends)
        def slow(task: Task) -> None:
            env.sleep(100 if task.retry_count == 0 else 1)

        env.task_worker(conductor, slow)

    @shop.entry(examples=["o1"])
    def order(env: Env, n: str) -> None:
        env.client(conductor).start_workflow_by_name("flow", {"n": n})

    run = shop.run(list(shop.examples))
    assert len(tasks_of(run)) == (1 if extends else 2)


def test_a_client_is_refused_while_the_server_is_down_and_workers_wait() -> None:
    shop = shop_of()
    fault = Crash(Site("conductor.flow/save result", phase="after"), down="long")
    run = struck(shop, fault)
    assert tasks_of(run) == [("charge", "COMPLETED", 0)]


def test_threads_are_how_many_tasks_a_worker_has_at_once() -> None:
    def longest(threads: int) -> int:
        shop = shop_of(work_s=10, threads=threads)
        run = shop.run(["o1", "o2", "o3"])
        return max(e.at_ms for e in run.history.of("note"))

    assert longest(1) > 30_000
    assert longest(3) < 11_000


def test_async_workers_run_on_virtual_time_with_the_task_s_context() -> None:
    import asyncio

    from conductor.client.context.task_context import TaskInProgress, get_task_context
    from conductor.client.worker.worker_task import worker_task

    shop = System("shop")
    job_task = simple("job", inputParameters={"n": "${workflow.input.n}"})
    conductor = shop.add(Conductor("conductor", workflows=[flow(job_task)]))

    @shop.service("jobs")
    def jobs(env: Env) -> None:
        @worker_task(task_definition_name="job")
        async def job(n: str) -> Any:
            await asyncio.sleep(5)
            if get_task_context().get_poll_count() < 2:
                return TaskInProgress(callback_after_seconds=60, output={"half": n})
            return {"done": n}

        env.task_worker(conductor, job)

    @shop.entry(examples=["o1"])
    def order(env: Env, n: str) -> None:
        env.client(conductor).start_workflow_by_name("flow", {"n": n})

    run = shop.run(["o1"])
    [task] = json.loads(run.event_histories["flow-1"])["tasks"]
    assert (task["status"], task["pollCount"]) == ("COMPLETED", 2)
    assert task["outputData"] == {"done": "o1"}
    assert 70_000 < task["endTime"] < 72_000


def rich_shop() -> System:
    """All kinds of tasks that workers see, with participants that know their keys."""
    shop = System("rich")
    conductor = shop.add(Conductor("conductor", workflows=RICH, tasks=[
        {"name": name, "retryDelaySeconds": 2, "retryCount": 9, "responseTimeoutSeconds": 30,
         "timeoutPolicy": "RETRY", "retryLogic": "EXPONENTIAL_BACKOFF"} for name in "abcde"
    ]))  # fmt: skip
    bank = shop.add(External("bank", Bank))

    @shop.service("workers")
    def workers(env: Env) -> None:
        client = env.client(bank)
        for name in "abcde":

            def work(task):  # type: ignore[no-untyped-def]
                client.charge(task["referenceTaskName"])
                return {"by": task["taskType"]}

            work.__name__ = name
            env.task_worker(conductor, work)

    @shop.entry(examples=["o1"])
    def order(env: Env, n: str) -> None:
        env.client(conductor).start_workflow_by_name("rich", {"n": n}, idempotency_key=n)

    return shop


@pytest.mark.slow
def test_forks_loops_children_and_waits_stand_every_single_fault() -> None:
    shop = rich_shop()
    campaign = explore(shop, properties=assumed(shop), faults_max=1)
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].complete


def test_forks_loops_children_and_waits_end_in_a_system_as_they_do_by_hand() -> None:
    shop = rich_shop()
    run = shop.run(list(shop.examples))
    assert {json.loads(text)["status"] for text in run.event_histories.values()} == {"COMPLETED"}
    assert len(charges(run)) == 6  # a, b, c twice, d, e


def http_shop(fails: int = 0) -> System:
    shop = System("shop")
    call = {
        "name": "reserve", "taskReferenceName": "reserve", "type": "HTTP",
        "inputParameters": {"http_request": {
            "uri": "http://stock/reserve", "method": "POST", "body": {"n": "${workflow.input.n}"}}},
    }  # fmt: skip
    tell = {"name": "tell", "taskReferenceName": "tell", "type": "EVENT", "sink": "sqs:reserved",
            "inputParameters": {"of": "${reserve.output.response.body.of}"}}  # fmt: skip
    retried = {"name": "reserve", "retryCount": 4, "retryDelaySeconds": 5}
    conductor = shop.add(Conductor("conductor", workflows=[flow(call, tell)], tasks=[retried]))
    bank = shop.add(External("bank", Bank))

    @shop.service("stock")
    def stock(env: Env) -> None:
        client = env.client(bank)

        def reserve(body: dict[str, Any]) -> dict[str, Any]:
            return {"of": client.charge(body["n"])}

        env.task_endpoint(conductor, "http://stock/reserve", reserve)
        env.task_endpoint(conductor, "sqs:reserved", lambda body: env.note("told", **body))

    @shop.entry(examples=["o1"])
    def order(env: Env, n: str) -> None:
        env.client(conductor).start_workflow_by_name("flow", {"n": n})

    return shop


def told(run: Any) -> list[Any]:
    return [e.data["of"] for e in run.history.of("note") if e.data["what"] == "told"]


def test_an_http_task_calls_a_service_and_an_event_is_told() -> None:
    run = http_shop().run(["o1"])
    assert (charges(run), told(run)) == (["o1"], ["o1"])


def test_an_http_call_without_an_answer_fails_its_task_which_is_tried_again() -> None:
    site = Site("conductor.flow.reserve/http://stock/reserve", phase="after")
    run = struck(http_shop(), LostReply(site))
    assert tasks_of(run)[:2] == [("reserve", "FAILED", 0), ("reserve", "COMPLETED", 1)]
    assert told(run) == ["o1"]


def test_an_event_is_told_again_by_a_server_that_died_behind_it() -> None:
    run = struck(http_shop(), Crash(Site("conductor.flow/publish event", phase="after")))
    assert told(run) == ["o1", "o1"]


def test_a_report_has_the_workflow_s_tasks_as_a_table_would() -> None:
    campaign = explore(broken.failure_workflow_absent(), faults_max=0)
    text = " ".join(to_text(campaign.counterexamples[0]).split())
    assert (
        "conductor at the end "
        "order-1 FAILED / charge: task=charge type=SIMPLE status=COMPLETED retryCount=0 "
        "order-1 FAILED / ship: task=ship type=SIMPLE status=FAILED retryCount=1"
    ) in text


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda env, one: env.task_worker(one, lambda key: None, name="chrge"),
         "polls 'conductor' for tasks 'chrge', which no workflow has; they have: charge"),
        (lambda env, one: env.client(one).start_workflow(7),
         "a request of conductor-python, or a mapping, not 7"),
        (lambda env, one: env.client(one).start_workflow_by_name("flow", {"a": {1, 2}}),
         "the input of workflow 'flow' has no JSON form"),
        (lambda env, one: env.client(one).start_workflow_by_name(
            "flow", {}, idempotency_strategy="MAYBE"), "must be FAIL or RETURN_EXISTING"),
    ],
)  # fmt: skip
def test_what_is_put_together_wrongly_is_told(build: Any, said: str) -> None:
    shop = System("shop")
    conductor = shop.add(Conductor("conductor", workflows=[flow(simple("charge"))]))

    @shop.service("payments")
    def payments(env: Env) -> None:
        build(env, conductor)

    @shop.entry(examples=["o1"])
    def order(env: Env, n: str) -> None:
        env.client(conductor).start_workflow_by_name("flow", {"n": n})

    with pytest.raises(InvalidDefinition, match=said):
        shop.run(["o1"])


def test_a_task_that_asks_what_nobody_answers_is_told() -> None:
    shop = System("shop")
    call = {"name": "h", "taskReferenceName": "h", "type": "HTTP",
            "inputParameters": {"http_request": {"uri": "http://nobody"}}}  # fmt: skip
    conductor = shop.add(Conductor("conductor", workflows=[flow(call)]))

    @shop.entry(examples=["o1"])
    def order(env: Env, n: str) -> None:
        env.client(conductor).start_workflow_by_name("flow", {"n": n})

    with pytest.raises(InvalidDefinition, match="task 'h' asks 'http://nobody', which no service"):
        shop.run(["o1"])


def test_a_task_that_nobody_polls_for_is_named_and_not_waited_for_in_silence() -> None:
    with pytest.raises(InvalidDefinition, match="waits for a worker for 'ship', and there is none"):
        shop_of(simple("ship")).run()
