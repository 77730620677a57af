"""RabbitMQ's machine alone: what differs by version, and what a node keeps when it dies."""

import pytest

from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.topology import Queue
from chaosharness.machines.rabbitmq import Node, Watcher
from chaosharness.machines.rabbitmq.deaths import Death, is_cycle
from chaosharness.machines.rabbitmq.takers import Channel
from chaosharness.machines.rabbitmq.versions import reads_deaths


def node_of(queue, version="4.0"):
    node = Node({"q": queue, "dead": Queue()}, version=version, clock=lambda: 0, watcher=Watcher())
    return node, Channel()


def put(node, *priorities, persistent=True):
    for number, priority in enumerate(priorities):
        body = f"{number}:{priority}".encode()
        node.store(Copy("q", None, {}, body, priority=priority, persistent=persistent), ["q"])


def taken(node, channel):
    found = []
    while (push := node.get(channel, "q")) is not None:
        found.append(push.copy.body.decode() + ("r" if push.redelivered else ""))
    return found


@pytest.mark.parametrize(
    ("version", "order"),
    [
        ("3.10", "0:0 1:0 2:9 3:5 4:9 5:4 6:5"),
        ("3.13", "0:0 1:0 2:9 3:5 4:9 5:4 6:5"),
        ("4.0", "2:9 3:5 0:0 4:9 6:5 1:0 5:4"),
        ("4.3", "2:9 4:9 3:5 6:5 5:4 0:0 1:0"),
    ],
)
def test_priorities_of_quorum_queues_by_version(version, order):
    node, channel = node_of(Queue("quorum"), version)
    put(node, 0, 0, 9, 5, 9, 4, 5)
    assert " ".join(taken(node, channel)) == order


def test_from_4_0_on_a_high_one_that_came_first_goes_first_even_in_the_turn_of_the_low_ones():
    node, channel = node_of(Queue("quorum"))
    put(node, 9, 9, 9, 0)
    assert taken(node, channel) == ["0:9", "1:9", "2:9", "3:0"]


def test_what_comes_back_to_a_quorum_queue_has_no_priority_any_more():
    node, channel = node_of(Queue("quorum"), "4.3")
    put(node, 0)
    push = node.get(channel, "q")
    put(node, 9)
    node.nack(channel, push.tag)
    assert taken(node, channel) == ["0:0r", "0:9"]


@pytest.mark.parametrize(
    ("version", "how", "times"),
    [("3.13", "nack", 30), ("4.0", "nack", 20), ("4.3", "nack", 30), ("4.3", "reject", 20)],
)
def test_deliveries_are_counted_by_version(version, how, times):
    node, channel = node_of(Queue("quorum"), version)
    put(node, 0)
    came = 0
    while came < 30 and (push := node.get(channel, "q")) is not None:
        node.nack(channel, push.tag, how=how)
        came += 1
    assert came == min(times + 1, 30)


def test_the_header_of_a_client_is_read_up_to_3():
    assert [reads_deaths(version) for version in ("3.10", "3.13", "4.0", "4.3")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("queue", "persistent", "left"),
    [
        (Queue(), True, ["0:0r", "1:0r"]),
        (Queue(), False, []),
        (Queue("quorum"), False, ["0:0r", "1:0r"]),
    ],
)
def test_what_a_node_keeps_when_it_dies(queue, persistent, left):
    node, channel = node_of(queue)
    put(node, 0, 0, persistent=persistent)
    node.get(channel, "q")
    node.close(channel)
    node.restart()
    assert taken(node, Channel()) == left


def test_queues_that_are_not_durable_go_with_the_node():
    node, _ = node_of(Queue(durable=False))
    node.restart()
    assert set(node.queues) == {"dead"}


def test_a_circle_that_nobody_rejects_in_is_one():
    expired, rejected = (Death("q", why, 1, "", "q") for why in ("expired", "rejected"))
    assert is_cycle("q", (expired,))
    assert not is_cycle("q", (rejected,))
    assert not is_cycle("other", (expired,))
