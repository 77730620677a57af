"""The RabbitMQ model beside a running RabbitMQ: the same operations, the same observations.

By default some 150 fixed sequences, in about ten seconds. For more, and other ones each
time, say how many per profile: CHAOSHARNESS_CONFORMANCE=1000 pytest -m real_broker
"""

import os
import re
import time
from collections.abc import Callable

import attrs
import pika
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.topology import Queue
from chaosharness.machines.rabbitmq import orders as orders_room
from chaosharness.machines.rabbitmq import takers as takers_room
from chaosharness.machines.rabbitmq.node import Node, Watcher
from chaosharness.machines.rabbitmq.orders import ClassicOrder, QuorumOrder
from chaosharness.machines.rabbitmq.takers import Channel, Rotation, Taker
from tests.brokers.rabbitmq import sides as sides_room
from tests.brokers.rabbitmq.sides import (
    HASTY_S,
    MAIN,
    PREFIX,
    SETTLE_S,
    Letter,
    Model,
    Real,
    arguments,
    connect,
    eventually_equal,
    letter,
    profile_of,
    sides,
    version_of,
)

pytestmark = pytest.mark.real_broker

EXAMPLES = int(os.environ.get("CHAOSHARNESS_CONFORMANCE", "0"))
CHANNELS = 3

ASKING = {
    "classic": Queue(),
    "quorum, limit 2": Queue("quorum", delivery_limit=2),
    "quorum, no limit": Queue("quorum"),
    "classic, at most 3": Queue(length_max=3),
    "classic, at most 3, rejects": Queue(length_max=3, overflow="reject-publish"),
    "classic, priorities": Queue(priority_max=5),
    "quorum, at most 3, limit 2": Queue("quorum", length_max=3, delivery_limit=2),
    "quorum, at most 3, rejects": Queue("quorum", length_max=3, overflow="reject-publish"),
}
PUSHING = {
    "classic": Queue(),
    "quorum, limit 2": Queue("quorum", delivery_limit=2),
    "quorum, no limit": Queue("quorum"),
    "classic, single active consumer": Queue(single_active_consumer=True),
    "quorum, single active consumer": Queue("quorum", single_active_consumer=True),
}

SETTLING = ("ack", "ack up to", "nack", "nack up to", "dead-letter", "reject", "reject to dead")


class Differs(AssertionError):
    """The model and the real broker show different things."""


@attrs.frozen
class Step:
    """One operation. `number` is a prefetch, a priority, or which outstanding delivery."""

    verb: str
    channel: int
    number: int


def steps(*verbs: str, length_min: int = 20) -> st.SearchStrategy[list[Step]]:
    step = st.builds(Step, st.sampled_from(verbs), st.integers(0, CHANNELS - 1), st.integers(0, 5))
    return st.lists(step, min_size=length_min, max_size=40)


ASKS = steps("publish", "publish", "get", "get", *SETTLING, "close", "twice")
PUSHES = steps("publish", "publish", "publish", "consume", *SETTLING, "close")


def settle(side: Model | Real, step: Step, tag: int) -> None:
    match step.verb:
        case "ack" | "ack up to":
            side.ack(step.channel, tag, step.verb == "ack up to")
        case "nack" | "nack up to":
            side.nack(step.channel, tag, step.verb == "nack up to", True)
        case "dead-letter":
            side.nack(step.channel, tag, False, False)
        case "reject" | "reject to dead":
            side.reject(step.channel, tag, step.verb == "reject")


