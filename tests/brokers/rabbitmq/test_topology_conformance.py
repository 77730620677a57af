"""Declarations, routes, lives of queues and streams beside a running RabbitMQ.

By default some 50 fixed sequences. For 2,000 of them, and other ones each time:
CHAOSHARNESS_CONFORMANCE=400 pytest -m real_broker -k the_same_operations
"""

import os
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.topology import Queue
from chaosharness.machines.rabbitmq import exchanges as exchanges_room
from chaosharness.machines.rabbitmq import node as node_room
from chaosharness.machines.rabbitmq.declared import Declared, no_queue
from chaosharness.machines.rabbitmq.exchanges import Binding, OpenExchange, Routes
from chaosharness.machines.rabbitmq.node import Node
from chaosharness.machines.rabbitmq.orders import StreamOrder
from chaosharness.machines.rabbitmq.takers import Rotation
from tests.brokers.rabbitmq.sides import (
    HASTY_S,
    SETTLE_S,
    connect,
    eventually_equal,
    profile_of,
    version_of,
)
from tests.brokers.rabbitmq.topology_sides import EXCHANGES, QUEUES, Machine, Op, Server

pytestmark = pytest.mark.real_broker

EXAMPLES = int(os.environ.get("CHAOSHARNESS_CONFORMANCE", "0"))

channels = st.integers(0, 2)
queues = st.sampled_from((*QUEUES, *QUEUES[:1] * 4))  # mostly one, or little happens there
exchanges = st.sampled_from(EXCHANGES)
keys = st.sampled_from(["", "a", "b", "a.b", "a.a.b", "a..b"])
patterns = st.sampled_from(["", "a", "*", "#", "a.*", "a.#", "#.b", "*.*", "#.a.#"])
headers = st.dictionaries(st.sampled_from(["k", "l", "x-k"]), st.sampled_from([1, "1", True]))
bound = st.builds(
    lambda found, match: {**found, **({"x-match": match} if match else {})},
    headers,
    st.sampled_from(["", "all", "any", "any", "any-with-x", "all-with-x"]),
)


def op(verb: str, *words: Any) -> st.SearchStrategy[Op]:
    return st.builds(lambda at, *said: Op(verb, at, said), channels, *words)


def declared(*kinds: Queue | None) -> st.SearchStrategy[Op]:
    return op("declare", queues, st.sampled_from(kinds))


def bindings() -> st.SearchStrategy[Binding]:
    return st.one_of(
        st.builds(Binding, st.just("queue"), queues, patterns, bound),
        st.builds(Binding, st.just("exchange"), exchanges, patterns, bound),
    )


publish = st.builds(
    lambda at, target, found, priority: Op("publish", at, (*target, found, priority)),
    channels,
    st.one_of(st.tuples(st.just(""), queues), st.tuples(exchanges, keys)),
    headers,
    st.integers(0, 5),
)
to_queue = st.builds(
    lambda at, name, priority: Op("publish", at, ("", name, {}, priority)),
    channels,
    queues,
    st.integers(0, 5),
)
SETTLING = ("ack", "nack", "nack dead", "reject", "reject dead")
settle = op("settle", st.sampled_from(SETTLING), st.integers(0, 5))
get = op("get", queues)
close = op("close")
delete = op("delete", queues, st.booleans(), st.booleans())
any_exchange = op(
    "exchange",
    exchanges,
    st.sampled_from(["direct", "topic", "fanout", "headers"]),
    st.sampled_from([None, *EXCHANGES]),
    st.sampled_from([*[None] * 8, "auto_delete", "internal"]),
)


def consume(*options: dict[str, Any], prefetch_min: int = 0) -> st.SearchStrategy[Op]:
    return op("consume", queues, st.integers(prefetch_min, 3), st.sampled_from(options))


