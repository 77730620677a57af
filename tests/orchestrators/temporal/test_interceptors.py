"""Interceptors, converters, handlers that take any name: as users write them."""

import dataclasses
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

import temporalio.client
import temporalio.worker
from temporalio import activity, workflow
from temporalio.activity import Sequence  # of typing in 1.18, of collections.abc later
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadCodec,
)

from chaosharness import Crash, Env, Schedule, Site, System, Temporal
from chaosharness.errors import InvalidDefinition
from chaosharness.system.run import Run

QUEUE = "q"
SOON = timedelta(seconds=5)
SEEN: list[str] = []


# ---- what interceptors see, and hand on in headers


def header_of(words: str) -> dict[str, Payload]:
    return {"tenant": DataConverter.default.payload_converter.to_payload(words)}


def tenant(headers: Any) -> str:
    found = headers.get("tenant")
    return DataConverter.default.payload_converter.from_payload(found, str) if found else "-"


class OutboundClient(temporalio.client.OutboundInterceptor):
    async def start_workflow(self, input: Any) -> Any:
        input.headers = {**input.headers, **header_of("ann")}
        return await super().start_workflow(input)

    async def signal_workflow(self, input: Any) -> Any:
        input.headers = {**input.headers, **header_of("ann by signal")}
        return await super().signal_workflow(input)

    async def query_workflow(self, input: Any) -> Any:
        input.headers = {**input.headers, **header_of("ann by query")}
        return await super().query_workflow(input)


class Outbound(temporalio.worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: Any) -> Any:
        input.headers = {**input.headers, **header_of("ann by workflow")}
        return super().start_activity(input)

    def start_local_activity(self, input: Any) -> Any:
        input.headers = {**input.headers, **header_of("ann by workflow, here")}
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: Any) -> Any:
        input.headers = {**input.headers, **header_of("ann of the parent")}
        return await super().start_child_workflow(input)


class Inbound(temporalio.worker.WorkflowInboundInterceptor):
    def init(self, outbound: Any) -> None:
        super().init(Outbound(outbound))

    async def execute_workflow(self, input: Any) -> Any:
        note(f"workflow for {tenant(workflow.info().headers)}")
        return await super().execute_workflow(input)

    async def handle_signal(self, input: Any) -> None:
        note(f"signal {input.signal} for {tenant(input.headers)}")
        await super().handle_signal(input)

    async def handle_query(self, input: Any) -> Any:
        SEEN.append(f"query {input.query} for {tenant(input.headers)}")
        return await super().handle_query(input)


def note(words: str) -> None:
    """Of a workflow: as often as it is told, but not where it is replayed."""
    if not workflow.unsafe.is_replaying():
        SEEN.append(words)


class InboundActivity(temporalio.worker.ActivityInboundInterceptor):
    def init(self, outbound: Any) -> None:
        super().init(OutboundActivity(outbound))

    async def execute_activity(self, input: Any) -> Any:
        SEEN.append(f"activity {activity.info().activity_type} for {tenant(input.headers)}")
        return await super().execute_activity(input)


class OutboundActivity(temporalio.worker.ActivityOutboundInterceptor):
    def heartbeat(self, *details: Any) -> None:
        SEEN.append("beat")
        super().heartbeat(*details)


