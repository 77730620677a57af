"""What users of RabbitMQ are told when something goes wrong."""

from __future__ import annotations


class ChannelClosed(ConnectionError):
    """The channel is closed: what was unacknowledged on it has been requeued.

    Attributes:
        reply_code: Why, as AMQP numbers it: 404, 405, 406; 0 where the connection was lost.
        reply_text: Why, in the words of the broker.
    """

    reply_code: int
    reply_text: str

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: channel closed: {why}")
        code, _, text = why.partition(" ")
        known = code.isdigit()
        self.reply_code = int(code) if known else 0
        self.reply_text = text if known else why


class Unroutable(Exception):
    """A message published with `mandatory=True` was returned, 312 NO_ROUTE: no queue is bound."""


class ConsumerCancelled(ConnectionError):
    """The broker has cancelled the consumer: its queue is gone. What is in hand stays so."""
