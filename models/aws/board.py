"""A board that shows the last word of each order, fed by a FIFO queue.

chaosharness guarantees models.aws.board:board
chaosharness guarantees models.aws.board:last_word_wins
"""

from __future__ import annotations

from msgspec import Struct

from chaosharness import SQS, Env, KeyValue, SQSQueue, System, idempotent

WORDS = ("placed", "cancelled")


class Order(Struct, frozen=True):
    """What is ordered, and cancelled at once."""

    id: str


class Said(Struct, frozen=True):
    """The nth word about an order."""

    order: str
    number: int
    word: str


def board() -> System:
    """The right one on any queue: an older word never overwrites a newer one."""
    return _system("board", by_number=True)


def last_word_wins() -> System:
    """Right on FIFO, and wrong on a standard queue: what comes last is taken for what is newest."""
    return _system("board-naive", by_number=False)


def _system(name: str, *, by_number: bool) -> System:
    system = System(name)
    bus = system.add(SQS("bus", {"orders": SQSQueue(), "words.fifo": SQSQueue()}))
    shown = system.add(KeyValue("shown"))

    @system.service("desk")
    def desk(env: Env) -> None:
        publish = env.publisher(bus)

        def on_order(order: Order) -> None:
            for number, word in enumerate(WORDS, 1):
                said = Said(order.id, number, word)
                unique = f"{said.order}-{number}"
                publish("words.fifo", said, key=said.order, deduplication=unique)

        env.consume(bus, "orders", on_order, on_unreadable="skip")

    @system.service("board")
    def show(env: Env) -> None:
        store = env.connect(shown)

        def on_word(said: Said) -> None:
            before = store.get(said.order)
            if by_number and before is not None and before["number"] >= said.number:
                return
            store.put(said.order, {"number": said.number, "word": said.word})

        env.consume(bus, "words.fifo", on_word, on_unreadable="skip")

    @system.entry(examples=[Order("o1"), Order("o2")])
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("orders", order, key=order.id)

    system.claim(idempotent())
    return system
