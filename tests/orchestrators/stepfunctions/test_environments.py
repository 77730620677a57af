"""An environment of Lambda runs one call at a time: what a module holds is of one call."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from chaosharness import (
    Crash,
    ErrorReply,
    Gateway,
    Kafka,
    Pause,
    Schedule,
    Site,
    StepFunctions,
    System,
    Web,
    explore,
    idempotent,
)

HELD: dict[str, Any] = {}

MACHINE = {
    "StartAt": "charge",
    "States": {
        "charge": {
            "Type": "Task",
            "Resource": "charge",
            "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 5}],
            "End": True,
        }
    },
}


def till(*, besides: bool = False, replicas: int = 1) -> System:
    """Charges two orders at once; what it is at stands in a module while it waits for the bank."""
    system = System("till")
    sfn = system.add(StepFunctions("sfn", machines={"m": MACHINE}))
    bank = system.add(Gateway("bank"))
    bus = system.add(Kafka("bus", topics={"news": 1}))

    @system.service("till", replicas=replicas)
    def serve(env: Any) -> None:
        client = env.client(bank)
        warm: list[str] = []

        def handler(event: Any, context: Any) -> int:
            warm.append(event["id"])
            HELD["order"] = event["id"]
            client.charge(HELD["order"], 1, key=HELD["order"] + " first")
            client.charge(HELD["order"], 2, key=HELD["order"] + " then")
            return len(warm)

        env.function(sfn, "charge", handler)
        if besides:
            env.consume(bus, "news", lambda message: None)

    if not besides:
        system.service("reader")(lambda env: env.consume(bus, "news", lambda message: None))

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def begin(env: Any, order: dict[str, str]) -> None:
        client = env.client(sfn)
        client.start_execution(stateMachineArn="m", name=order["id"], input=json.dumps(order))
        env.publisher(bus)("news", order, key=order["id"])

    return system


def charged(system: System, schedule: Schedule | None = None) -> list[tuple[str, int]]:
    run = system.run(None, schedule)
    assert run.unused == ()
    return [(one.data["order"], one.data["cents"]) for one in run.history.of("effect")]


def test_two_calls_at_once_share_no_memory() -> None:
    """As written it is right: in Lambda no two calls are in one environment."""
    assert sorted(charged(till())) == [("o1", 1), ("o1", 2), ("o2", 1), ("o2", 2)]
    assert explore(till(), properties=[idempotent()], faults_max=1).counterexamples == ()


def test_a_replica_that_does_other_things_besides_is_no_environment_and_shares_all() -> None:
    """A worker with a consumer in it is one process, and its memory is that of all its calls."""
    assert ("o1", 2) not in charged(till(besides=True))


def test_a_death_is_that_of_one_environment() -> None:
    died = Schedule([Crash(Site("till.handler/bank.charge", "after", entity=2))])
    run = till().run(None, died)
    assert run.unused == ()
    again = [event.entity for event in run.history.of("call") if event.data["method"] == "charge"]
    handed = [one.entity for one in run.history.of("call") if one.actor == "sfn"]
    assert (handed.count(1), handed.count(2)) == (1, 2), again  # the first never heard of it


def test_an_environment_is_warm_for_the_next_call() -> None:
    """The second execution finds the environment of the first idle, if it comes later."""
    system = till()
    system.arrival_ms = 10_000
    outputs = [
        json.loads(history)["events"][-1]["executionSucceededEventDetails"]["output"]
        for history in system.run().event_histories.values()
    ]
    assert sorted(outputs) == ["1", "2"]
    assert [*map(json.loads, _outputs(till()))] == [1, 1]


def _outputs(system: System) -> list[str]:
    return [
        json.loads(history)["events"][-1]["executionSucceededEventDetails"]["output"]
        for history in system.run().event_histories.values()
    ]


def test_one_that_hangs_keeps_nobody_waiting() -> None:
    long = Schedule([Pause(Site("till.handler/bank.charge", entity=1), lasting="long")])
    assert charged(till(), long)[:2] == [("o2", 1), ("o2", 2)]


def test_environments_draw_ids_of_their_own() -> None:
    """And are told apart in the history: one that is gone is not the replica."""
    drawn: list[str] = []
    system = small(lambda event, context: drawn.append(str(uuid.uuid4())))
    run = system.run()
    assert len(drawn) == len({*drawn}) == 2
    handled = {one.actor for one in run.history.of("handled")}
    assert handled == {"till#1", "till#2"}


def small(handler: Callable[[Any, Any], Any], built: Callable[[Any], None] | None = None) -> System:
    system = System("small")
    sfn = system.add(StepFunctions("sfn", machines={"m": MACHINE}))
    slow = system.add(Gateway("slow"))

    @system.service("till")
    def serve(env: Any) -> None:
        client = env.client(slow)
        if built is not None:
            built(client)

        def charge(event: Any, context: Any) -> None:
            handler(event, context)
            client.charge(event["id"], 1, key=event["id"])

        env.function(sfn, "charge", charge)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def begin(env: Any, order: dict[str, str]) -> None:
        env.sleep(1)  # the service is there then
        client = env.client(sfn)
        client.start_execution(stateMachineArn="m", name=order["id"], input=json.dumps(order))

    return system


@pytest.mark.parametrize("kind", [ErrorReply, Crash])
def test_an_environment_that_never_came_up_fails_its_call(kind: Any) -> None:
    """It is tried again, as the definition says: nobody waits for ever."""

    def built(client: Any) -> None:
        client.charge("warm", 1, key="warm")

    system = small(lambda event, context: None, built)
    run = system.run(None, Schedule([kind(Site("till.start/slow.charge", entity=0, attempt=2))]))
    assert run.unused == ()
    ended = [one.data["what"] for one in run.history.of("note")]
    assert ended.count("execution succeeded") == 2
    assert run.ending.verdict == "quiet"


def test_a_web_application_beside_a_function_is_there_once() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    system = System("web")
    sfn = system.add(StepFunctions("sfn", machines={"m": MACHINE}))
    site, bank = system.add(Web("till.example")), system.add(Gateway("bank"))

    @system.service("till")
    def serve(env: Any) -> None:
        client = env.client(bank)
        env.function(
            sfn, "charge", lambda event, _: str(client.charge(event["id"], 1, key=event["id"]))
        )
        env.app(site, application)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def begin(env: Any, order: dict[str, str]) -> None:
        client = env.client(sfn)
        client.start_execution(stateMachineArn="m", name=order["id"], input=json.dumps(order))

    assert {one.actor for one in system.run().history.of("handled")} == {"till#1"}
