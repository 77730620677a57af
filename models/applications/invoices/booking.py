"""Books what is charged, once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from models.applications.invoices import charging, rabbit


class Books:
    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self.db = connect()

    def main(self) -> None:
        rabbit.work("book", self.on_charged)

    def on_charged(
        self, channel: BlockingChannel, method: Any, properties: Any, body: bytes
    ) -> None:
        order = charging.read(body)
        if order is None:
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        with self.db:
            row = (order["id"], order["cents"])
            self.db.execute("INSERT OR IGNORE INTO invoices VALUES (?, ?)", row)
        channel.basic_ack(method.delivery_tag)