class Pair:
    """Both sides, and what was done to them."""

    def __init__(self, model: Model, real: Real, *, settle_s: float = SETTLE_S) -> None:
        self.model = model
        self.real = real
        self.settle_s = settle_s
        self.done: list[Step] = []
        self.published = 0

    def compare(self, what: str, expected: object, seen: object) -> None:
        if expected != seen:
            words = "\n  ".join(str(step) for step in self.done)
            raise Differs(f"{what}: the model says {expected}, RabbitMQ {seen}, after\n  {words}")

    def take(self, step: Step) -> None:
        """Do one step on both sides, where it makes sense there, and compare."""
        model, real = self.model, self.real
        self.done.append(step)
        match step.verb:
            case "publish":
                self.published += 1
                body = str(self.published)
                expected = model.publish(body, priority=step.number)
                self.compare("confirm", expected, real.publish(body, priority=step.number))
            case "get":
                self.compare("get", model.get(step.channel), real.get(step.channel))
            case "consume":
                if not model.consumes(step.channel):
                    model.consume(step.channel, step.number % 3 + 1)
                    real.consume(step.channel, step.number % 3 + 1)
            case "close":
                model.close(step.channel)
                real.close(step.channel)
            case "twice":
                model.ack(step.channel, 999, False)
                real.ack(step.channel, 999, False)
            case _:
                if tags := model.outstanding(step.channel):
                    for side in (model, real):
                        settle(side, step, tags[step.number % len(tags)])
        self.meet("pushed", model.pushed(), real.pushed)
        real.clear()
        self.meet("ready", model.ready(), real.ready)

    def meet(self, what: str, expected: object, look: Callable[[], object]) -> None:
        """Compare with what the real broker shows sooner or later."""
        self.compare(what, expected, eventually_equal(look, expected, self.settle_s))

    def bury(self) -> None:
        """Compare the dead letters. Their order is not promised."""
        found = []

        def look() -> list[object]:
            found.extend(self.real.letters())
            return sorted(found, key=str)

        self.meet("dead letters", self.model.letters(), look)


def compare(
    connection: object, queue: Queue, sequence: list[Step], settle_s: float = SETTLE_S
) -> None:
    for model, real in sides(connection, queue, CHANNELS):
        pair = Pair(model, real, settle_s=settle_s)
        for step in sequence:
            pair.take(step)
        pair.bury()


def compared(connection: object, queue: Queue, strategy: object, *, examples: int) -> None:
    """Compare many sequences; shrink a difference to the shortest that shows it."""

    @settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(sequence: list[Step]) -> None:
        compare(connection, queue, sequence)

    run()


@pytest.fixture(scope="module")
def connection():
    found = connect()
    if found is None:
        pytest.skip("no RabbitMQ answers at 127.0.0.1:5672 (guest/guest)")
    yield found
    found.close()


@pytest.mark.parametrize("queue", ASKING.values(), ids=ASKING)
def test_asked_for_one_by_one(connection, queue):
    compared(connection, queue, ASKS, examples=12)


@pytest.mark.parametrize("queue", PUSHING.values(), ids=PUSHING)
def test_pushed_to_consumers(connection, queue):
    compared(connection, queue, PUSHES, examples=12)


def test_only_the_head_of_a_queue_expires(connection):
    for model, real in sides(connection, Queue(), CHANNELS):
        pair = Pair(model, real)
        for side in (model, real):
            side.publish("stays", None)
            side.publish("waits behind it", 40)
            side.publish("expires at once", 0)
        model.now = 100
        time.sleep(0.1)
        pair.meet("ready", 3, real.ready)
        pair.compare("get", model.get(0), real.get(0))
        pair.meet("ready", model.ready(), real.ready)
        pair.bury()


def test_what_is_handed_out_does_not_expire_until_it_comes_back(connection):
    for model, real in sides(connection, Queue(ttl_ms=40), CHANNELS):
        pair = Pair(model, real)
        for side in (model, real):
            side.publish("late")
        pair.compare("get", model.get(0), real.get(0))
        model.now = 100
        time.sleep(0.1)
        for side in (model, real):
            side.nack(0, 1, False, True)
        pair.meet("ready", model.ready(), real.ready)
        pair.bury()


WORK, WAIT, ALONE = (f"{PREFIX}.ring.{name}" for name in ("work", "wait", "alone"))
RING = {
    WORK: Queue(dead_letter=WAIT),
    WAIT: Queue(ttl_ms=30, dead_letter=WORK),
    ALONE: Queue(ttl_ms=30, dead_letter=ALONE),
}


