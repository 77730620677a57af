"""What is sent, and between which queues."""

from __future__ import annotations

from faststream.exceptions import RejectMessage
from faststream.rabbit import RabbitMessage, RabbitQueue
from pydantic import BaseModel, ValidationError

URL = "amqp://guest:guest@rabbit:5672/"
PLACED = RabbitQueue("placed", durable=True)
CHARGED = RabbitQueue("charged", durable=True)


class Order(BaseModel):
    id: str
    cents: int


def read(message: RabbitMessage) -> Order:
    """Return the order in a message; one that nobody can read is put away."""
    try:
        return Order.model_validate_json(message.body)
    except ValidationError:
        raise RejectMessage() from None
