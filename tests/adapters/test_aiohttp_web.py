"""aiohttp.web applications behind host names: their own server, on a connection in memory."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from chaosharness import (
    Crash,
    Delay,
    ErrorReply,
    Gateway,
    GracefulStop,
    LostReply,
    Schedule,
    Site,
    System,
    Web,
    explore,
)
from chaosharness.errors import InvalidDefinition

ROUTES = web.RouteTableDef()
CLIENT = web.AppKey("client", aiohttp.ClientSession)
KEYED = web.AppKey("keyed", bool)


@ROUTES.post("/orders/{order}")
async def create(request):
    order, client = request.match_info["order"], request.app[CLIENT]
    charge = {"order": order, **await request.json()}
    keyed = {"Idempotency-Key": order} if request.app[KEYED] else {}
    async with client.post("https://bank.example/charges", json=charge, headers=keyed) as answer:
        if answer.status >= 500:
            raise web.HTTPBadGateway(text="the bank says no")
    return web.json_response({"id": order, "asked": dict(request.query)}, status=201)


@ROUTES.get("/broken")
async def broken(request):
    return web.Response(text=str(1 / 0))


@web.middleware
async def told(request, handler):
    try:
        answer = await handler(request)
    except TimeoutError:
        answer = web.Response(status=504)
    answer.set_cookie("seen", "yes")
    return answer


def application(keyed=True, notes=()):
    app = web.Application(middlewares=[told])
    app[KEYED] = keyed
    app.add_routes(ROUTES)

    async def clients(app):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client:
            app[CLIENT] = client
            yield
        for note in notes:
            note("shut down")

    app.cleanup_ctx.append(clients)
    return app


def shop(make, send):
    system = System("shop")
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    site = system.add(Web("shop.example"))
    system.service("payments", replicas=2)(lambda env: env.app(site, make(env)))

    @system.entry(examples=[{"id": "o1"}])
    async def place(env, order):
        async with aiohttp.ClientSession("https://shop.example") as client:
            await send(client, order["id"])

    return system


async def until_it_is_done(client, order):
    while True:
        try:
            async with client.post(f"/orders/{order}", json={"cents": 5}) as answer:
                answer.raise_for_status()
                return
        except aiohttp.ClientError:
            await asyncio.sleep(10)


def make(env):
    return application()


def test_a_request_is_answered_by_the_code_of_the_service():
    found = []

    async def send(client, order):
        url = f"/orders/{order}?a=b%20c&d=%C3%BC"
        async with client.post(url, json={"cents": 5}) as answer:
            found.append((answer.status, await answer.json(), answer.cookies["seen"].value))

    run = shop(make, send).run()
    assert found == [(201, {"id": "o1", "asked": {"a": "b c", "d": "ü"}}, "yes")]
    assert {one.operation for one in run.history if one.kind in ("call", "handled")} == {
        "client.place/payments.create",
        "payments.create/bank.charge",
        "payments.create/handle",
    }
    assert run.ending.verdict == "quiet"
    assert shop(make, send).run().digest() == run.digest()


def test_one_application_for_two_processes_is_refused_with_what_to_do():
    one = application()
    with pytest.raises(InvalidDefinition, match=r"have a function make it.*make_application\(\)"):
        shop(lambda env: one, until_it_is_done).run()


def test_an_application_that_raises_is_answered_for(caplog):
    found = []

    async def send(client, order):
        for path in ("/broken", "/nothing"):
            async with client.get(path) as answer:
                found.append(answer.status)

    run = shop(make, send).run()
    assert (found, caplog.records) == ([500, 404], [])
    [raised] = [one.data for one in run.history if one.kind == "raised"]
    assert raised["error"].startswith("ZeroDivisionError")
    assert raised["line"].startswith("tests/adapters/test_aiohttp_web.py:")


def test_it_is_shut_down_where_its_process_is_told_to_stop():
    stop = GracefulStop(Site("payments.create/bank.charge", "after", entity=1))
    system = shop(lambda env: application(notes=[env.note]), until_it_is_done)
    run = system.run(None, Schedule([stop]))
    assert [one.data["how"] for one in run.history.of("crash")] == ["stopped"]
    assert [one.data["what"] for one in run.history.of("note")] == ["shut down"]
    assert len([*run.history.of("effect")]) == 1


def test_a_right_one_is_silent_and_a_charge_without_a_key_is_found():
    kinds = (Crash, Delay, ErrorReply, LostReply)
    right = explore(shop(make, until_it_is_done), kinds=kinds, faults_max=1)
    assert right.result == "holds"
    slip = shop(lambda env: application(keyed=False), until_it_is_done)
    [found] = explore(slip, kinds=kinds, faults_max=1, stop_at_first=True).counterexamples
    assert found.findings[0].summary.startswith("bank did charge(cents=5, order=o1) twice")