CLASSIC = (Queue(), Queue(), Queue(length_max=2), Queue(priority_max=3))
DEAD = (
    Queue(dead_letter="q1"),
    Queue(dead_letter="q1"),
    Queue(length_max=1, dead_letter="q1"),
    Queue(length_max=1, dead_letter="q2"),
    Queue(length_max=1, overflow="reject-publish-dlx", dead_letter="q1"),
    Queue(dead_letter_exchange="x0"),
    Queue("quorum", delivery_limit=1, dead_letter="q1"),
    Queue(),
)
PROFILES = {
    "routes": st.one_of(
        any_exchange,
        any_exchange,
        declared(Queue(), Queue(), Queue(length_max=2), None),
        declared(Queue()),
        op("bind", st.just(True), exchanges, bindings()),
        op("bind", st.just(True), exchanges, bindings()),
        op("bind", st.booleans(), exchanges, bindings()),
        st.just(Op("bind", 0, (False, "x1", Binding("queue", "q1")))),
        op("delete_exchange", exchanges, st.booleans()),
        publish,
        publish,
        publish,
        get,
    ),
    "lives": st.one_of(
        declared(
            Queue(),
            Queue(durable=False),
            Queue(auto_delete=True),
            Queue(exclusive=True),
            Queue(exclusive=True, auto_delete=True),
            None,
        ),
        declared(Queue(auto_delete=True), Queue(exclusive=True)),
        to_queue,
        to_queue,
        get,
        settle,
        consume({}, {"exclusive": True}),
        op("cancel", queues),
        op("purge", queues),
        delete,
        close,
        op("drop"),
    ),
    "consumers": st.one_of(
        declared(*CLASSIC),
        declared(*CLASSIC),
        to_queue,
        to_queue,
        to_queue,
        consume({}, {"priority": 1}, {"priority": -1}, {"priority": 2}),
        consume({}, {"priority": 1}, prefetch_min=1),
        op("cancel", queues),
        settle,
        settle,
        close,
    ),
    "dead letters": st.one_of(
        declared(*DEAD),
        declared(*DEAD),
        any_exchange,
        op("bind", st.just(True), exchanges, st.builds(Binding, st.just("queue"), queues)),
        to_queue,
        to_queue,
        get,
        get,
        get,
        op(
            "settle",
            st.sampled_from(("nack dead", "reject dead", "nack", "ack")),
            st.integers(0, 5),
        ),
        op("settle", st.sampled_from(("nack dead", "reject dead", "reject")), st.integers(0, 5)),
        op("again", queues),
        op("again", queues),
    ),
    "streams": st.one_of(
        declared(Queue("stream")),
        to_queue,
        to_queue,
        to_queue,
        consume(*({"start": start} for start in ("first", "last", "next", 0, 1)), prefetch_min=0),
        consume({"start": "first"}, prefetch_min=1),
        op("settle", st.sampled_from(["ack", "ack", "ack", "nack"]), st.integers(0, 5)),
        op("cancel", queues),
        get,
        close,
    ),
}
LENGTHS = {"streams": (6, 14)}


def first(*kinds: Queue) -> tuple[st.SearchStrategy[Op], ...]:
    """Begin with queues that are there, or most operations are refused."""
    return tuple(
        st.builds(lambda kind, name=name: Op("declare", 0, (name, kind)), st.sampled_from(kinds))
        for name in QUEUES
    )


KINDS = st.sampled_from(["direct", "topic", "fanout", "headers", "headers"])


def begun(verb: str, *words: st.SearchStrategy[Any]) -> st.SearchStrategy[Op]:
    return st.builds(lambda *said: Op(verb, 0, said), *words)


def bound_to(destination: str, name: str) -> st.SearchStrategy[Op]:
    binding = st.builds(Binding, st.just(destination), st.just(name), patterns, bound)
    return begun("bind", st.just(True), st.just("x0"), binding)


BEGIN = {
    "routes": (
        st.just(Op("declare", 0, ("q0", Queue()))),
        st.just(Op("declare", 0, ("q1", Queue()))),
        begun("exchange", st.just("x0"), KINDS, st.sampled_from([None, "x1"])),
        st.just(Op("exchange", 0, ("x1", "fanout", None))),
        st.just(Op("bind", 0, (True, "x1", Binding("queue", "q1")))),
        bound_to("queue", "q0"),
        bound_to("exchange", "x1"),
        *[begun("publish", st.just("x0"), keys, headers, st.just(0))] * 3,
    ),
    "consumers": (
        *first(*CLASSIC),
        st.just(Op("consume", 1, ("q0", 1, {"priority": 1}))),
        st.just(Op("consume", 0, ("q0", 2, {}))),
    ),
    "dead letters": first(*DEAD),
    "streams": first(Queue("stream"))[:1],
    "lives": (
        st.just(Op("declare", 0, ("q0", Queue()))),
        st.just(Op("publish", 0, ("", "q0", {}, 0))),
    ),
}


class Differs(AssertionError):
    """The machine and the real broker show different things."""


def told(one: Op) -> str:
    """Say an operation in short: what is at its default is left out."""

    def short(word: Any) -> str:
        if not isinstance(word, Queue):
            return repr(word)
        fields = attrs.fields(Queue)
        said = [f.name for f in fields if getattr(word, f.name) != f.default or f.name == "kind"]
        return f"Queue({', '.join(f'{name}={getattr(word, name)!r}' for name in said)})"

    return f"{one.channel}: {one.verb} {', '.join(map(short, one.words))}"


