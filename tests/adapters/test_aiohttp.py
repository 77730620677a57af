"""aiohttp's client as it is: its own exceptions, its own time-outs, its own cookies."""

import asyncio
import time

import aiohttp
import pytest

from chaosharness import (
    Answer,
    ErrorReply,
    External,
    LostReply,
    LostRequest,
    NetworkPartition,
    Schedule,
    Site,
    System,
    Web,
)

CALL = "payments.pay/bank.charge"
BASE = "https://api.bank.example"


class Bank:
    def __init__(self):
        self.charges = []

    def charge(self, order: str, cents: int):
        self.charges.append(order)
        return Answer(201, {"id": len(self.charges)}, {"Set-Cookie": "seen=1; Path=/"})

    def who(self, cookie: str = ""):
        return {"cookie": cookie}


def outcome_of(send, *faults, **options):
    found = []

    async def pay():
        began = time.monotonic()
        try:
            async with aiohttp.ClientSession(BASE) as session:
                outcome = await send(session)
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome = type(error).__name__
        found.append((outcome, round(1000 * (time.monotonic() - began))))

    shop = System("shop")
    bank = shop.add(External("bank", Bank, reads=["who"]))
    routes = {"POST /charges": "charge", "GET /me": "who"}
    shop.add(Web("api.bank.example", bank, routes=routes, **options))
    shop.service("payments")(lambda env: env.main(pay))
    shop.entry(examples=[1])(lambda env, item: None)
    run = shop.run([1], Schedule(faults))
    [(outcome, took)] = found
    return outcome, took, sum(one.kind == "effect" for one in run.history)


def at(phase, attempt=1):
    return Site(CALL, phase, entity=0, attempt=attempt)


async def charged(session, **options):
    async with session.post("/charges", json={"order": "o1", "cents": 5}, **options) as response:
        response.raise_for_status()
        return response.status, await response.json()


async def hurried(session):
    return await charged(session, timeout=aiohttp.ClientTimeout(total=2))


async def careful(session):
    return await charged(session, timeout=aiohttp.ClientTimeout(sock_connect=1, sock_read=2))


def test_an_answer_comes_back_and_cookies_are_kept():
    async def twice(session):
        await charged(session)
        async with session.get("/me") as response:
            return (await response.content.read()).decode(), response.headers["Content-Type"]

    assert outcome_of(charged) == ((201, {"id": 1}), 20, 1)
    assert outcome_of(twice)[0] == ('{"cookie":"seen=1"}', "application/json")


@pytest.mark.parametrize(
    ("send", "fault", "error", "took", "effects"),
    [
        (charged, LostRequest(at("before")), "TimeoutError", 300_000, 0),
        (hurried, LostReply(at("after")), "TimeoutError", 2_000, 1),
        (careful, LostReply(at("after")), "SocketTimeoutError", 2_000, 1),
        (
            careful,
            NetworkPartition(at("before"), way="out", lasting="long"),
            "ConnectionTimeoutError",
            1_000,
            0,
        ),
        (charged, ErrorReply(at("before")), "ClientResponseError", 20, 0),
    ],
)
def test_trouble_is_told_as_aiohttp_tells_it(send, fault, error, took, effects):
    assert outcome_of(send, fault) == (error, took, effects)


def test_a_refused_connection():
    found = outcome_of(charged, ErrorReply(at("before")), refused="connection")
    assert found == ("ClientConnectorError", 20, 0)


def test_requests_side_by_side():
    async def both(session):
        return await asyncio.gather(charged(session), charged(session))

    assert outcome_of(both) == ([(201, {"id": 1}), (201, {"id": 2})], 20, 2)
