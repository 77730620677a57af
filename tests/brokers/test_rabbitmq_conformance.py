"""The RabbitMQ model beside a running RabbitMQ: the same operations, the same observations.

By default some 150 fixed sequences, in about ten seconds. For more, and other ones each
time, say how many per profile: CHAOSHARNESS_CONFORMANCE=1000 pytest -m real_broker
"""

import os
import re
import time

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chaosharness.brokers import rabbitmq_node, rabbitmq_queues
from chaosharness.brokers.rabbitmq_node import Node
from chaosharness.brokers.rabbitmq_queues import ClassicOrder, QuorumOrder, Rotation, Taker
from chaosharness.brokers.rabbitmq_topology import Queue
from tests.brokers.rabbitmq_sides import Model, Real, connect, eventually_equal, profile_of, sides

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


def steps(
    *verbs: str, length_min: int = 20, length_max: int = 40, channels: int = CHANNELS
) -> st.SearchStrategy[list[Step]]:
    step = st.builds(Step, st.sampled_from(verbs), st.integers(0, channels - 1), st.integers(0, 5))
    return st.lists(step, min_size=length_min, max_size=length_max)


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

    def __init__(self, model: Model, real: Real) -> None:
        self.model = model
        self.real = real
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
        expected_pushes = model.pushed()
        self.compare("pushed", expected_pushes, eventually_equal(real.pushed, expected_pushes))
        real.clear()
        self.compare("ready", model.ready(), eventually_equal(real.ready, model.ready()))

    def bury(self) -> None:
        """Compare the dead letters. Their order is not promised."""
        found = []

        def look() -> list[object]:
            found.extend(self.real.letters())
            return sorted(found, key=str)

        expected = self.model.letters()
        self.compare("dead letters", expected, eventually_equal(look, expected))


def compare(connection: object, queue: Queue, sequence: list[Step]) -> None:
    for model, real in sides(connection, queue, CHANNELS):
        pair = Pair(model, real)
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
        pair.compare("ready", 3, eventually_equal(real.ready, 3))
        pair.compare("get", model.get(0), real.get(0))
        pair.compare("ready", model.ready(), eventually_equal(real.ready, 0))
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
        pair.compare("ready", model.ready(), eventually_equal(real.ready, 0))
        pair.bury()


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
    def wrong(copy, *rest):
        made = letter(copy, *rest)
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
        rabbitmq_queues,
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
        rabbitmq_queues,
        "limit_of",
        one_later(rabbitmq_queues.limit_of),
    ),
    "quorum: rotation starts anew": ("quorum, limit 2", PUSHES, Rotation, "next", always_the_first),
    "quorum: rejoins in front": ("quorum, no limit", PUSHES, Rotation, "settled", keeps_its_turn),
    "dead letters: another reason": (
        "quorum, limit 2",
        ASKS,
        rabbitmq_node,
        "dead_letter",
        counted_once(rabbitmq_node.dead_letter),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_model_is_told_apart(connection, monkeypatch, mutant):
    profile, strategy, owner, name, wrong = MUTANTS[mutant]
    queue = (ASKING if strategy is ASKS else PUSHING)[profile]
    monkeypatch.setattr(owner, name, wrong)

    @settings(
        max_examples=100,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(sequence: list[Step]) -> None:
        compare(connection, queue, sequence)

    with pytest.raises(Differs):
        run()


def test_a_difference_shrinks_to_a_few_steps(connection, monkeypatch):
    monkeypatch.setattr(ClassicOrder, "put_back", to_the_tail)
    few = steps("publish", "get", "nack", length_min=0, length_max=12, channels=1)
    with pytest.raises(Differs) as caught:
        compared(connection, Queue(), few, examples=200)
    verbs = re.findall(r"Step\(verb='(.*?)'", str(caught.value))
    assert verbs == ["publish", "publish", "get", "nack", "get"]


def test_each_version_of_the_broker_has_its_profile():
    assert profile_of("3.10.8") == "3.10"
    assert profile_of("3.13.7") == "3.10"
    assert profile_of("4.1.2") == "4.0"
    assert profile_of("4.3.0") == "4.3"
