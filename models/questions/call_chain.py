"""Is our choreography a call chain in disguise?

chaosharness graph models.questions.call_chain:each_asks_the_next
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chaosharness import Env, Exchange, KeyValue, Queue, RabbitMQ, System, no_call_chain
from models.questions import Order

CHECKS: Final = ("credit", "fraud", "tax", "price", "stock")
WORK_S: Final = 0.2


def right() -> System:
    """Build the checks side by side: all hear of the order, and one table holds what they say."""
    return _system("side by side", in_a_row=False)


def each_asks_the_next() -> System:
    """Each check passes the order on to the next one, and only the last one has an answer."""
    return _system("in a row", in_a_row=True)


def _system(name: str, *, in_a_row: bool) -> System:
    shop = System(name)
    queues = {check: Queue(dead_letter="parked") for check in CHECKS}
    exchanges = {} if in_a_row else {"placed": Exchange("fanout", list(CHECKS))}
    bus = shop.add(RabbitMQ("bus", queues=queues | {"parked": Queue()}, exchanges=exchanges))
    answers = shop.add(KeyValue("answers"))

    def add(check: str, following: Sequence[str]) -> None:
        @shop.service(check)
        def checking(env: Env) -> None:
            publish, kept = env.publisher(bus), env.connect(answers)

            def on_order(order: Order) -> None:
                env.sleep(WORK_S)
                if in_a_row and following:
                    publish(following[0], order, key=order.id)
                else:
                    kept.put(f"{order.id} {check}", "fine")

            env.consume(bus, check, on_order, on_error="dead-letter", retries_max=30)

    for at, check in enumerate(CHECKS):
        add(check, CHECKS[at + 1 :])

    @shop.entry(examples=[Order("o1")])
    def place(env: Env, order: Order) -> None:
        if in_a_row:
            env.publisher(bus)(CHECKS[0], order, key=order.id)
        else:
            env.publisher(bus)("", order, exchange="placed")

    shop.claim(no_call_chain())
    return shop