class Tenants(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Of a client and a worker: as given to `Client.connect`."""

    def intercept_client(self, next: Any) -> Any:
        return OutboundClient(next)

    def intercept_activity(self, next: Any) -> Any:
        return InboundActivity(next)

    def workflow_interceptor_class(self, input: Any) -> Any:
        return Inbound


@activity.defn
def plain(n: int) -> int:
    activity.heartbeat(n)
    return n + 1


@activity.defn
async def awaits(n: int) -> int:
    return n + 1


@workflow.defn
class Adds:
    """One activity of each colour, one local, a child, and a signal to end with."""

    def __init__(self) -> None:
        self.over = False

    @workflow.run
    async def run(self, n: int) -> int:
        n = await workflow.execute_activity(plain, n, start_to_close_timeout=SOON)
        n = await workflow.execute_activity(awaits, n, start_to_close_timeout=SOON)
        n = await workflow.execute_local_activity(plain, n, start_to_close_timeout=SOON)
        if n < 10:
            n = await workflow.execute_child_workflow(Adds.run, n + 10, id="child")
            await workflow.wait_condition(lambda: self.over)
        return n

    @workflow.signal
    def end(self) -> None:
        self.over = True

    @workflow.query
    def is_over(self) -> bool:
        return self.over


def played(
    client: Callable[[Any], Awaitable[Any]],
    *,
    schedule: Schedule | None = None,
    workflows: Sequence[type] = (Adds,),
    activities: Sequence[Any] = (plain, awaits),
    of_worker: Sequence[Any] = (),
    failures: Sequence[type[BaseException]] = (),
    **given: Any,
) -> Run:
    system = System("as users write it")
    temporal = system.add(Temporal("temporal", **given))

    @system.service("worker")
    def worker(env: Env) -> None:
        env.worker(temporal, task_queue=QUEUE, workflows=workflows, activities=activities,
                   interceptors=of_worker, workflow_failure_exception_types=failures)  # fmt: skip

    @system.entry(examples=["x"])
    async def place(env: Env, item: str) -> None:
        env.note("told", answer=await client(env.client(temporal)))

    SEEN.clear()
    return system.run(None, schedule or Schedule(()))


def answer(run: Run) -> Any:
    [note] = [one for one in run.history.of("note") if one.data["what"] == "told"]
    return note.data["answer"]


async def adds(client: Any) -> Any:
    handle = await client.start_workflow(Adds.run, 1, id="w", task_queue=QUEUE)
    assert not await handle.query(Adds.is_over)
    await handle.signal(Adds.end)
    return await handle.result()


WANTED = [
    "workflow for ann", "activity plain for ann by workflow", "beat",
    "activity awaits for ann by workflow", "query is_over for ann by query",
    "signal end for ann by signal", "activity plain for ann by workflow, here", "beat",
    "workflow for ann of the parent",
]  # fmt: skip


def test_interceptors_of_client_and_worker_see_all_and_pass_headers_on() -> None:
    run = played(adds, interceptors=[Tenants()])
    assert answer(run) == 17
    assert set(WANTED) == set(SEEN)
    assert SEEN[0] == "workflow for ann"
    assert SEEN.count("activity plain for ann by workflow, here") == 2


def test_interceptors_of_a_worker_alone_get_no_headers_of_a_client() -> None:
    assert answer(played(adds, of_worker=[Tenants()])) == 17
    assert "workflow for -" in SEEN


def test_headers_are_durable() -> None:
    crash = Crash(Site("worker.awaits/handle"))
    run = played(adds, interceptors=[Tenants()], schedule=Schedule([crash]))
    assert not run.unused
    assert answer(run) == 17
    assert {"query is_over for ann by query", "signal end for ann by signal"} < set(SEEN)


def test_an_interceptor_that_awaits_around_a_plain_activity_is_refused_in_a_sentence() -> None:
    class Sleepy(temporalio.worker.Interceptor):
        def intercept_activity(self, next: Any) -> Any:
            return SleepyInbound(next)

    class SleepyInbound(temporalio.worker.ActivityInboundInterceptor):
        async def execute_activity(self, input: Any) -> Any:
            import asyncio

            await asyncio.sleep(1)
            return await super().execute_activity(input)

    with pytest.raises(InvalidDefinition, match="awaits something around the activity 'plain'"):
        played(adds, of_worker=[Sleepy()])


# ---- handlers that take any name


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> str:
    values = [activity.payload_converter().from_payload(one.payload) for one in args]
    return f"{activity.info().activity_type}{values}"


@workflow.defn(dynamic=True)
class Anything:
    """Takes any workflow, and all that it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[Any]:
        given = [workflow.payload_converter().from_payload(one.payload) for one in args]
        await workflow.wait_condition(lambda: len(self.told) > 1)
        done = await workflow.execute_activity(
            "any_activity", args=[1, 2], start_to_close_timeout=SOON
        )
        return [workflow.info().workflow_type, given, self.told, done]

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.told.append(["signal", name, len(args)])

    @workflow.query(dynamic=True)
    def on_query(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        return ["query", name, len(args)]

    @workflow.update(dynamic=True)
    def on_update(self, name: str, args: Sequence[RawValue]) -> str:
        self.told.append(["update", name, len(args)])
        return f"updated {name}"


async def any_names(client: Any) -> Any:
    handle = await client.start_workflow("AnyName", args=["a", 1], id="w", task_queue=QUEUE)
    await handle.signal("any_signal", "x")
    asked = await handle.query("any_query", 1)
    updated = await handle.execute_update("any_update", 2)
    return [asked, updated, await handle.result()]


def test_dynamic_handlers_take_any_name() -> None:
    run = played(any_names, workflows=[Anything], activities=[anything])
    assert answer(run) == [
        ["query", "any_query", 1],
        "updated any_update",
        ["AnyName", ["a", 1], [["signal", "any_signal", 1], ["update", "any_update", 1]],
         "any_activity[1, 2]"],
    ]  # fmt: skip


def test_two_of_a_name_are_refused() -> None:
    with pytest.raises(InvalidDefinition, match="more than one workflow named 'Adds'"):
        played(adds, workflows=[Adds, Adds])
    with pytest.raises(InvalidDefinition, match="more than one dynamic activity"):
        played(adds, activities=[anything, anything])


# ---- converters, and exceptions that fail a workflow


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class MoneyConverter(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "text/money"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Money):
            return None
        return Payload(metadata={"encoding": b"text/money"}, data=str(value.cents).encode())

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return Money(int(payload.data))


class Converters(CompositePayloadConverter):
    def __init__(self) -> None:
        default = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(MoneyConverter(), *default)


@activity.defn
async def doubled(money: Money) -> Money:
    return Money(2 * money.cents)


@workflow.defn
class Doubles:
    """Money in, money out."""

    @workflow.run
    async def run(self, money: Money) -> Money:
        once = await workflow.execute_activity(doubled, money, start_to_close_timeout=SOON)
        return await workflow.execute_local_activity(doubled, once, start_to_close_timeout=SOON)


def test_a_data_converter_of_ones_own_is_used_by_clients_workflows_and_activities() -> None:
    async def doubles(client: Any) -> Any:
        found = await client.execute_workflow(Doubles.run, Money(5), id="w", task_queue=QUEUE)
        return found.cents

    converter = dataclasses.replace(DataConverter.default, payload_converter_class=Converters)
    run = played(doubles, workflows=[Doubles], activities=[doubled], data_converter=converter)
    assert answer(run) == 20


class Codec(PayloadCodec):
    async def encode(self, payloads: Any) -> Any:
        return list(payloads)

    async def decode(self, payloads: Any) -> Any:
        return list(payloads)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data_converter": 1}, "data_converter is a temporalio.converter.DataConverter, not 1"),
        ({"data_converter": dataclasses.replace(DataConverter.default, payload_codec=Codec())},
         "a payload codec is not modelled; give the data converter without it"),
        ({"interceptors": [1]}, "the interceptor 1 is no instance of"),
        ({"interceptors": 1}, "interceptors are a list, not 1"),
        ({"search_attributes": ["k"]}, "search_attributes are types by name"),
        ({"search_attributes": {"k": "Keywrod"}}, "has the type 'Keywrod'; there are: Text, Key"),
        ({"search_attributes": {"RunId": "Keyword"}}, "'RunId' cannot be a search attribute of yo"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_before_anything_runs(given: Any, words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        Temporal("temporal", **given)


@workflow.defn
class Raises:
    """What is no failure."""

    @workflow.run
    async def run(self) -> None:
        raise KeyError("lost")


def test_exceptions_that_fail_a_workflow_are_the_workers_to_say() -> None:
    async def start(client: Any) -> Any:
        await client.start_workflow(Raises.run, id="w", task_queue=QUEUE,
                                    retry_policy=None)  # fmt: skip
        return ""

    stuck = played(start, workflows=[Raises])
    assert stuck.ending.verdict == "budget"
    failed = played(start, workflows=[Raises], failures=[KeyError])
    assert failed.ending.verdict == "quiet"
    last = json.loads(failed.event_histories["w"])["events"][-1]
    assert last["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_FAILED"
    with pytest.raises(InvalidDefinition, match="workflow_failure_exception_types are exceptions"):
        played(start, workflows=[Raises], failures=["KeyError"])  # type: ignore[list-item]
