"""Where one more delivery goes, by product and by step: the same figures on every machine.

    python -m benchmarks.steps               # plain `def`; needs CPython 3.13
    python -m benchmarks.steps asyncio
    python -m benchmarks.steps plain NATS    # one product: its functions as well

The scenario is that of `benchmarks.products`, and so is what one more message costs. Each bytecode
counts for the step of the innermost function on the stack that stands for one; what the handler
itself asks of its store is the same on every product.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

from benchmarks.measure import table, watch
from benchmarks.products import FEW, MANY, PRODUCTS, WARM, eight
from benchmarks.where import place

STEPS: Final[dict[str, tuple[str, ...]]] = {
    "publish": (
        "brokers/kafka/kafka.py OpenKafka.publish",
        "brokers/nats/nats.py OpenNATS.publish",
        "brokers/sqs/sqs.py OpenSQS.publish",
        "brokers/redis/redis.py OpenRedis.publish",
        "brokers/rabbitmq/publishing.py Publisher.__call__",
    ),
    "store": (
        "brokers/kafka/cluster.py Cluster._store",
        "machines/nats/machine.py NatsMachine._publish",
        "machines/sqs/machine.py SqsMachine._send",
        "machines/redis/machine.py RedisMachine._add",
        "machines/rabbitmq/node.py Node.route",
        "machines/rabbitmq/node.py Node.refusing",
        "machines/rabbitmq/node.py Node.store",
    ),
    "history": (
        "brokers/facts.py Journal.*",
        "brokers/rabbitmq/rabbitmq.py OpenRabbitMQ._words",
        "kernel/scope.py Scope.record",
        "kernel/world.py World.record",
    ),
    "time": (
        "brokers/at_work.py AtWork.be_woken",
        "machines/nats/machine.py NatsMachine.tick",
        "machines/sqs/machine.py SqsMachine.tick",
        "brokers/rabbitmq/connection.py Connection.begin",
        "brokers/rabbitmq/connection.py Connection.end",
        "brokers/rabbitmq/link.py Link._watch",
        "kernel/world.py World._run_phase",
    ),
    "who waits": (
        "brokers/lines.py Lines.*",
        "brokers/kafka/cluster.py Cluster._wake",
        "brokers/kafka/cluster.py Cluster.free",
        "machines/rabbitmq/takers.py Rotation.*",
    ),
    "hand out": (
        "brokers/kafka/cluster.py Cluster._fetch",
        "brokers/kafka/cluster.py Cluster.hand_over",
        "brokers/nats/desk.py Desk._answer",
        "brokers/sqs/desk.py Desk._answer",
        "brokers/redis/desk.py Desk._answer",
        "machines/rabbitmq/node.py Node.hand_out",
        "brokers/rabbitmq/link.py Link._arrive",
    ),
    "take": ("brokers/turns.py Turns.*", "brokers/rabbitmq/subscription.py Subscription._next"),
    "handle": ("brokers/intake.py Intake.take", "brokers/intake.py Intake._done"),
    "settle": (
        "brokers/kafka/consumers.py Subscription._settle",
        "brokers/nats/subscription.py Subscription._ended",
        "brokers/sqs/consumers.py Subscription._ended",
        "brokers/redis/subscription.py Subscription._ended",
        "brokers/rabbitmq/subscription.py Subscription._ended",
    ),
}
"""The functions that stand for a step, by file; `*` for all of a class."""

OTHER: Final = "other"


def step_of(code: CodeType) -> str | None:
    """Return the step that a function stands for."""
    name = f"{place(code).removeprefix('chaosharness/')} {code.co_qualname}"
    of_class = f"{name.partition('.<locals>')[0].rpartition('.')[0]}.*"
    for step, functions in STEPS.items():
        if name in functions or of_class in functions:
            return step
    return None


def by_step(action: Callable[[], object]) -> Counter[tuple[str, CodeType]]:
    """Return how many bytecodes each function took, itself only, by the step that it was in."""
    steps: dict[CodeType, str | None] = {}
    found: Counter[tuple[str, CodeType]] = Counter()

    def instruction(code: CodeType, _: int) -> None:
        frame: FrameType | None = sys._getframe(1)
        step = None
        while frame is not None and step is None:
            one = frame.f_code
            if one not in steps:
                steps[one] = step_of(one)
            step, frame = steps[one], frame.f_back
        found[step or OTHER, code] += 1

    watch(action, instruction)
    return found


def one_more(product: str, colour: str) -> dict[tuple[str, CodeType], float]:
    """Return what one more delivery takes, by step and function."""
    counts = []
    for messages in (FEW, MANY):
        system = eight(product, colour, messages)
        for _ in range(WARM):
            system.run()
        counts.append(by_step(system.run))
    few, many = counts
    more = {one: (times - few[one]) / (MANY - FEW) for one, times in many.items()}
    return {one: times for one, times in more.items() if abs(times) >= 0.5}


def main() -> None:
    """Print the table."""
    if sys.version_info < (3, 13):
        print("bytecodes are counted on CPython 3.13")
        return
    colour, only = (*sys.argv[1:], *("plain", "")[len(sys.argv) - 1 :])
    rows: list[tuple[Any, ...]] = [("product", *STEPS, OTHER, "all")]
    for product in PRODUCTS:
        if only not in product:
            continue
        found = one_more(product, colour)
        steps: Counter[str] = Counter()
        for (step, _), times in found.items():
            steps[step] += times
        words = [f"{steps[step]:,.0f}" for step in (*STEPS, OTHER)]
        rows.append((product, *words, f"{sum(found.values()):,.0f}"))
        if only:
            parts = sorted(found.items(), key=lambda one: -one[1])
            functions = [("step", "file", "function", "bytecodes")]
            for (step, code), times in parts:
                name = code.co_qualname
                functions.append(
                    (step, f"{place(code)}:{code.co_firstlineno}", name, f"{times:,.1f}")
                )
            table(f"{product}, {colour}: by function", functions)
    table(f"One more delivery by step, {colour}", rows)


if __name__ == "__main__":
    main()
