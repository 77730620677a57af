"""The order saga on Temporal: right, with a planted bug, and held against the real sdk-core."""

import json
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from chaosharness import (
    Crash,
    Delay,
    Env,
    Schedule,
    Site,
    System,
    Temporal,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.reporting import to_text
from models.temporal import broken, right
from tests.orchestrators.temporal.replayed import refusals


@pytest.mark.slow
def test_the_right_saga_is_silent_over_all_single_faults_with_nothing_claimed() -> None:
    shop = right.build()
    campaign = explore(shop, properties=assumed(shop), faults_max=1)
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].complete


@pytest.mark.slow  # with nothing claimed it is tried as well
def test_the_right_saga_keeps_its_claims_under_all_single_faults() -> None:
    campaign = explore(right.build(), faults_max=1)
    assert campaign.counterexamples == ()
    assert all(standing.tested for standing in campaign.standings)


def test_money_is_kept_for_nothing_where_nothing_is_refunded() -> None:
    campaign = explore(broken.never_refunds(), faults_max=1)
    assert "money is conserved" in {one.property for one in campaign.counterexamples}


@pytest.mark.slow
def test_a_key_per_attempt_is_named_at_one_fault_with_nothing_claimed() -> None:
    shop = broken.key_of_attempt()
    campaign = explore(shop, properties=assumed(shop), faults_max=1)
    first = campaign.counterexamples[0]
    assert (first.findings[0].kind, first.findings[0].place) == ("effect twice", "bank.charge")
    assert len(first.schedule) == 1
    assert "decides: schedules activity charge" in to_text(first)


def one_workflow(workflow_class: type) -> System:
    system = System("one workflow")
    temporal = system.add(Temporal("temporal", search_attributes={"name": "Keyword"}))

    @system.service("orders")
    def orders(env: Env) -> None:
        env.worker(temporal, task_queue="q", workflows=[workflow_class], activities=[])

    @system.entry(examples=["a"])
    async def place(env: Env, name: str) -> None:
        await env.client(temporal).start_workflow(
            workflow_class.__name__, args=[name], id=name, task_queue="q"
        )

    return system


NAMED = SearchAttributeKey.for_keyword("name")


@workflow.defn
class IsSearchedFor:
    @workflow.run
    async def run(self, name: str) -> None:
        workflow.upsert_search_attributes([NAMED.value_set(name)])


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, name: str) -> None:
        raise KeyError(name)


def test_a_workflow_that_says_what_it_is_found_by_is_done() -> None:
    run = one_workflow(IsSearchedFor).run()
    assert run.ending.verdict == "quiet"
    assert not [event for event in run.history if event.kind == "raised"]


def test_a_workflow_that_fails_for_ever_is_tried_ever_more_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = one_workflow(Fails).run()
    raised = [event for event in run.history if event.kind == "raised"]
    assert raised[0].data["error"] == "KeyError: 'a'"
    assert "test_models.py" in raised[0].data["line"]
    gaps = [after.at_ms - before.at_ms for before, after in pairwise(raised)]
    assert gaps[:8] == [10, 10_000, 10_000, 15_000, 20_000, 30_000, 50_000, 90_000]
    assert max(gaps) == 610_000
    assert run.ending.verdict == "budget"
    assert caplog.text == ""


# ---- the cache of a worker


@pytest.mark.parametrize("most", [0, 1])
def test_what_is_put_out_of_the_cache_is_read_again_and_nothing_is_different(most: int) -> None:
    shop = right.build(max_cached_workflows=most)
    run, usual = shop.run(), right.build().run()
    assert [e.data for e in run.history.of("effect")] == [
        e.data for e in usual.history.of("effect")
    ]
    assert refusals([run], [right.OrderSaga]) == []
    sticky = "TASK_QUEUE_KIND_STICKY" in run.event_histories["o1"]
    assert sticky == (most > 0)  # without a cache there is no queue of the worker's own


def test_without_a_cache_code_that_cannot_be_replayed_is_found_in_calm() -> None:
    saga = broken._RemembersInItsModule
    assert right.build(saga=saga).run().ending.verdict == "quiet"
    run = right.build(saga=saga, max_cached_workflows=0).run()
    assert "Nondeterminism" in next(run.history.of("raised")).data["error"]


def test_a_cache_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="max_cached_workflows must be 0 or more, not -1"):
        right.build(max_cached_workflows=-1).run()


def test_every_history_is_accepted_by_the_real_replayer() -> None:
    shop = right.build()
    calm = shop.run(list(shop.examples), Schedule())
    runs = [calm]
    for operation in ("orders.OrderSaga/store decision", "orders.charge/bank.charge"):
        for phase in ("before", "after"):
            for attempt in (1, 2, 3):
                site = Site(operation, phase, 1, attempt)  # type: ignore[arg-type]
                runs.append(shop.run(list(shop.examples), Schedule((Crash(site),))))
    assert sum(len(run.event_histories) for run in runs) >= 20
    assert refusals(runs, [right.OrderSaga]) == []


def test_an_attempt_that_is_told_of_at_its_end_has_the_time_of_its_beginning() -> None:
    late = Schedule([Delay(Site("orders.charge/bank.charge"))])
    run = right.shop.run(right.shop.examples[:1], late)
    events = json.loads(run.event_histories["o1"])["events"]
    at = [one["eventType"] for one in events].index("EVENT_TYPE_ACTIVITY_TASK_STARTED")
    began, ended = (datetime.fromisoformat(one["eventTime"]) for one in events[at : at + 2])
    assert events[at]["activityTaskStartedEventAttributes"]["attempt"] == 2
    assert (ended - began) == timedelta(milliseconds=50)  # a call's 20, and a report's 20
