"""Order sagas under faults: right ones are silent, each twin is named at one fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from chaosharness import (
    SQS,
    Crash,
    ErrorReply,
    FailedCommit,
    Kafka,
    LostRequest,
    LostWrites,
    NetworkPartition,
    Pause,
    Retry,
    Run,
    Saga,
    Schedule,
    Site,
    SQSQueue,
    Step,
    StoreOutage,
    System,
    assumed,
    every_saga_settles,
    explore,
)
from chaosharness.campaign import Campaign
from chaosharness.faults import Fault
from models.saga_engine import broken, commands, right

ROOT = Path(__file__).parents[3]
AS_CODE = right.Saga("order", right.order_as_code)


def singles(system: System, *, claimed: bool = False) -> Campaign:
    """Return what came of every single fault, with nothing claimed or with the claims."""
    properties = tuple(system.properties) if claimed else assumed(system)
    return explore(system, properties=properties, faults_max=1, runs_max=20_000)


# ---- right


@pytest.mark.parametrize("build", [right.build, commands.build])
def test_right_sagas_are_silent_over_the_likeliest_faults_with_nothing_claimed(
    build: Callable[[], System],
) -> None:
    system = build()
    campaign = explore(system, properties=assumed(system), faults_max=1, runs_max=60)
    assert campaign.counterexamples == ()


@pytest.mark.slow
@pytest.mark.parametrize("claimed", [False, True], ids=["nothing claimed", "claims"])
@pytest.mark.parametrize("saga", [right.ORDER, AS_CODE], ids=["data", "code"])
@pytest.mark.parametrize("order", [right.GOOD, right.UNDELIVERABLE], ids=lambda one: one.item)
def test_sagas_by_calls_keep_everything(order: object, saga: object, claimed: bool) -> None:
    parts = right.Parts(saga=saga, examples=(order,))  # type: ignore[arg-type]
    campaign = singles(right.build(parts), claimed=claimed)
    assert campaign.counterexamples == ()
    assert campaign.coverage.complete


@pytest.mark.slow
@pytest.mark.parametrize("claimed", [False, True], ids=["nothing claimed", "claims"])
@pytest.mark.parametrize("order", [commands.GOOD, commands.OUT_OF_STOCK], ids=lambda one: one.item)
def test_sagas_by_commands_keep_everything(order: object, claimed: bool) -> None:
    parts = commands.Parts(examples=(order,))  # type: ignore[arg-type]
    campaign = singles(commands.build(parts), claimed=claimed)
    assert campaign.counterexamples == ()
    assert campaign.coverage.complete


@pytest.mark.slow
@pytest.mark.parametrize("build", [right.build, commands.build])
def test_right_sagas_keep_their_claims_under_random_schedules(
    build: Callable[[], System],
) -> None:
    campaign = explore(build(), mode="random", faults_max=4, runs_max=1_500)
    assert campaign.counterexamples == ()


# ---- twins

NAMED = [
    (broken.answer_not_recorded, Crash, "effect twice", "bank.charge"),
    (broken.key_of_attempt, Crash, "effect twice", "bank.charge"),
    (broken.two_orchestrators_resume, Pause, "row differs", "saga-db.points.points+"),
    (broken.refunds_the_unknown, LostRequest, "half done", "bank.refund"),
    (broken.branch_succeeds_after_compensation, ErrorReply, "half done", "bank.charge"),
]


@pytest.mark.parametrize(
    ("twin", "fault", "kind", "place"), NAMED, ids=[twin.__name__ for twin, *_ in NAMED]
)
def test_each_twin_is_named_at_one_fault_with_nothing_claimed(
    twin: Callable[[], System], fault: type[Fault], kind: str, place: str
) -> None:
    system = twin()
    campaign = explore(system, properties=assumed(system), faults_max=1, kinds=[fault])
    named = {
        (found.kind, found.place): len(one.schedule)
        for one in campaign.counterexamples
        for found in one.findings
    }
    assert named[kind, place] == 1


def test_every_twin_is_named() -> None:
    others = {  # at none, at two, or by a claim: `tests/orchestrators/test_twins.py`
        broken.compensation_forgotten,
        broken.compensated_out_of_order,
        broken.decides_by_the_clock,
        broken.raises_when_it_is_refused,
        broken.list_changed_under_its_name,
    }
    assert {twin for twin, *_ in NAMED} | others == set(broken.BROKEN)


# ---- crash points


def crash_points(run: Run, places: tuple[str, ...] = ("orchestrator.on_order/",)) -> list[Crash]:
    """Return a crash at every site of some places that a run has reached, each time."""
    found: list[Crash] = []
    for (operation, entity, message), times in run.attempts.items():
        surface = run.surfaces.get(operation)
        if surface is None or not operation.startswith(places):
            continue
        for attempt in range(1, times + 1):
            for phase in ("before", "after"):
                if Crash in getattr(surface, phase):
                    site = Site(operation, phase, entity, attempt, message=message)  # type: ignore[arg-type]
                    found.append(Crash(site))
    return found


def outcome(run: Run) -> object:
    """Return what is there in the end: all tables, and each effect with how often it happened."""
    tables = [event.data["tables"] for event in run.history.of("state")]
    return tables, effects(run)


def effects(run: Run) -> Counter[str]:
    return Counter(
        f"{event.actor}.{json.dumps(event.data, sort_keys=True)}"
        for event in run.history.of("effect")
    )


def died_unrecorded(run: Run) -> Counter[str]:
    """Return the effects after which their caller died before it wrote that they were made."""
    found: Counter[str] = Counter()
    for effect in run.history.of("effect"):
        caller = run.history[effect.cause].actor
        for event in list(run.history)[effect.index :]:
            if event.kind == "commit" and event.actor == caller:
                break
            if event.kind == "crash" and event.actor == caller:
                found[f"{effect.actor}.{json.dumps(effect.data, sort_keys=True)}"] += 1
    return found


@pytest.mark.parametrize("order", [right.GOOD, right.UNDELIVERABLE], ids=lambda one: one.item)
def test_at_every_crash_point_the_result_is_that_of_the_calm_run(order: right.Order) -> None:
    shop = right.build(right.Parts(examples=(order,)))
    calm = shop.run()
    points = crash_points(calm)
    assert len(points) > 70
    for point in points:
        run = shop.run(None, Schedule((point,)))
        assert run.unused == ()
        assert outcome(run) == outcome(calm), str(point)


@pytest.mark.slow
@pytest.mark.parametrize("order", [commands.GOOD, commands.OUT_OF_STOCK], ids=lambda one: one.item)
def test_at_every_crash_point_of_orchestrator_and_workers_the_result_is_the_same(
    order: commands.Order,
) -> None:
    shop = commands.build(commands.Parts(examples=(order,)))
    calm = shop.run()
    handlers = ("on_order/", "on_reply/", "on_command/")
    services = ("orchestrator", "payment", "stock", "delivery")
    points = crash_points(calm, tuple(f"{one}.{two}" for one in services for two in handlers))
    assert len(points) > 150
    for point in points:
        run = shop.run(None, Schedule((point,)))
        assert run.unused == ()
        assert outcome(run) == outcome(calm), str(point)


def test_without_keys_what_is_doubled_at_each_crash_point_is_what_the_rule_says() -> None:
    shop = broken.answer_not_recorded()
    calm = shop.run()
    doubled = 0
    for point in crash_points(calm):
        run = shop.run(None, Schedule((point,)))
        predicted = {what: n for what, n in died_unrecorded(run).items() if "bank" in what}
        assert effects(run) - effects(calm) == predicted, str(point)
        doubled += bool(predicted)
    assert doubled > 5


# ---- the store that is not there, or says what is not so


STORE_FAULTS = [
    pytest.param(lambda site: StoreOutage(site, lasting=200_000), id="away"),
    pytest.param(lambda site: FailedCommit(site, outcome="rolled-back"), id="refused"),
    pytest.param(lambda site: FailedCommit(site, outcome="committed"), id="applied and not told"),
]


@pytest.mark.parametrize("attempt", [1, 2, 3])
@pytest.mark.parametrize("fault", STORE_FAULTS)
def test_a_commit_that_fails_changes_nothing_in_the_end(
    fault: Callable[[Site], Fault], attempt: int
) -> None:
    shop = right.build(right.Parts(examples=(right.GOOD,)))
    calm = shop.run()
    [message] = {site[2] for site in calm.attempts if site[0] == "orchestrator.on_order/handle"}
    site = Site("orchestrator.on_order/saga-db.commit", "before", 1, attempt, message=message)
    run = shop.run(None, Schedule((fault(site),)))
    assert run.unused == ()
    assert outcome(run) == outcome(calm)


def test_who_was_replaced_writes_nothing_more() -> None:
    shop = right.build(right.Parts(examples=(right.GOOD,)))
    site = Site("orchestrator.on_order/courier.ship", "after")
    run = shop.run(None, Schedule((Pause(site, lasting=300_000),)))
    assert outcome(run) == outcome(shop.run())
    raised = [event for event in run.history.of("raised")]
    assert raised[0].data["error"] == "Fenced: lease 1 of saga o1 is not the last one any more"
    [journal] = run.event_histories.values()
    records = json.loads(journal)["records"]
    taken = [one for one in records if one["kind"] == "saga taken over"]
    assert [(one["lease"], one["why"]) for one in taken] == [(2, "lease 1 ended without a word")]


def test_commits_that_a_power_failure_takes_are_made_again_where_participants_know_their_keys() -> (
    None
):
    shop = right.build(right.Parts(examples=(right.GOOD,), synced=False))
    site = Site("orchestrator.on_order/saga-db.commit", "after", 1, 3)
    run = shop.run(None, Schedule((LostWrites(site),)))
    assert run.unused == ()
    assert outcome(run) == outcome(shop.run())


def test_what_is_parked_for_a_person_is_nobody_elses_fault() -> None:
    few = Retry(times=2)
    steps = [
        attrs.evolve(one, retry=few) if isinstance(one, Step) else one
        for one in right.ORDER.known.values()
    ]
    shop = right.build(right.Parts(saga=Saga("order", *steps), examples=(right.GOOD,)))
    gone = NetworkPartition(Site("orchestrator.on_order/courier.ship"), lasting=500_000)
    run = shop.run(None, Schedule((gone,)))
    [*_, state] = run.history.of("state")
    assert [one["status"] for one in state.data["tables"]["sagas"]] == ["parked"]
    run.check(*assumed(shop), every_saga_settles())


# ---- what reports and tools are given


def test_journals_are_told_by_step_attempt_and_lease() -> None:
    shop = right.build(right.Parts(examples=(right.GOOD,)))
    run = shop.run(None, Schedule((Crash(Site("orchestrator.on_order/bank.charge", "after")),)))
    notes = [event for event in run.history.of("note") if event.data["what"] == "charge asked"]
    assert [(one.entity, one.data["attempt"], one.data["lease"]) for one in notes] == [
        (1, 1, 1),
        (1, 2, 3),
    ]


@pytest.mark.parametrize(
    "broker",
    [
        lambda: Kafka("bus", dict.fromkeys(commands.queues(), 1)),
        lambda: SQS("bus", {name: SQSQueue() for name in commands.queues()}),
    ],
    ids=["kafka", "sqs"],
)
def test_commands_and_replies_go_over_any_broker(broker: Callable[[], object]) -> None:
    shop = commands.build(commands.Parts(broker=broker))
    calm = shop.run()
    crash = Crash(Site("payment.on_command/bank.charge", "after"))
    assert outcome(shop.run(None, Schedule((crash,)))) == outcome(calm)
    assert outcome(calm) == outcome(commands.shop.run())


def test_two_processes_with_two_hash_seeds_have_one_digest() -> None:
    code = (
        "from chaosharness import Crash, Schedule, Site\n"
        "from models.saga_engine.commands import shop\n"
        "fault = Crash(Site('orchestrator.on_reply/saga-db.commit', 'after'))\n"
        "print(shop.run(None, Schedule((fault,))).digest())"
    )
    digests = {
        subprocess.check_output(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT
        )
        for seed in ("1", "2")
    }
    assert len(digests) == 1