class RingModel:
    def __init__(self, version):
        self.now = 0
        self.channel = Channel()
        self.node = Node(RING, version=version, clock=lambda: self.now, watcher=Watcher())

    def publish(self, name):
        self.node.store(Copy(name, None, {}, b"order"), [name])

    def wait(self):
        self.now += 100
        for queue in self.node.queues.values():
            self.node.expire(queue)

    def get_and_reject(self, name):
        push = self.node.get(self.channel, name)
        if push is None:
            return None
        self.node.nack(self.channel, push.tag, requeue=False, how="reject")
        return letter(push.copy.body, push.copy.headers, push.redelivered)


class RingReal:
    def __init__(self, connection):
        self.channel = connection.channel()
        for name, queue in RING.items():
            self.channel.queue_declare(name, arguments=arguments(queue, queue.dead_letter))

    def publish(self, name):
        self.channel.basic_publish("", name, b"order")

    def wait(self):
        time.sleep(0.1)

    def get_and_reject(self, name):
        method, properties, body = self.channel.basic_get(name)
        if method is None:
            return None
        self.channel.basic_reject(method.delivery_tag, requeue=False)
        return letter(body, properties.headers, method.redelivered)

    def drop(self):
        for name in RING:
            self.channel.queue_delete(name)
        self.channel.close()


def test_a_retry_ring_turns_while_somebody_rejects_and_counts_the_turns(connection):
    model, real = RingModel(profile_of(version_of(connection))), RingReal(connection)
    seen = []
    try:
        for side in (model, real):
            side.publish(WORK)
            found = []
            for _ in range(3):
                found.append(side.get_and_reject(WORK))
                side.wait()
            seen.append(found)
    finally:
        real.drop()
    assert seen[0] == seen[1]
    assert seen[0][-1] == Letter("order", ("wait expired 2", "work rejected 2"))


def test_a_ring_that_nobody_rejects_in_drops_the_message(connection):
    model, real = RingModel(profile_of(version_of(connection))), RingReal(connection)
    seen = []
    try:
        for side in (model, real):
            side.publish(ALONE)
            side.wait()
            seen.append(side.get_and_reject(ALONE))
    finally:
        real.drop()
    assert seen == [None, None]


# ---- the test of the test: wrong models must be told apart


def to_the_tail(order, copies, how):
    for copy in copies:
        order.append(copy)


def returned_first(order, copies, how):
    order._returned.extend(copies)


def returned_last(order, copies, how):
    order._returned.extendleft(copies)


def keeps_its_turn(rotation, taker):
    if taker in rotation._all and taker not in rotation._turn and taker.has_room():
        rotation._turn.appendleft(taker)


def always_the_first(rotation):
    return next((taker for taker in rotation._all if taker.has_room()), None)


def one_more(taker):
    return taker.unacked <= taker.prefetch


def as_if_new(give_back):
    def wrong(node, pushes, how):
        give_back(node, pushes, how)
        for push in pushes:
            push.copy.redelivered = False

    return wrong


def by_age(push):
    return (False, "")


def newest_first(node, queue):
    length_max = queue.definition.length_max
    while length_max is not None and len(queue.order) > length_max:
        node._bury(queue, queue.order._heap.pop()[2], "maxlen")


def never_full(node, queue):
    return False


def counted_once(letter):
    def wrong(copy, *rest, **version):
        made = letter(copy, *rest, **version)
        made.headers["x-death"] = made.headers["x-death"][:1]
        made.headers["x-death"][0]["reason"] = "rejected"
        return made

    return wrong


def one_later(limit_of):
    def wrong(definition, version):
        limit = limit_of(definition, version)
        return None if limit is None else limit + 1

    return wrong


