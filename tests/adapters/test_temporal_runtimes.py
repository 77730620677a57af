"""A runtime that a program makes: no port of this machine, and one for each process."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity
from temporalio.client import Client
from temporalio.runtime import (
    MetricBuffer,
    OpenTelemetryConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
)
from temporalio.worker import Worker

from chaosharness import Crash, Schedule, Site, System, Temporal
from tests.adapters import temporal_program as program


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    with closing(socket.socket()) as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def measured(port: int, *, by_default: bool = False) -> System:
    """A worker whose program sends metrics somewhere, and has its own default runtime."""

    async def main() -> None:
        metrics = PrometheusConfig(bind_address=f"127.0.0.1:{port}")
        runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics))
        if by_default:
            Runtime.set_default(runtime)
            assert Runtime.default() is runtime
        client = await Client.connect(program.TEMPORAL, runtime=runtime)
        runtime.metric_meter.create_counter("orders").add(1)
        await Worker(client, task_queue="orders", workflows=[program.Order],
                     activities=[charged]).run()  # fmt: skip

    system = System("measured")
    system.add(Temporal("temporal", address=program.TEMPORAL))
    system.service("worker")(lambda env: env.main(main))

    @system.entry(examples=["o1"])
    async def place(env: Any, order: str) -> None:
        client = await Client.connect(program.TEMPORAL)
        handle = await client.start_workflow("Order", order, id=order, task_queue="orders")
        await handle.signal("pack")
        await handle.result()

    return system


@activity.defn(name="charge")
async def charged(order: str) -> None:
    """What a worker does, in a test of what is around it."""


@pytest.mark.parametrize("by_default", [False, True])
def test_a_process_that_has_died_keeps_no_port(by_default: bool) -> None:
    port = free_port()
    crash = Crash(Site("worker.main/temporal.get_system_info", "after", entity=0))
    system = measured(port, by_default=by_default)
    for schedule in (Schedule(), Schedule([crash])):
        run = system.run(None, schedule)
        assert run.unused == ()
        assert run.ending.verdict == "quiet"
        assert not is_taken(port)


def test_a_second_default_in_one_process_is_the_library_s_error() -> None:
    async def main() -> None:
        for _ in range(2):
            Runtime.set_default(Runtime(telemetry=TelemetryConfig()))

    system = System("twice")
    system.add(Temporal("temporal", address=program.TEMPORAL))
    system.service("worker")(lambda env: env.main(main))

    @system.entry(examples=["o1"])
    def nothing(env: Any, order: str) -> None:
        env.note(order)

    with pytest.raises(Exception, match="Runtime default already set"):
        system.run()


def test_a_buffer_of_metrics_is_empty_and_a_collector_is_not_asked() -> None:
    seen: list[Any] = []

    async def main() -> None:
        buffer = MetricBuffer(10_000)
        Runtime(telemetry=TelemetryConfig(metrics=buffer))
        seen.append(list(buffer.retrieve_updates()))
        Runtime(telemetry=TelemetryConfig(metrics=OpenTelemetryConfig(url="http://localhost:4317")))

    system = System("buffer")
    system.add(Temporal("temporal", address=program.TEMPORAL))
    system.service("worker")(lambda env: env.main(main))

    @system.entry(examples=["o1"])
    def nothing(env: Any, order: str) -> None:
        env.note(order)

    assert system.run().ending.verdict == "quiet"
    assert seen == [[]]


def test_outside_of_a_run_a_runtime_is_the_library_s_own() -> None:
    from chaosharness.adapters.temporal.runtimes import Core

    runtime = Runtime(telemetry=TelemetryConfig())
    assert not isinstance(runtime._core_runtime, Core)
