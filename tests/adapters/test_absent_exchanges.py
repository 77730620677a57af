"""What is published to an exchange that nobody has declared yet: gone, and said to be."""

from __future__ import annotations

import pika
import pytest

from chaosharness import AMQP, RabbitMQ, System, explore

HOST = pika.ConnectionParameters("rabbit")


def listen():
    channel = pika.BlockingConnection(HOST).channel()
    channel.exchange_declare("users", "topic")
    channel.queue_declare("users")
    channel.queue_bind("users", "users", "create")
    for method, _, _ in channel.consume("users"):
        channel.basic_ack(method.delivery_tag)


def send(user, *, confirms=False):
    channel = pika.BlockingConnection(HOST).channel()
    if confirms:
        channel.confirm_delivery()
    channel.basic_publish("users", "create", user)


def send_until_taken(user):
    while True:
        try:
            return send(user, confirms=True)
        except pika.exceptions.ChannelClosedByBroker:
            pass  # the consumer is about to declare it


def send_to_both(user):
    send(user)
    channel = pika.BlockingConnection(HOST).channel()
    channel.exchange_declare("users", "topic")
    channel.queue_declare("users")
    channel.queue_bind("users", "users", "create")
    channel.basic_publish("users", "create", user)


def users(send):
    system = System("users")
    bus = system.add(RabbitMQ("bus"))
    system.add(AMQP("rabbit", bus))
    system.service("users")(lambda env: env.main(listen))
    system.entry(examples=["u1"])(lambda env, user: send(user))
    return system


def test_what_is_sent_to_no_exchange_leaves_a_trace():
    history = users(send).run().history
    [message], [end] = history.of("publish"), history.of("dead")
    assert (message.data["exchange"], message.data["queues"]) == ("users", [])
    assert end.data["message"] == message.index


def test_a_search_in_which_nothing_arrived_for_that_is_not_green():
    campaign = explore(users(send), faults_max=1)
    assert campaign.result == "unknown"
    assert any("was dropped" in reason for reason in campaign.reasons)


@pytest.mark.parametrize("patient", [send_until_taken, send_to_both])
def test_who_sends_it_again_has_missed_nothing(patient):
    campaign = explore(users(patient), faults_max=0)
    assert not any("was dropped" in reason for reason in campaign.reasons)
