"""How little RabbitMQ may promise: publishers that nobody answers, and clients that resend."""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.brokers.guarantees import Guarantee
from chaosharness.brokers.rabbitmq.rabbitmq import RabbitMQ
from chaosharness.brokers.rabbitmq.topology import Queue


def _unconfirmed(broker: RabbitMQ) -> RabbitMQ:
    return attrs.evolve(broker, confirms=False, resends=False)


def _resent(broker: RabbitMQ) -> RabbitMQ:
    return attrs.evolve(broker, resends=True) if broker.confirms else broker


def _classic(broker: RabbitMQ) -> RabbitMQ:
    def weaken(queue: Queue) -> Queue:
        if queue.kind != "quorum":
            return queue
        return attrs.evolve(
            queue, kind="classic", delivery_limit=None, dead_letter_strategy="at-most-once"
        )

    queues = {name: weaken(queue) for name, queue in broker.queues.items()}
    return broker if queues == broker.queues else attrs.evolve(broker, queues=queues)


GUARANTEES: Final = (
    Guarantee(
        "RabbitMQ",
        "unconfirmed",
        "publisher confirms",
        "at most once",
        "of a channel and a queue",
        "what is lost on its way to the broker is lost, and the publisher is not told",
        'RabbitMQ documentation, "Consumer Acknowledgements and Publisher Confirms"; pika without '
        "`confirm_delivery`",
        _unconfirmed,
    ),
    Guarantee(
        "RabbitMQ",
        "resent",
        "a client that sends once",
        "at least once",
        "of a channel and a queue",
        "a message whose confirm was lost is sent again by the client, and is there twice",
        'RabbitMQ documentation, "Reliability Guide"; kombu and Celery with `retry`',
        _resent,
    ),
    Guarantee(
        "RabbitMQ",
        "classic",
        "quorum queues",
        "at least once",
        "of a channel and a queue; what comes back has its old place",
        "nobody counts how often a message comes back, so it may come for ever, in front of "
        "others; a dead letter whose queue is full or gone is dropped",
        'RabbitMQ documentation, "Quorum Queues": delivery limit, at-least-once dead lettering',
        _classic,
        strikes=False,
    ),
)
