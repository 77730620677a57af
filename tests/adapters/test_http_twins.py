"""One handler that charges, by each HTTP client and by a port: what happens is the same."""

import aiohttp
import httpx
import pytest
import requests
import urllib3

from chaosharness import (
    Crash,
    ErrorReply,
    Gateway,
    Kafka,
    LostReply,
    LostRequest,
    Rebalance,
    Schedule,
    Site,
    System,
    Web,
)

URL = "https://bank.example/charges"
CHARGE = "billing.on_order/bank.charge"
ORDERS = ["o1", "o2", "o3"]


def sent(order):
    return {"json": {"order": order, "cents": 5}, "headers": {"Idempotency-Key": order}}


def by_requests(order: str):
    requests.post(URL, **sent(order), timeout=5).raise_for_status()


def by_httpx(order: str):
    httpx.post(URL, **sent(order), timeout=5).raise_for_status()


def by_urllib3(order: str):
    answer = urllib3.request("POST", URL, **sent(order), timeout=5, retries=False)
    if answer.status >= 400:
        raise ConnectionError(answer.status)


async def by_httpx_async(order: str):
    async with httpx.AsyncClient(timeout=5) as client:
        (await client.post(URL, **sent(order))).raise_for_status()


async def by_aiohttp(order: str):
    patience = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=patience, raise_for_status=True) as client:
        await client.post(URL, **sent(order))


CLIENTS = {one.__name__: one for one in (by_requests, by_httpx, by_urllib3)}
CLIENTS |= {one.__name__: one for one in (by_httpx_async, by_aiohttp)}


def shop(client):
    """The shop whose orders are charged by a client, or by a port where that is None."""
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 2}))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))

    @system.service("billing")
    def billing(env):
        charge = env.client(bank).charge

        def on_order(order: str):
            charge(order, 5, key=order)

        handler = client or on_order
        handler.__name__ = "on_order"
        env.consume(bus, "orders", handler)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order)

    return system


def happened(run):
    """Return what happened to messages and to the bank, without when and in which words."""
    kinds = ("publish", "deliver", "ack", "effect", "fault", "crash")
    return [
        (one.kind, one.operation, one.entity, one.attempt)
        for one in run.history
        if one.kind in kinds
    ]


FAULTS = {
    "none": [],
    "crash": Crash(Site(CHARGE, "after", 2)),
    "no answer": LostReply(Site(CHARGE, "after", 2)),
    "not sent": LostRequest(Site(CHARGE, "before", 1)),
    "refused": ErrorReply(Site(CHARGE, "before", 3)),
    "moved": Rebalance(Site("bus.orders/deliver to billing", entity=2)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("client", CLIENTS)
def test_what_happens_is_what_happens_by_a_port(client, fault):
    schedule = Schedule([FAULTS[fault]] if FAULTS[fault] else [])
    runs = [shop(one).run(ORDERS, schedule) for one in (CLIENTS[client], None)]
    assert not any(run.unused for run in runs)
    mine, ported = map(happened, runs)
    assert mine == ported
