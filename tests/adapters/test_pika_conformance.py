"""One program of pika, in a run and against a running RabbitMQ: its client sees the same.

pytest -m real_broker tests/adapters/test_pika_conformance.py
"""

from __future__ import annotations

import time
from typing import Any

import pika
import pytest
from pika import BlockingConnection, ConnectionParameters, exceptions

from chaosharness import AMQP, RabbitMQ, System

HERE = ConnectionParameters("127.0.0.1", connection_attempts=1, socket_timeout=2)
NAME = "chaosharness-pika"
TASKS, ASIDE, TOPIC = f"{NAME}-tasks", f"{NAME}-aside", f"{NAME}-topic"
ARGUMENTS = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": ASIDE}


def told(call: Any) -> Any:
    """Return what a call gives, or all of what it raises."""
    try:
        return call()
    except exceptions.AMQPError as error:
        return (type(error).__name__, getattr(error, "reply_code", 0), _text(error))


def _text(error: Any) -> str:
    return getattr(error, "reply_text", "")


def declaring(seen: list[Any]) -> None:
    """What is declared, found, bound and refused."""
    connection = BlockingConnection(HERE)
    channel = connection.channel()
    seen.append(told(lambda: channel.queue_declare(f"{NAME}-nothing", passive=True)))
    seen.append((channel.is_open, connection.is_open))
    channel = connection.channel()
    for name, arguments in ((ASIDE, None), (TASKS, ARGUMENTS)):
        found = channel.queue_declare(name, durable=True, arguments=arguments).method
        seen.append((found.queue, found.message_count, found.consumer_count))
    seen.append(told(lambda: channel.queue_declare(TASKS, durable=True)))
    channel = connection.channel()
    channel.exchange_declare(TOPIC, "topic", durable=True)
    seen.append(type(channel.queue_bind(TASKS, TOPIC, "a.*").method).__name__)
    seen.append(told(lambda: channel.queue_bind(TASKS, f"{NAME}-none", "x")))
    channel = connection.channel()
    seen.append(told(lambda: channel.exchange_declare(TOPIC, "direct", durable=True)))
    channel = connection.channel()
    seen.append(told(lambda: channel.basic_consume(f"{NAME}-nothing", lambda *_: None)))
    connection.close()
    seen.append(told(connection.channel)[0])


def publishing(seen: list[Any]) -> None:
    """What becomes of messages: confirmed, returned, refused, fetched."""
    connection = BlockingConnection(HERE)
    channel = connection.channel()
    channel.confirm_delivery()
    seen.append(told(lambda: channel.basic_publish("", f"{NAME}-nowhere", b"x", mandatory=True)))
    seen.append(told(lambda: channel.basic_publish("", f"{NAME}-nowhere", b"x")))
    properties = pika.BasicProperties(message_id="m1", headers={"n": 1}, priority=3)
    seen.append(told(lambda: channel.basic_publish(TOPIC, "a.b", b"one", properties)))
    seen.append(told(lambda: channel.basic_publish(TOPIC, "b.b", b"two", mandatory=True)))
    seen.append(told(lambda: channel.basic_publish(f"{NAME}-none", "x", b"x")))
    channel = connection.channel()
    seen.append(_got(channel.basic_get(TASKS)))
    channel.basic_nack(1)
    seen.append(_got(channel.basic_get(TASKS)))
    channel.basic_reject(2, requeue=False)
    seen.append(_got(channel.basic_get(TASKS)))
    letter = channel.basic_get(ASIDE, auto_ack=True)
    death = letter[1].headers["x-death"][0]
    seen.append((_got(letter)[:3], death["reason"], death["queue"], death["count"]))
    channel.basic_ack(99)
    seen.append(told(lambda: channel.basic_get(TASKS)))
    connection.close()


