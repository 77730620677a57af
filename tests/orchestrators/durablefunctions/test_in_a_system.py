"""Durable functions of the Python SDK, unmodified, in a system: what each fault does to them."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

pytest.importorskip("aws_durable_execution_sdk_python")

from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import (
    CallbackConfig,
    Duration,
    StepConfig,
    StepSemantics,
)
from aws_durable_execution_sdk_python.retries import RetryDecision, RetryPresets
from aws_durable_execution_sdk_python.waits import (
    WaitForConditionConfig,
    WaitForConditionDecision,
)

from chaosharness import (
    Crash,
    DurableFunctions,
    ErrorReply,
    External,
    LostReply,
    LostRequest,
    Schedule,
    Site,
    System,
    assumed,
    explore,
    smallest,
)
from tests.adapters.digests import printed_everywhere

CHECKPOINT = "payments.handler/lambda.checkpoint_durable_execution"
CHARGE = "payments.handler/bank.charge"
ONCE = StepSemantics.AT_MOST_ONCE_PER_RETRY


class Bank:
    """Charges; what has a key that it knows changes nothing."""

    def __init__(self) -> None:
        self.charged: list[str | None] = []

    def charge(self, order: str, key: str | None = None) -> Any:
        if key is not None and key in self.charged:
            return External.unchanged("known")
        self.charged.append(key)
        return "charged"


Body = Callable[[Any, Any, Any], Any]


def shop(
    body: Body, *, invoke: str = "order", more: dict[str, Body] | None = None, **options: Any
) -> System:
    """A durable function `order` whose body gets the bank, the event and the durable context."""
    system = System("shop")
    engine = system.add(DurableFunctions("lambda", **options))
    bank = system.add(External("bank", Bank))

    @system.service("payments")
    def payments(env: Any) -> None:
        client = env.client(bank)

        @durable_execution
        def handler(event: Any, context: Any) -> Any:
            return body(client, event, context)

        env.function(engine, "order", handler)
        for name, other in (more or {}).items():

            @durable_execution
            def further(event: Any, context: Any, other: Body = other) -> Any:
                return other(client, event, context)

            env.function(engine, name, further)

    @system.entry(examples=[{"order": "o1"}])
    def order(env: Any, item: Any) -> None:
        env.client(engine).invoke(
            FunctionName=invoke, InvocationType="Event",
            Payload=json.dumps(item), DurableExecutionName=item["order"],
        )  # fmt: skip

    return system


def by_key(bank: Any, event: Any, context: Any) -> Any:
    done = context.step(lambda _: bank.charge(event["order"], key=event["order"]), name="charge")
    context.wait(Duration.from_hours(1))
    return context.step(lambda _: done, name="ship")


def without_key(bank: Any, event: Any, context: Any) -> Any:
    return context.step(lambda _: bank.charge(event["order"]), name="charge")


def once(retry: Any) -> Body:
    def body(bank: Any, event: Any, context: Any) -> Any:
        config = StepConfig(step_semantics=ONCE, retry_strategy=retry)
        return context.step(lambda _: bank.charge(event["order"]), name="charge", config=config)

    return body


def ended(run: Any, name: str = "order:o1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.event_histories[name])
    return found


def charges(run: Any) -> int:
    return len([e for e in run.history if e.kind == "effect"])


def test_a_handler_runs_as_it_is_and_waits_in_virtual_time() -> None:
    run = shop(by_key).run()
    found = ended(run)
    assert found["Status"] == "SUCCEEDED"
    assert found["Result"] == '"charged"'
    assert found["EndTimestamp"] > 3_600_000
    assert charges(run) == 1


def polled(bank: Any, event: Any, context: Any) -> Any:
    """Asks three times, a minute apart, and charges then."""

    def decide(state: int, attempt: int) -> WaitForConditionDecision:
        if state >= 3:
            return WaitForConditionDecision.stop_polling()
        return WaitForConditionDecision.continue_waiting(Duration.from_minutes(1))

    config = WaitForConditionConfig(initial_state=0, wait_strategy=decide)
    asked = context.wait_for_condition(lambda state, _: state + 1, config, name="poll")
    context.step(lambda _: bank.charge(event["order"], key=event["order"]), name="charge")
    return asked


def test_a_condition_is_asked_for_until_it_holds() -> None:
    found = ended(shop(polled).run())
    assert found["Result"] == "3"
    assert 120_000 <= found["EndTimestamp"] < 121_000


RIGHT = {
    "by key": by_key,
    "polled first": polled,
    "never repeated": once(RetryPresets.none()),  # it may be given up: as a whole
}


SLOW = ("polled first", "never repeated")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in RIGHT]
)
def test_what_is_right_stands_every_single_fault(name: str) -> None:
    right = shop(RIGHT[name])
    campaign = explore(right, properties=assumed(right), faults_max=1)
    assert not campaign.counterexamples
    level = campaign.coverage.levels[1]
    assert level.complete
    assert level.tried > 100


def test_a_charge_without_a_key_is_named_with_nothing_claimed() -> None:
    broken = shop(without_key)
    found = smallest(broken, faults_max=1)
    assert found is not None
    assert [one.kind for one in found.findings] == ["effect twice"]


FAULTS = [
    (Crash(Site(CHARGE, "after")), 2),  # the step's end was not written: it is run again
    (Crash(Site(CHECKPOINT, "after")), 1),
    (ErrorReply(Site(CHECKPOINT)), 2),
    (LostRequest(Site(CHECKPOINT)), 2),
    (LostReply(Site(CHECKPOINT, "after")), 1),
]


@pytest.mark.parametrize(("fault", "times"), FAULTS)
def test_a_step_is_repeated_where_its_end_was_not_written(fault: Any, times: int) -> None:
    run = shop(without_key).run(schedule=Schedule((fault,)))
    assert ended(run)["Status"] == "SUCCEEDED"
    assert charges(run) == times


def test_an_attempt_that_was_interrupted_is_not_repeated_at_most_once() -> None:
    crash = Schedule((Crash(Site(CHARGE, "after")),))
    run = shop(once(RetryPresets.none())).run(schedule=crash)
    found = ended(run)
    assert charges(run) == 1
    assert found["Status"] == "FAILED"
    assert "previously interrupted" in found["Error"]["ErrorMessage"]


def test_the_default_strategy_repeats_also_what_is_at_most_once() -> None:
    crash = Schedule((Crash(Site(CHARGE, "after")),))
    run = shop(once(None)).run(schedule=crash)
    assert charges(run) == 2
    assert ended(run)["Status"] == "SUCCEEDED"


def test_a_step_that_fails_is_tried_six_times_by_default() -> None:
    tries = []

    def body(bank: Any, event: Any, context: Any) -> Any:
        def fails(step: Any) -> None:
            tries.append(step.attempt)
            raise ValueError("no")

        return context.step(fails, name="fails")

    run = shop(body).run()
    assert tries == [1, 2, 3, 4, 5, 6]
    found = ended(run)
    assert found["Status"] == "FAILED"
    assert found["Operations"][0]["StepDetails"]["Error"]["ErrorType"] == "ValueError"


def test_a_strategy_says_how_long_a_retry_waits() -> None:
    def twice(error: Exception, attempt: int) -> RetryDecision:
        return RetryDecision(should_retry=attempt < 2, delay=Duration.from_minutes(5))

    def body(bank: Any, event: Any, context: Any) -> Any:
        def fails_once(step: Any) -> str:
            if step.attempt == 1:
                raise ValueError("no")
            return "done"

        return context.step(fails_once, name="x", config=StepConfig(retry_strategy=twice))

    found = ended(shop(body).run())
    assert found["Status"] == "SUCCEEDED"
    assert 300_000 <= found["EndTimestamp"] < 301_000


def test_branches_maps_and_children_go_on_after_a_crash() -> None:
    def body(bank: Any, event: Any, context: Any) -> Any:
        def branch(name: str) -> Any:
            return lambda child: child.step(lambda _: bank.charge(name, key=name), name=name)

        both = context.parallel([branch("a"), branch("b")], name="both").get_results()
        each = context.map(
            [1, 2], lambda child, item, at, items: child.step(lambda _: item * 2, name="double")
        ).get_results()
        inner = context.run_in_child_context(lambda child: child.step(lambda _: 7, name="seven"))
        return [both, each, inner]

    system = shop(body)
    assert json.loads(ended(system.run())["Result"]) == [["charged"] * 2, [2, 4], 7]
    run = system.run(schedule=Schedule((Crash(Site(CHECKPOINT, "after")),)))
    assert json.loads(ended(run)["Result"]) == [["charged"] * 2, [2, 4], 7]
    assert charges(run) == 2


def test_a_callback_is_answered_or_times_out() -> None:
    def body(bank: Any, event: Any, context: Any) -> Any:
        config = CallbackConfig(timeout=Duration.from_hours(2))
        callback = context.create_callback(name="approval", config=config)
        asked.append(callback.callback_id)
        return callback.result()

    asked: list[str] = []
    run = shop(body).run()
    late = ended(run)
    assert "gave up waiting" in {event.data.get("what") for event in run.history}
    assert late["Status"] == "FAILED"
    assert late["Operations"][0]["Status"] == "TIMED_OUT"
    assert late["EndTimestamp"] >= 7_200_000

    asked.clear()
    system = shop(body)
    engine = system.resources["lambda"]

    @system.service("people")
    def people(env: Any) -> None:
        def answer() -> None:
            env.sleep(60)
            env.client(engine).send_durable_execution_callback_success(
                CallbackId=asked[0], Result='"yes"'
            )

        env.main(answer)

    found = ended(system.run())
    assert found["Status"] == "SUCCEEDED"
    assert found["Result"] == json.dumps('"yes"')
    assert 60_000 <= found["EndTimestamp"] < 61_000


def test_a_callback_that_nobody_answers_is_named() -> None:
    def body(bank: Any, event: Any, context: Any) -> Any:
        return context.create_callback(name="approval").result()

    [end] = [event for event in shop(body).run().history if event.kind == "end"]
    [words] = end.data["asks"]
    assert words.startswith("callback 'approval' of execution 'o1' (order) was answered by nobody")


def test_a_decorator_of_the_users_may_stand_around_the_sdks() -> None:
    system = System("shop")
    engine = system.add(DurableFunctions("lambda"))
    logged: list[str] = []

    @system.service("payments")
    def payments(env: Any) -> None:
        @durable_execution
        def handler(event: Any, context: Any) -> Any:
            return context.step(lambda _: 1, name="one")

        @wraps(handler)
        def outer(event: Any, context: Any) -> Any:
            logged.append(context.function_name)
            return handler(event, context)

        env.function(engine, "order", outer)

    @system.entry(examples=["o1"])
    def order(env: Any, item: str) -> None:
        answer = env.client(engine).invoke(FunctionName="order", DurableExecutionName=item)
        env.note("answered", payload=answer["Payload"])

    run = system.run()
    assert logged == ["order"]
    notes = [e.data for e in run.history if e.kind == "note" and "payload" in e.data]
    assert [note["payload"] for note in notes] == ["1"]


def test_a_function_invokes_another_one_once() -> None:
    def outer(bank: Any, event: Any, context: Any) -> Any:
        return context.invoke("inner", {"order": event["order"]}, name="inner")

    system = shop(outer, more={"inner": by_key})
    for fault in (None, Crash(Site(CHECKPOINT, "after")), LostReply(Site(CHECKPOINT, "after"))):
        run = system.run(schedule=Schedule((fault,) if fault else ()))
        assert ended(run)["Result"] == '"charged"'
        assert len(run.event_histories) == 2
        assert charges(run) == 1


def test_code_that_differs_in_a_replay_is_told_so() -> None:
    seen: list[int] = []

    def body(bank: Any, event: Any, context: Any) -> Any:
        seen.append(1)
        context.step(lambda _: 1, name=f"step {len(seen)}")
        context.wait(Duration.from_minutes(1))
        return 1

    found = ended(shop(body).run())
    assert found["Status"] == "FAILED"
    assert "NonDeterministic" in found["Error"]["ErrorType"]


def test_an_invocation_is_cut_off_when_its_time_is_over() -> None:
    seen: list[int] = []

    def body(bank: Any, event: Any, context: Any) -> Any:
        import time

        def slow(step: Any) -> int:
            seen.append(1)
            if len(seen) == 1:
                time.sleep(120)
            return len(seen)

        return context.step(slow, name="slow")

    found = ended(shop(body, function_timeout_s=60).run())
    assert found["Status"] == "SUCCEEDED"
    assert found["Result"] == "2"
    assert 60_000 <= found["EndTimestamp"] < 65_000


def test_an_execution_ends_when_its_time_is_over() -> None:
    found = ended(shop(by_key, execution_timeout_s=600).run())
    assert found["Status"] == "TIMED_OUT"
    assert found["EndTimestamp"] < 601_000


def test_a_name_starts_one_execution() -> None:
    system = shop(without_key)
    engine = system.resources["lambda"]
    answers: list[Any] = []

    @system.service("again")
    def again(env: Any) -> None:
        def start() -> None:
            client = env.client(engine)
            for text in ('{"order": "o1"}', '{"order": "o2"}'):
                try:
                    answers.append(
                        client.invoke(
                            FunctionName="order", DurableExecutionName="o1", Payload=text
                        )["Payload"]
                    )
                except Exception as error:
                    answers.append(type(error).__name__)

        env.main(start)

    run = system.run()
    assert charges(run) == 1
    assert answers == ['"charged"', "DurableExecutionAlreadyStartedException"]


PROGRAM = """
from chaosharness import *
from tests.orchestrators.durablefunctions import test_in_a_system as tests

def both(bank, event, context):
    charge = lambda child: child.step(lambda _: bank.charge("a"), name="charge")
    return context.parallel([charge, charge]).get_results()

for body in (tests.by_key, tests.without_key, tests.once(None), both):
    lost = LostReply(Site(tests.CHECKPOINT, "after"))
    for faults in (), (Crash(Site(tests.CHARGE, "after")),), (lost,):
        for _ in range(2):
            run = tests.shop(body).run(schedule=Schedule(faults))
            assert run.ending.verdict == "quiet" and not run.unused, (run.ending, run.unused)
            print(run.digest())
"""


def test_a_history_is_the_same_everywhere() -> None:
    lines = printed_everywhere(PROGRAM)
    assert lines[::2] == lines[1::2]
    assert len({*lines}) == 12
