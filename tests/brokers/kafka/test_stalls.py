"""A process that stands still, and one whose handler is slow: their heartbeats tell them apart.

Source: javadoc of KafkaConsumer 3.9, "Detecting Consumer Failures"; `session.timeout.ms`,
`max.poll.interval.ms` (KIP-62: heartbeats come from a thread of their own).
"""

import pytest

from chaosharness import Gateway, Kafka, Pause, Schedule, Site, System, never_charged_twice
from chaosharness.errors import PropertyViolated

SESSION_MS = 10_000
STALL = Site("worker.on_job/bank.charge", "after")


def shop(*, key=None, tasks=False):
    system = System("stalled", arrival_ms=1)
    bus = system.add(Kafka("bus", {"jobs": 1, "news": 1}, session_timeout_ms=SESSION_MS))
    bank = system.add(Gateway("bank"))

    @system.service("worker", replicas=2)
    def worker(env):
        client = env.client(bank)

        def on_job(job):
            client.charge(job, 500, key=key and key(job))

        def on_news(news):
            env.sleep(8)

        env.consume(bus, "jobs", on_job)
        if tasks:
            env.consume(bus, "news", on_news)

    @system.entry(examples=["j1"])
    def submit(env, job):
        env.publisher(bus)("jobs", job, key=job)
        if tasks:
            env.publisher(bus)("news", job, key=job)

    system.claim(never_charged_twice(bank))
    return system


def ran(*faults, **options):
    run = shop(**options).run(None, Schedule(faults))
    assert not run.unused and run.ending.verdict == "quiet"
    return run


def whys(run):
    return [(one.at_ms, one.data["why"]) for one in run.history.of("rebalance")]


def effects(run):
    return [(one.at_ms, one.actor) for one in run.history.of("effect")]


def test_who_stands_still_is_missed_and_its_effects_come_before_the_refusal():
    run = ran(Pause(STALL, lasting=60_000))
    assert [one.at_ms for one in run.history.of("deliver")] == [1, 10_022]
    assert (10_021, "session timeout") in whys(run)
    assert len(effects(run)) == 2
    [refused] = run.history.of("nack")
    assert refused.at_ms == 60_021
    assert refused.data["error"] == "fenced: not a member any more"
    assert whys(run)[-1] == (60_021, "a member joined again")


@pytest.mark.parametrize(
    "pause",
    [
        Pause(STALL, lasting=SESSION_MS),
        Pause(STALL, lasting=60_000, heartbeats="go-on"),
    ],
)
def test_who_is_heard_of_keeps_its_place(pause):
    run = ran(pause)
    assert len([*run.history.of("deliver")]) == 1
    assert len(effects(run)) == 1
    assert [*run.history.of("nack")] == []


def test_a_slow_handler_has_until_it_should_have_polled():
    run = ran(Pause(STALL, lasting=400_000, heartbeats="go-on"))
    assert (300_001, "max.poll.interval.ms exceeded") in whys(run)


def test_two_stalls_that_overlap_are_one():
    second = Pause(Site("worker.on_news/sleep", "after"), lasting=4_000)
    run = ran(Pause(STALL, lasting=9_000), second, tasks=True)
    assert (10_021, "session timeout") in whys(run)
    alone = ran(Pause(STALL, lasting=7_000), second, tasks=True)
    assert [why for _, why in whys(alone)] == ["a member joined"]


def test_without_a_key_one_stall_charges_twice_and_with_one_it_does_not():
    stall = Pause(STALL, lasting=60_000)
    with pytest.raises(PropertyViolated, match="charged twice"):
        ran(stall).check()
    ran(stall, key=lambda job: job).check()


def test_a_stall_is_spelled_with_what_it_does_to_heartbeats():
    schedule = Schedule([Pause(STALL, lasting=5, heartbeats="go-on")])
    assert Schedule.from_json(schedule.to_json()) == schedule
    assert "heartbeats='go-on'" in repr(schedule)
    with pytest.raises(ValueError, match="heartbeats"):
        Pause(STALL, heartbeats="never")
