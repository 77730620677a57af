"""Dead letters at least once (`x-dead-letter-strategy`): kept until somebody takes them."""

from __future__ import annotations

import pika
import pytest

from chaosharness import AMQP, Exchange, Queue, RabbitMQ, System
from chaosharness.errors import InvalidDefinition

HOST = pika.ConnectionParameters("rabbit")


def clinic(strategy, *, room=None):
    """Messages wait a second, and then go to an exchange; its queue is bound after five."""
    system = System("clinic")
    waiting = Queue(
        "quorum",
        ttl_ms=1_000,
        overflow="reject-publish",
        dead_letter_exchange="late",
        dead_letter_strategy=strategy,
    )
    late = {"late": Exchange("fanout")}
    bus = system.add(RabbitMQ("bus", queues={"waiting": waiting}, exchanges=late))
    system.add(AMQP("rabbit", bus))

    @system.service("doctor")
    def doctor(env):
        def main():
            env.sleep(5)
            channel = pika.BlockingConnection(HOST).channel()
            limits = {} if room is None else {"x-max-length": room, "x-overflow": "reject-publish"}
            channel.queue_declare("late", durable=True, arguments=limits)
            channel.queue_bind("late", "late")
            env.sleep(5)
            for method, _, body in channel.consume("late"):
                env.note("seen", who=body.decode())
                channel.basic_ack(method.delivery_tag)

        env.main(main)

    @system.entry(examples=["p1", "p2", "p3"])
    def come(env, patient):
        env.publisher(bus)("waiting", patient)

    return system


def seen(run):
    return sorted(event.data["who"] for event in run.history.of("note"))


def test_a_letter_is_kept_until_a_queue_is_bound_for_it():
    assert seen(clinic("at-least-once").run()) == ["p1", "p2", "p3"]


def test_at_most_once_it_is_gone():
    assert seen(clinic("at-most-once").run()) == []


def test_a_letter_is_kept_until_there_is_room_for_it():
    assert seen(clinic("at-least-once", room=1).run()) == ["p1", "p2", "p3"]


def test_without_reject_publish_it_counts_for_nothing():
    system = System("plain")
    queue = Queue(
        "quorum", ttl_ms=10, dead_letter_exchange="none", dead_letter_strategy="at-least-once"
    )
    bus = system.add(
        RabbitMQ("bus", queues={"waiting": queue}, exchanges={"none": Exchange("fanout")})
    )
    system.entry(examples=["p1"])(lambda env, patient: env.publisher(bus)("waiting", patient))
    assert [event.data["reason"] for event in system.run().history.of("dead")] == ["expired"]


def test_only_a_quorum_queue_has_a_strategy():
    with pytest.raises(InvalidDefinition, match="no dead_letter_strategy: use kind='quorum'"):
        Queue(dead_letter_exchange="late", dead_letter_strategy="at-least-once")
