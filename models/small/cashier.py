"""A cashier, in trio: a second gateway is asked where the first one cannot be reached.

chaosharness run models.small.cashier:cashier
"""

from __future__ import annotations

from typing import Any

import trio
from msgspec import Struct

from chaosharness import (
    Env,
    Gateway,
    Kafka,
    KeyValue,
    System,
    conserved,
    idempotent,
    never_charged_twice,
    never_stuck,
    nothing_acknowledged_lost,
)
from models.small import PATIENT

PATIENCE_S = 5.0


class Sale(Struct, frozen=True):
    """What is to be paid."""

    order: str
    cents: int


class Cashier:
    """Writes down whom it asks, before it asks: the next try must ask the same one."""

    def __init__(self, gateways: dict[str, Any], store: Any) -> None:
        self.gateways = gateways
        self.store = store

    async def on_sale(self, sale: Sale) -> None:
        """Charge a sale at the first gateway; if that is closed, at the second."""
        asked = await self.store.get(sale.order)
        if asked is None:
            try:
                await self.ask("stripe", sale)
            except ConnectionError:  # refused at the first try: it has never heard of the sale
                await self.ask("adyen", sale)
        else:
            await self.ask(asked, sale)

    async def ask(self, name: str, sale: Sale) -> None:
        """Charge a sale at one gateway."""
        await self.store.put(sale.order, name)
        with trio.fail_after(PATIENCE_S):
            await self.gateways[name].charge(sale.order, sale.cents, key=sale.order)


class Forgetful(Cashier):
    """Believes a refusal of the second try, whatever became of the first."""

    async def on_sale(self, sale: Sale) -> None:
        """Charge a sale."""
        try:
            await self.ask("stripe", sale)
        except ConnectionError:
            await self.ask("adyen", sale)


class Impatient(Cashier):
    """Takes no answer for a refusal."""

    async def on_sale(self, sale: Sale) -> None:
        """Charge a sale."""
        with trio.move_on_after(PATIENCE_S) as patience:
            await super().on_sale(sale)
        if patience.cancelled_caught:
            await self.ask("adyen", sale)

    async def ask(self, name: str, sale: Sale) -> None:
        """Charge a sale at one gateway, however long it takes."""
        await self.store.put(sale.order, name)
        await self.gateways[name].charge(sale.order, sale.cents, key=sale.order)


def cashier(*, service: type[Cashier] = Cashier) -> System:
    """Build the shop."""
    shop = System("cashier")
    bus = shop.add(Kafka("bus", {"sales": 1}, idempotent_producer=True))
    gateways = [shop.add(Gateway(name)) for name in ("stripe", "adyen")]
    store = shop.add(KeyValue("choices"))

    @shop.service("cashier")
    def desk(env: Env) -> None:
        clients = {gateway.name: env.client(gateway) for gateway in gateways}
        one = service(clients, env.connect(store))
        env.consume(bus, "sales", one.on_sale, **PATIENT)

    @shop.entry(examples=[Sale("s1", 500)])
    def sell(env: Env, sale: Sale) -> None:
        env.publisher(bus)("sales", sale, key=sale.order)

    shop.claim(
        never_charged_twice(gateways),
        conserved(
            "money",
            sold=lambda books: {sale.order: sale.cents for sale in books.items},
            charged=lambda books: books.net_charges(gateways),
        ),
        nothing_acknowledged_lost(),
        never_stuck(),
        idempotent(),
    )
    return shop


def falls_back_after_an_unknown_outcome() -> System:
    """The first try was charged and not answered, the second is refused: on to the next gateway."""
    return cashier(service=Forgetful)


def moves_on_after_a_timeout() -> System:
    """Whoever does not answer in time is taken to have done nothing."""
    return cashier(service=Impatient)
