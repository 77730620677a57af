"""How little RabbitMQ may promise: publishers that nobody answers, and clients that resend."""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.brokers.guarantees import Guarantee
from chaosharness.brokers.rabbitmq.rabbitmq import RabbitMQ


def _unconfirmed(broker: RabbitMQ) -> RabbitMQ:
    return attrs.evolve(broker, confirms=False, resends=False)


def _resent(broker: RabbitMQ) -> RabbitMQ:
    return attrs.evolve(broker, resends=True) if broker.confirms else broker


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
)