MUTANTS = {
    "classic: requeued to the tail": ("classic", ASKS, ClassicOrder, "put_back", to_the_tail),
    "classic: rotation starts anew": ("classic", PUSHES, Rotation, "next", always_the_first),
    "classic: rejoins in front": ("classic", PUSHES, Rotation, "settled", keeps_its_turn),
    "classic: prefetch off by one": ("classic", PUSHES, Taker, "has_room", one_more),
    "classic: redelivered is forgotten": (
        "classic",
        ASKS,
        Node,
        "_give_back",
        as_if_new(Node._give_back),
    ),
    "classic: drops the newest": ("classic, at most 3", ASKS, Node, "_trim", newest_first),
    "classic: never refuses": ("classic, at most 3, rejects", ASKS, Node, "_refuses", never_full),
    "quorum: at its original position": (
        "quorum, limit 2",
        ASKS,
        orders_room,
        "QuorumOrder",
        ClassicOrder,
    ),
    "quorum: returned in reverse": (
        "quorum, limit 2",
        ASKS,
        QuorumOrder,
        "put_back",
        returned_last,
    ),
    "quorum: never to the tail": (
        "quorum, no limit",
        ASKS,
        QuorumOrder,
        "put_back",
        returned_first,
    ),
    "quorum: limit off by one": (
        "quorum, limit 2",
        ASKS,
        takers_room,
        "limit_of",
        one_later(orders_room.limit_of),
    ),
    "quorum: rotation starts anew": ("quorum, limit 2", PUSHES, Rotation, "next", always_the_first),
    "quorum: rejoins in front": ("quorum, no limit", PUSHES, Rotation, "settled", keeps_its_turn),
    "dead letters: another reason": (
        "quorum, limit 2",
        ASKS,
        Copy,
        "letter",
        counted_once(Copy.letter),
    ),
}


RARE = (
    "quorum: limit off by one",
    "dead letters: another reason",
    "quorum: returned in reverse",
    "quorum: at its original position",
)
"""What is told apart by few sequences only: it takes hundreds."""


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(one, marks=pytest.mark.slow) if one in RARE else one for one in MUTANTS],
)
def test_a_wrong_model_is_told_apart(connection, monkeypatch, mutant):
    profile, strategy, owner, name, wrong = MUTANTS[mutant]
    queue = (ASKING if strategy is ASKS else PUSHING)[profile]
    monkeypatch.setattr(owner, name, wrong)

    @settings(  # the examples depend on which modules are loaded, so there are enough of them
        max_examples=600,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(sequence: list[Step]) -> None:
        compare(connection, queue, sequence, HASTY_S)

    with pytest.raises(Differs):
        run()


class ToTheTail(ClassicOrder):
    def put_back(self, copies, how):
        to_the_tail(self, copies, how)


@pytest.mark.slow
def test_a_difference_shrinks_to_a_few_steps():
    """Between two models, since a thousand sequences on a real broker take their time."""

    @settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @given(steps("publish", "get", "nack", length_min=0))
    def run(sequence: list[Step]) -> None:
        wrong, right = (Model(Queue(), CHANNELS, "3.10") for _ in range(2))
        wrong.node.queues[MAIN].order = ToTheTail(Queue(), "3.10")
        pair = Pair(wrong, right, settle_s=0)
        for step in sequence:
            pair.take(step)

    with pytest.raises(Differs) as caught:
        run()
    verbs = re.findall(r"Step\(verb='(.*?)'", str(caught.value))
    assert verbs == ["publish", "publish", "get", "nack", "get"]


def test_where_no_broker_answers_there_is_no_connection(monkeypatch):
    nobody = pika.ConnectionParameters("127.0.0.1", 1, socket_timeout=1)
    monkeypatch.setattr(sides_room, "ADDRESS", nobody)
    assert connect() is None


def test_each_version_of_the_broker_has_its_profile():
    assert profile_of("3.10.8") == "3.10"
    assert profile_of("3.13.7") == "3.10"
    assert profile_of("4.1.2") == "4.0"
    assert profile_of("4.3.0") == "4.3"