def consuming(seen: list[Any]) -> None:
    """Callbacks, prefetch, cancel, and what comes again after a channel is closed."""
    connection = BlockingConnection(HERE)
    channel = connection.channel()
    for number in range(4):
        channel.basic_publish("", TASKS, b"%d" % number)
    channel.basic_qos(prefetch_count=2)

    def on_task(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        seen.append((method.delivery_tag, body, method.redelivered))
        if body == b"1":
            channel.basic_ack(method.delivery_tag, multiple=True)
        if body == b"3":
            channel.stop_consuming()

    channel.basic_consume(TASKS, on_task)
    channel.start_consuming()
    channel.close()
    channel = connection.channel()
    for method, _, body in channel.consume(TASKS, inactivity_timeout=0.5):
        if method is None:
            break
        seen.append((method.delivery_tag, body, method.redelivered))
        channel.basic_ack(method.delivery_tag)
    seen.append(channel.cancel())
    other = connection.channel()
    other.basic_consume(TASKS, on_task, consumer_tag="mine")
    seen.append(told(lambda: other.basic_consume(TASKS, on_task, consumer_tag="mine"))[0])
    other.add_on_cancel_callback(lambda frame: seen.append(frame.method.consumer_tag))
    channel.queue_delete(TASKS)
    other.start_consuming()
    other.basic_ack(7)
    seen.append(told(lambda: connection.process_data_events(time_limit=0.5)))
    seen.append(told(lambda: other.queue_declare("")))
    connection.close()


def owning(seen: list[Any]) -> None:
    """Queues that go with their connection, and names that the server makes up."""
    mine, other = BlockingConnection(HERE), BlockingConnection(HERE)
    channel = mine.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    seen.append(queue.startswith("amq.gen-"))
    refused = told(lambda: other.channel().queue_declare(queue, passive=True))
    seen.append((*refused[:2], refused[2].partition("'")[0]))
    channel.queue_bind(queue, "amq.fanout")
    other.channel().basic_publish("amq.fanout", "", b"to all")
    time.sleep(0.2)
    seen.append(_got(channel.basic_get(queue)))
    mine.close()
    time.sleep(0.2)
    seen.append(told(lambda: other.channel().queue_declare(queue, passive=True))[:2])
    other.close()


def idling(seen: list[Any]) -> None:
    """A connection that answers no heartbeats."""
    channel = BlockingConnection(ConnectionParameters("127.0.0.1", heartbeat=1)).channel()
    time.sleep(4)
    seen.append(told(lambda: channel.queue_declare(""))[0])
    seen.append((channel.is_open, channel.connection.is_open))


def _got(found: Any) -> Any:
    method, properties, body = found
    if method is None:
        return None
    carried = {name: value for name, value in vars(properties).items() if value is not None}
    carried.get("headers", {}).pop("x-death", None)
    for name in [one for one in carried.get("headers", {}) if one.startswith("x-")]:
        del carried["headers"][name]
    return body, method.redelivered, method.routing_key, carried


PROGRAM = (declaring, publishing, consuming, owning, idling)


def played() -> list[Any]:
    """Return what the program sees in a run."""
    seen: list[Any] = []

    def main() -> None:
        for part in PROGRAM:
            part(seen)

    system = System("conformance")
    bus = system.add(RabbitMQ("bus", version="3.10"))
    system.add(AMQP("127.0.0.1", bus))
    system.service("worker")(lambda env: env.main(main))
    system.entry(examples=[1])(lambda env, item: None)
    run = system.run()
    assert run.ending.verdict == "quiet", [one.data for one in run.history.of("raised")]
    return seen


def cleaned() -> None:
    connection = BlockingConnection(HERE)
    for name in (TASKS, ASIDE):
        connection.channel().queue_delete(name)
    connection.channel().exchange_delete(TOPIC)
    connection.close()


def test_the_program_ends_in_a_run():
    assert len(played()) > 30


@pytest.mark.real_broker
def test_a_client_sees_the_same_of_a_running_rabbitmq():
    try:
        cleaned()
    except exceptions.AMQPConnectionError:
        pytest.skip("no RabbitMQ listens at 127.0.0.1:5672")
    seen: list[Any] = []
    try:
        for part in PROGRAM:
            part(seen)
    finally:
        cleaned()
    assert seen == played()