def dying(*deaths: tuple[str, str, int]) -> dict[str, Any]:
    """Return the headers of a message that has died so."""
    lines = [
        {"queue": queue, "reason": why, "count": count, "exchange": "", "routing-keys": [""]}
        for queue, why, count in deaths
    ]
    return {"x-death": lines}


def promised(answer: Any) -> Any:
    """Leave out which argument of several that differ is told: that is up to the broker."""
    if isinstance(answer, str) and "inequivalent arg 'x-" in answer:
        return answer.partition("'x-")[0]
    return answer


class Pair:
    """Both sides, and what was done to them."""

    def __init__(self, model: Machine, real: Server, settle_s: float = SETTLE_S) -> None:
        self.model = model
        self.real = real
        self.settle_s = settle_s
        self.done: list[Op] = []
        self.published = 0
        self.last: dict[str, Any] = dying(("q0", "rejected", 3))

    def compare(self, what: str, expected: object, seen: object) -> None:
        if expected != seen:
            words = "\n  ".join(map(told, self.done))
            raise Differs(f"{what}: the model says {expected}, RabbitMQ {seen}, after\n  {words}")

    def take(self, step: Op) -> None:
        made = self._made(step)
        if made is None:
            return
        self.done.append(made)
        expected = self.model.do(made)
        self.compare(made.verb, promised(expected), promised(self.real.do(made)))
        if self.model.rounds:
            return
        self._note(expected)
        pushed = self.model.pushed()
        for found in pushed.values():
            self._note(*found)
        self._meet("pushed", pushed, self.real.pushed)
        self.real.inbox.clear()
        ready = self.model.ready()
        owners = {
            queue.name: self.model.connections.index(queue.owner)
            for queue in self.model.node.queues.values()
            if queue.owner in self.model.connections
        }
        self._meet("ready", ready, lambda: self.real.ready(ready, owners))
        self._meet("cancelled", self.model.cancels, self.real.cancelled)

    def meet_round(self) -> None:
        """See that the messages go round in the real broker too: some died more and more often."""

        def most() -> int:
            found = [self.real.do(Op("get", 0, (name,))) for name in QUEUES]
            deaths = [death for one in found if isinstance(one, tuple) for death in one[2]]
            return max((count for *_, count in deaths), default=0)

        self.compare("goes round", True, eventually_equal(lambda: most() > 20, True, 2))

    def _note(self, *found: Any) -> None:
        for one in found:
            if isinstance(one, tuple) and one[2]:
                self.last = dying(*one[2])

    def _made(self, step: Op) -> Op | None:
        """Fill in what depends on what has happened; None where it makes no sense."""
        if step.verb in ("publish", "again"):
            self.published += 1
            body = str(self.published)
            if step.verb == "publish":
                return Op("publish", step.channel, (*step.words, body))
            return Op("publish", step.channel, ("", step.words[0], self.last, 0, body))
        if step.verb == "settle":
            tags = self.model.outstanding(step.channel)
            how, which = step.words
            return Op("settle", step.channel, (how, tags[which % len(tags)])) if tags else None
        return step

    def _meet(self, what: str, expected: object, look: Callable[[], object]) -> None:
        self.compare(what, expected, eventually_equal(look, expected, self.settle_s))


def compare(connection: Any, sequence: list[Op], settle_s: float = SETTLE_S) -> None:
    real = Server(connection)
    try:
        pair = Pair(Machine(profile_of(version_of(connection))), real, settle_s)
        for step in sequence:
            pair.take(step)
            if pair.model.rounds:
                pair.meet_round()
                return  # nothing is at rest there any more
    finally:
        real.drop_all()


def sequences(profile: str) -> st.SearchStrategy[list[Op]]:
    shortest, longest = LENGTHS.get(profile, (15, 30))
    rest = st.lists(PROFILES[profile], min_size=shortest, max_size=longest)
    return st.tuples(st.tuples(*BEGIN.get(profile, ())), rest).map(lambda two: [*two[0], *two[1]])


@pytest.fixture
def connection():
    found = connect()
    if found is None:
        pytest.skip("no RabbitMQ answers at 127.0.0.1:5672 (guest/guest)")
    yield found
    if found.is_open:
        found.close()


def run_all(
    connection: Any,
    profile: str,
    *,
    examples: int,
    phases: Any = (Phase.generate, Phase.shrink),
    settle_s: float = SETTLE_S,
) -> None:
    held = [connection]

    @settings(
        max_examples=examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences(profile))
    def run(sequence: list[Op]) -> None:
        if not held[0].is_open:
            held[0] = connect()
        compare(held[0], sequence, settle_s)

    run()
    if held[0].is_open and held[0] is not connection:
        held[0].close()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_operations_have_the_same_answers(connection, profile):
    run_all(connection, profile, examples=EXAMPLES or (4 if profile == "streams" else 12))


