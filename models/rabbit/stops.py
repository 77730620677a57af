"""What a deployment stops: a relay that has sent half of what lies in its outbox.

Crashes, stalls and lost replies do no harm: what goes wrong is in the code for the end.

explore(relay(), kinds=[GracefulStop])
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from chaosharness import Env, RabbitMQ, SQLite, System
from chaosharness.checkers import Books, Property, eventually
from chaosharness.kernel.history import History

SALES = [{"id": f"s{number}", "cents": 100 * number} for number in (1, 2, 3)]


def relay() -> System:
    """The right one: at its end it waits for what is on its way, and marks that alone."""
    return _relay("relay", waits=True)


def closes_before_it_has_sent() -> System:
    """At its end it marks the batch as sent, and what is not sent yet is cancelled."""
    return _relay("relay-hasty", waits=False)


def every_sale_is_told() -> Property:
    """Claim that what was sold was published."""

    def told(history: History) -> bool:
        sold = {str(row["id"]) for row in Books(history).rows("shop-db", "sale")}
        return sold <= {str(event.data["key"]) for event in history.of("publish")}

    return eventually("every sale is told", told)


def _relay(name: str, *, waits: bool) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(RabbitMQ("bus", queues={"sales": "quorum"}))
    schema = "CREATE TABLE sale (id TEXT PRIMARY KEY, sent INTEGER DEFAULT 0)"
    store = system.add(SQLite("shop-db", schema=schema))

    @system.service("shop")
    def shop(env: Env) -> None:
        database = env.connect(store)

        def sell(sale: dict[str, Any]) -> None:
            with database:
                database.execute("INSERT OR IGNORE INTO sale (id) VALUES (?)", (sale["id"],))

        env.serve("sell", sell)

    @system.service("relay")
    def sender(env: Env) -> None:
        database = env.connect(store)
        publish = env.publisher(bus)

        def mark(sales: list[str]) -> None:
            with database:
                database.executemany("UPDATE sale SET sent = 1 WHERE id = ?", [(s,) for s in sales])

        async def send(sales: list[str]) -> None:
            for sale in sales:
                await publish("sales", {"id": sale}, key=sale)
                await asyncio.sleep(0.05)  # no more than 20 a second

        async def run() -> None:
            over = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
            stopped = asyncio.create_task(over.wait())
            while not over.is_set():
                rows = database.execute("SELECT id FROM sale WHERE sent = 0 ORDER BY id")
                sales = [str(row[0]) for row in rows]
                sending = asyncio.create_task(send(sales))
                if waits:
                    await sending
                else:
                    await asyncio.wait([sending, stopped], return_when=asyncio.FIRST_COMPLETED)
                    if not sending.done():
                        sending.cancel()
                    else:
                        sending.result()
                if sales:
                    mark(sales)
                await asyncio.wait([stopped], timeout=1)

        env.main(run)

    @system.entry(examples=SALES)
    def buy(env: Env, sale: dict[str, Any]) -> None:
        env.call("shop", "sell", sale)

    system.claim(every_sale_is_told())
    return system
