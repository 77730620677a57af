"""The shop: an order is placed, and is safe once the broker has confirmed it."""

from __future__ import annotations

import json
import time
from typing import Any

from pika.exceptions import AMQPError

from models.applications.invoices import rabbit


def place(order: dict[str, Any]) -> None:
    while True:
        try:
            channel = rabbit.connected()
            rabbit.publish(channel, "order.placed", json.dumps(order).encode())
            channel.connection.close()
            return
        except AMQPError:
            time.sleep(30)