ROUND = [
    Op("declare", 0, ("q1", Queue(length_max=1, dead_letter="q2"))),
    Op("declare", 0, ("q2", Queue(length_max=1, dead_letter="q1"))),
    *[Op("again", 0, ("q1",))] * 3,
]


def test_what_was_rejected_once_goes_round_for_ever(connection):
    compare(connection, ROUND)


# ---- the test of the test: wrong machines must be told apart


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing, and find nothing."""


def all_of_them(bound_headers, message):
    return all(name in message for name in bound_headers if name != "x-match")


def twice(queues_of):
    def wrong(routes, *message):
        found = queues_of(routes, *message)
        return found + found[:1]

    return wrong


def without_alternates(follow):
    def wrong(routes, first, *rest):
        for exchange in routes.exchanges.values():
            exchange.alternate = None
        return follow(routes, first, *rest)

    return wrong


def to_queues_only(matching):
    def wrong(exchange, key, message):
        return (one for one in matching(exchange, key, message) if one.destination == "queue")

    return wrong


def of_everybody(declared, channel, name):
    queue = declared._node.queues.get(name)
    return no_queue(name) if queue is None else queue


def giving_back(cancel):
    def wrong(node, taker):
        cancel(node, taker)
        pushes = [push for push in taker.channel.unacked.values() if push.taker is taker]
        for push in pushes:
            del taker.channel.unacked[push.tag]
        node._give_back(pushes, "closed")

    return wrong


def without_trimming(give_back):
    def wrong(node, pushes, how):
        node._trim = nothing
        give_back(node, pushes, how)
        del node._trim

    return wrong


def with_what_is_in_hand(purge):
    def wrong(declared, channel, name):
        for tag, push in [*channel.unacked.items()]:
            if push.queue.name == name:
                del channel.unacked[tag]
        return purge(declared, channel, name)

    return wrong


def one_further(position_of):
    def wrong(order, start):
        return position_of(order, start) + 1

    return wrong


def unranked(next_of):
    def wrong(rotation):
        rotation._ranked = False
        return next_of(rotation)

    return wrong


def unread(publish_of):
    def wrong(machine, at, exchange, key, found, *rest):
        return publish_of(machine, at, exchange, key, {}, *rest)

    return wrong


WRONG = {
    "headers: any is all": ("routes", exchanges_room, "headers_match", all_of_them),
    "a copy for each binding": ("routes", Routes, "queues", twice(Routes.queues)),
    "no alternates": ("routes", Routes, "_follow", without_alternates(Routes._follow)),
    "no bindings between exchanges": (
        "routes",
        OpenExchange,
        "matching",
        to_queues_only(OpenExchange.matching),
    ),
    "nothing is unbound": ("routes", OpenExchange, "unbind", lambda *_: False),
    "an exclusive queue is everybody's": ("lives", Declared, "found", of_everybody),
    "it outlives its connection": ("lives", Node, "disconnect", nothing),
    "nothing is deleted with its consumer": (
        "lives",
        Node,
        "_goes_with_consumer",
        lambda *_: False,
    ),
    "an exclusive consumer is not alone": ("lives", Node, "_refuses_consumer", nothing),
    "cancelling gives back": ("consumers", Node, "cancel", giving_back(Node.cancel)),
    "purging takes what is in hand": (
        "lives",
        Declared,
        "purge",
        with_what_is_in_hand(Declared.purge),
    ),
    "consumers have no priority": ("consumers", Rotation, "next", unranked(Rotation.next)),
    "a full queue takes back": (
        "dead letters",
        Node,
        "_give_back",
        without_trimming(Node._give_back),
    ),
    "what clients say of deaths is not read": (
        "dead letters",
        Machine,
        "publish",
        unread(Machine.publish),
    ),
    "refused is not dead": ("dead letters", Node, "refuse", nothing),
    "letters keep no count": (
        "dead letters",
        Copy,
        "letter",
        lambda copy, queue, reason, exchange, key, **_: Copy(
            copy.topic if key is None else key, None, {}, copy.body, exchange=exchange
        ),
    ),
    "a stream begins one later": (
        "streams",
        StreamOrder,
        "position_of",
        one_further(StreamOrder.position_of),
    ),
    "a stream takes back": ("streams", node_room, "_no_stream", lambda *_: None),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_machine_is_told_apart(connection, monkeypatch, wrong):
    profile, owner, name, replacement = WRONG[wrong]
    monkeypatch.setattr(owner, name, replacement)
    # letters without a count go round for ever
    with pytest.raises((Differs, AssertionError, AttributeError, RecursionError)):
        run_all(connection, profile, examples=300, phases=(Phase.generate,), settle_s=HASTY_S)
