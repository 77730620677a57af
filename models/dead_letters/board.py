"""A board that shows the last word of each order, and an operator who replays its dead letters.

A word that the board cannot store becomes a dead letter, and the next one is shown. Two days later
the operator looks, and puts it back into the main stream: behind what is newer.

chaosharness run models.dead_letters.board:replayed_over_newer_on_sqs
chaosharness run models.dead_letters.board:numbered_on_sqs
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from msgspec import Struct

from chaosharness import (
    NATS,
    SQS,
    Budget,
    Env,
    Kafka,
    KeyValue,
    NATSConsumer,
    NATSStream,
    Queue,
    RabbitMQ,
    Redis,
    SQSQueue,
    System,
    dead_letters_overwrite_nothing_newer,
    idempotent,
)

LATER_S = 2 * 86_400.0
"""When somebody looks at the dead letters: two days later."""

CALM_MS = 4 * 86_400_000
"""How long a run may take to become quiet: longer than that."""

WORDS = ("placed", "cancelled")


class Order(Struct, frozen=True):
    """What is ordered, and cancelled at once."""

    id: str


class Said(Struct, frozen=True):
    """The nth word about an order."""

    order: str
    number: int
    word: str


@attrs.frozen(kw_only=True)
class Product:
    """A broker, and how it is used here.

    Attributes:
        broker: What carries the words.
        orders: Where orders come in.
        words: Where words are published.
        read: What the board consumes.
        options: How.
        replay: Puts all dead letters back, once.
        safely: What it takes that orders come again where they were not handled.
        sending: What a publish of a word takes beside its key.
    """

    broker: Any
    orders: str
    words: str
    read: str
    options: dict[str, Any]
    replay: Callable[[Env, Any], None]
    safely: dict[str, Any] = attrs.field(factory=dict)
    sending: Callable[[Said], dict[str, Any]] = lambda said: {}


def _on_sqs() -> Product:
    queues = {
        "orders": SQSQueue(),
        "words.fifo": SQSQueue(dead_letter="dead.fifo", receives_max=1),
        "dead.fifo": SQSQueue(retention_ms=1_209_600_000),
    }

    def replay(env: Env, bus: Any) -> None:
        env.consumer(bus, "dead.fifo").redrive()

    return Product(
        broker=SQS("bus", queues),
        orders="orders",
        words="words.fifo",
        read="words.fifo",
        options={"on_unreadable": "skip"},
        replay=replay,
        sending=lambda said: {"deduplication": f"{said.order}-{said.number}"},
    )


def _on_rabbitmq() -> Product:
    words = Queue("quorum", dead_letter="dead", delivery_limit=0)
    queues = {"orders": Queue(), "words": words, "dead": Queue()}

    def replay(env: Env, bus: Any) -> None:
        publish, consumer = env.publisher(bus), env.consumer(bus, "dead", read_as=Said)
        while (letter := consumer.receive(timeout_s=5)) is not None:
            publish("words", letter.value, key=letter.value.order)
            consumer.ack(letter)

    return Product(
        broker=RabbitMQ("bus", queues=queues),
        orders="orders",
        words="words",
        read="words",
        options={"on_unreadable": "skip", "prefetch": 1},
        replay=replay,
    )


def _on_kafka() -> Product:
    def replay(env: Env, bus: Any) -> None:
        publish, consumer = env.publisher(bus), env.consumer(bus, "words.DLT", read_as=Said)
        while letters := consumer.poll(10, timeout_s=60):
            for letter in letters:
                publish("words", letter.value, key=letter.value.order)
            consumer.commit()

    return Product(
        broker=Kafka("bus", {"orders": 1, "words": 2, "words.DLT": 1}, idempotent_producer=True),
        orders="orders",
        words="words",
        read="words",
        options={"on_error": "dead-letter", "retries_max": 1, "on_unreadable": "skip"},
        replay=replay,
    )


def _on_nats() -> Product:
    one = NATSConsumer(ack_pending_max=1, dead_subject="dead")
    streams = {
        "orders": NATSStream(consumers={"orders": NATSConsumer()}),
        "words": NATSStream(consumers={"board": one}),
        "dead": NATSStream(consumers={"letters": NATSConsumer()}),
    }

    def replay(env: Env, bus: Any) -> None:
        publish, consumer = env.publisher(bus), env.consumer(bus, "letters", read_as=Said)
        while letters := consumer.fetch(10, wait_s=5):
            for letter in letters:
                publish("words", letter.value, key=letter.value.order)
                consumer.ack_sync(letter)

    return Product(
        broker=NATS("bus", streams),
        orders="orders",
        words="words",
        read="board",
        options={"on_error": "dead-letter", "retries_max": 1, "on_unreadable": "skip"},
        replay=replay,
    )


def _on_redis() -> Product:
    def replay(env: Env, bus: Any) -> None:
        publish, consumer = env.publisher(bus), env.consumer(bus, "dead", read_as=Said)
        while letters := consumer.read(10, block_s=5):
            for letter in letters:
                publish("words", letter.value, key=letter.value.order)
                consumer.ack(letter)

    return Product(
        broker=Redis("bus", ["orders", "words", "dead"]),
        orders="orders",
        words="words",
        read="words",
        options={
            "on_error": "dead-letter",
            "retries_max": 1,
            "on_unreadable": "skip",
            "dead_letter": "dead",
            "claim_ms": 30_000,
        },
        replay=replay,
        safely={"claim_ms": 30_000},
    )


def _system(name: str, product: Product, *, by_number: bool) -> System:
    system = System(name, budget=Budget(calm_ms=CALM_MS))
    bus = system.add(product.broker)
    shown = system.add(KeyValue("shown"))

    @system.service("desk")
    def desk(env: Env) -> None:
        publish = env.publisher(bus)

        def on_order(order: Order) -> None:
            for number, word in enumerate(WORDS, 1):
                said = Said(order.id, number, word)
                publish(product.words, said, key=said.order, **product.sending(said))

        env.consume(bus, product.orders, on_order, on_unreadable="skip", **product.safely)

    @system.service("board")
    def board(env: Env) -> None:
        store = env.connect(shown)

        def on_word(said: Said) -> None:
            before = store.get(said.order)
            if by_number and before is not None and before["number"] >= said.number:
                return
            store.put(said.order, {"number": said.number, "word": said.word})

        env.consume(bus, product.read, on_word, **product.options)

    @system.service("operator")
    def operator(env: Env) -> None:
        def look() -> None:
            env.sleep(LATER_S)
            product.replay(env, bus)

        env.main(look)

    @system.entry(examples=[Order("o1"), Order("o2")])
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)(product.orders, order, key=order.id)

    system.claim(idempotent(), dead_letters_overwrite_nothing_newer())
    return system


def replayed_over_newer_on_sqs() -> System:
    """What comes last is taken for what is newest: a redrive puts the old word back."""
    return _system("replayed-sqs", _on_sqs(), by_number=False)


def replayed_over_newer_on_rabbitmq() -> System:
    """The same on RabbitMQ, where somebody publishes the letters again."""
    return _system("replayed-rabbitmq", _on_rabbitmq(), by_number=False)


def replayed_over_newer_on_kafka() -> System:
    """The same on Kafka, from the topic of dead letters."""
    return _system("replayed-kafka", _on_kafka(), by_number=False)


def replayed_over_newer_on_nats() -> System:
    """The same on JetStream."""
    return _system("replayed-nats", _on_nats(), by_number=False)


def replayed_over_newer_on_redis() -> System:
    """The same on Redis Streams."""
    return _system("replayed-redis", _on_redis(), by_number=False)


def numbered_on_sqs() -> System:
    """The right one: an older word never overwrites a newer one, however late it comes."""
    return _system("numbered-sqs", _on_sqs(), by_number=True)


def numbered_on_rabbitmq() -> System:
    """The right one on RabbitMQ."""
    return _system("numbered-rabbitmq", _on_rabbitmq(), by_number=True)


def numbered_on_kafka() -> System:
    """The right one on Kafka."""
    return _system("numbered-kafka", _on_kafka(), by_number=True)


def numbered_on_nats() -> System:
    """The right one on JetStream."""
    return _system("numbered-nats", _on_nats(), by_number=True)


def numbered_on_redis() -> System:
    """The right one on Redis Streams, where what is claimed comes late as well."""
    return _system("numbered-redis", _on_redis(), by_number=True)
