"""The broker: how to get there, what is declared, and a loop that comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

PARAMETERS = pika.URLParameters("amqp://shop:secret@rabbit/shop?heartbeat=60")
PERSISTENT = pika.BasicProperties(content_type="application/json", delivery_mode=2)

OnMessage = Callable[[BlockingChannel, Any, Any, bytes], None]


def connected() -> BlockingChannel:
    """Return a channel that confirms, with everything declared."""
    channel = pika.BlockingConnection(PARAMETERS).channel()
    channel.confirm_delivery()
    channel.exchange_declare("shop", "topic", durable=True)
    channel.queue_declare("aside", durable=True)
    aside = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "aside"}
    for queue, key in (("charge", "order.placed"), ("book", "order.charged")):
        channel.queue_declare(queue, durable=True, arguments=aside)
        channel.queue_bind(queue, "shop", key)
    return channel


def publish(channel: BlockingChannel, key: str, body: bytes) -> None:
    channel.basic_publish("shop", key, body, PERSISTENT, mandatory=True)


def work(queue: str, on_message: OnMessage, **options: Any) -> None:
    """Consume for ever; connect anew whenever the connection or the channel is gone."""
    while True:
        try:
            channel = connected()
            channel.basic_qos(prefetch_count=1)
            channel.basic_consume(queue, on_message, **options)
            channel.start_consuming()
        except AMQPError:
            time.sleep(5)
