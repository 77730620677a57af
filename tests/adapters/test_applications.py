"""Web applications behind host names: ASGI and WSGI, as servers call them."""

from contextlib import asynccontextmanager

import flask
import httpx
import pytest
import requests
from fastapi import BackgroundTasks, FastAPI, Response
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from chaosharness import Crash, Delay, External, Pause, Schedule, Site, System, Web
from chaosharness.errors import InvalidDefinition

ORDER = {"id": "o1", "cents": 5}


class Bank:
    def __init__(self):
        self.charges = []

    def charge(self, order: str, cents: int):
        self.charges.append(order)
        return {"id": len(self.charges)}


def charge(order):
    return httpx.post("https://bank.example/charges", json={"order": order, "cents": 5}).json()


@asynccontextmanager
async def counting(app):
    app.state.count = 0
    yield


COUNTER = FastAPI(lifespan=counting)


@COUNTER.post("/orders/{order}")
async def count(order: str):
    COUNTER.state.count += 1
    return COUNTER.state.count


def system(application, send, *, replicas=1):
    """Return a shop whose service is an application, and whose client sends one request."""
    shop = System("shop")
    bank = shop.add(External("bank", Bank))
    shop.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    site = shop.add(Web("shop.example"))

    @shop.service("payments", replicas=replicas)
    def payments(env):
        env.app(site, application)

    @shop.entry(examples=[ORDER])
    def place(env, order):
        send(order)

    return shop


def heard(application, send, *faults, **options):
    found = []

    def listen(order):
        try:
            found.append(send(order))
        except httpx.HTTPError as error:
            found.append(type(error).__name__)

    run = system(application, listen, **options).run(None, Schedule(faults))
    return found, run


def fastapi():
    app = FastAPI()

    @app.post("/orders/{order}")
    async def create(order: str):
        async with httpx.AsyncClient() as client:
            body = {"order": order, "cents": 5}
            return (await client.post("https://bank.example/charges", json=body)).json()

    @app.post("/plain/{order}")
    def create_plain(order: str, response: Response):
        response.set_cookie("seen", order)
        return charge(order)

    @app.post("/later/{order}")
    async def create_later(order: str, background: BackgroundTasks):
        background.add_task(charge, order)
        return {"accepted": order}

    return app


def flasked():
    app = flask.Flask("shop")

    @app.post("/orders/<order>")
    def create(order):
        assert flask.request.get_json() == ORDER
        return flask.jsonify(charge(order)), 201

    @app.get("/broken")
    def broken():
        raise RuntimeError("no")

    return app


def post(path):
    return lambda order: httpx.post(f"https://shop.example{path}/{order['id']}", json=order)


@pytest.mark.parametrize(
    ("application", "path", "place", "status"),
    [
        (fastapi(), "/orders", "create", 200),
        (fastapi(), "/plain", "create_plain", 200),
        (flasked(), "/orders", "create", 201),
    ],
)
def test_a_request_is_answered_by_the_code_of_the_service(application, path, place, status):
    [answer], run = heard(application, post(path))
    assert (answer.status_code, answer.json()) == (status, {"id": 1})
    assert {one.operation for one in run.history if one.kind in ("call", "handled")} == {
        f"client.place/payments.{place}",
        f"payments.{place}/bank.charge",
        f"payments.{place}/handle",
    }
    assert run.ending.verdict == "quiet"
    _, twin = heard(application, post(path))
    assert run.digest() == twin.digest()


def test_a_crash_closes_the_connection_and_the_other_replica_takes_over():
    def twice(order):
        try:
            return post("/orders")(order).status_code
        except httpx.RemoteProtocolError:
            return ("again", post("/orders")(order).status_code)

    crash = Crash(Site("payments.create/bank.charge", "after"))
    found, run = heard(fastapi(), twice, crash, replicas=2)
    assert found == [("again", 200)]
    found, run = heard(fastapi(), post("/orders"), crash)
    assert found == ["RemoteProtocolError"]
    assert [one.at_ms for one in run.history if one.kind == "raised"] == []


def test_nobody_listens_while_the_only_replica_is_down():
    def later(order):
        httpx.post("https://shop.example/orders/first", json=order, timeout=1)

    crash = Crash(Site("payments.create/bank.charge", "after"), down="long")

    def twice(order):
        with pytest.raises(httpx.RemoteProtocolError):
            later(order)
        with pytest.raises(httpx.ConnectError):
            later(order)
        return "refused"

    assert heard(fastapi(), twice, crash)[0] == ["refused"]


def test_a_service_that_stalls_lets_its_client_time_out_and_works_on():
    stall = Pause(Site("payments.create/bank.charge", "after"), lasting="long")
    found, run = heard(flasked(), post("/orders"), stall)
    assert found == ["ReadTimeout"]
    assert [one.kind for one in run.history if one.operation == "payments.create/handle"]


def test_work_in_the_background_is_lost_with_its_process():
    answers, run = heard(fastapi(), post("/later"))
    assert answers[0].json() == {"accepted": "o1"}
    kinds = [one.kind for one in run.history]
    assert kinds.index("reply") < kinds.index("effect")
    slow = Delay(Site("payments.create_later/bank.charge"), lasting=5)
    crash = Crash(Site("payments.create_later/bank.charge", "after"))
    answers, run = heard(fastapi(), post("/later"), slow, crash)
    assert answers[0].status_code == 200
    assert not any(one.kind == "handled" for one in run.history)


def test_an_application_that_raises_is_answered_for(capsys):
    app = Starlette(routes=[Route("/plain/{order}", lambda request: 1 / 0, methods=["POST"])])
    [answer], run = heard(app, post("/plain"))
    assert answer.status_code == 500
    assert any("ZeroDivisionError" in str(one.data) for one in run.history if one.kind == "raised")
    capsys.readouterr()
    [answer], run = heard(flasked(), lambda _: httpx.get("https://shop.example/broken"))
    assert answer.status_code == 500
    assert capsys.readouterr().err == ""  # told in the history: a search meets thousands
    [raised] = [one.data for one in run.history if one.kind == "raised"]
    assert raised["error"] == "RuntimeError: no"
    assert raised["line"].startswith("tests/adapters/test_applications.py:")
    [answer], _ = heard(flasked(), lambda _: httpx.get("https://shop.example/nothing"))
    assert answer.status_code == 404


def test_requests_wait_for_the_startup_of_the_application():
    started = []

    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient() as client:
            body = {"order": "warm", "cents": 1}
            yield {"first": (await client.post("https://bank.example/charges", json=body)).json()}

    async def create(request):
        started.append(request.state.first)
        return JSONResponse(request.state.first)

    inner = Route("/orders/{order}", create, methods=["POST"])
    app = Starlette(lifespan=lifespan, routes=[Mount("/v1", routes=[inner])])
    [answer], run = heard(app, post("/v1/orders"))
    assert answer.json() == {"id": 1}
    assert {one.operation for one in run.history if one.kind == "handled"} == {
        "payments.create/handle"
    }


def test_cookies_headers_and_forms_get_through_both_ways():
    app = flask.Flask("shop")

    @app.post("/login")
    def login():
        answer = flask.jsonify(**flask.request.form, agent=flask.request.headers["X-Agent"])
        answer.set_cookie("session", flask.request.form["user"])
        answer.set_cookie("theme", "dark")
        return answer

    @app.get("/me")
    def me():
        return dict(flask.request.cookies, args=flask.request.args.getlist("a"))

    def visit(order):
        with requests.Session() as session:
            form = {"user": "ann b"}
            first = session.post("https://shop.example/login", data=form, headers={"X-Agent": "x"})
            return first.json(), session.get("https://shop.example/me?a=1&a=2").json()

    found, _ = heard(app, visit)
    first = {"user": "ann b", "agent": "x"}
    assert found == [(first, {"session": "ann b", "theme": "dark", "args": ["1", "2"]})]


def test_a_startup_that_fails_is_told_with_its_error_and_line():
    @asynccontextmanager
    async def lifespan(app):
        raise KeyError("DATABASE_URL")
        yield

    words = r"payments.lifespan raised KeyError: 'DATABASE_URL' at tests/adapters/test_applic"
    with pytest.raises(InvalidDefinition, match=words):
        heard(FastAPI(lifespan=lifespan), post("/orders"))

    async def silent(scope, receive, send):
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(InvalidDefinition, match=r"Unstarted: no database"):
        heard(silent, post("/orders"))


def test_an_application_without_lifespan_is_ready_at_once():
    async def bare(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await send({"type": "http.response.body", "body": b"k"})

    [answer], run = heard(bare, post("/orders"))
    assert answer.text == "ok"
    assert [one.operation for one in run.history if one.kind == "handled"] == [
        "payments.post_orders_id/handle"
    ]


def test_a_service_may_be_called_as_its_host_is():
    shop = System("shop")
    site = shop.add(Web("payments"))
    shop.service("payments")(lambda env: env.app(site, COUNTER))

    @shop.entry(examples=["o1"])
    def place(env, order):
        assert httpx.post("http://payments/orders/o1").json() == 1
        assert requests.post("http://payments:80/orders/o1", timeout=5).json() == 2

    assert shop.run().spoken.keys() == {"httpx", "requests"}


def test_what_is_no_application_and_what_is_taken_is_told():
    with pytest.raises(InvalidDefinition, match=r"'payments' answers for 'shop.example' with None"):
        heard(None, post("/orders"))
    shop = system(flasked(), post("/orders"))
    site = shop.resources["web:shop.example"]
    shop.service("other")(lambda env: env.app(site, flasked()))
    with pytest.raises(InvalidDefinition, match=r"'other' cannot answer for .*: payments does"):
        shop.run()
    empty = System("empty")
    empty.add(Web("shop.example"))
    empty.entry(examples=[ORDER])(lambda env, order: post("/orders")(order))
    with pytest.raises(InvalidDefinition, match=r"POST https://shop.example/orders/o1 .* reaches"):
        empty.run()


def test_each_process_has_its_own_app_state():
    found = []

    def listen(order):
        for _ in range(2):
            found.append((order, httpx.post(f"https://shop.example/orders/{order}").json()))

    shop = System("shop")
    site = shop.add(Web("shop.example"))
    shop.service("payments", replicas=2)(lambda env: env.app(site, COUNTER))
    shop.entry(examples=["o1", "o2"])(lambda env, order: listen(order))
    for _ in range(3):
        found.clear()
        shop.run()
        assert sorted(found) == [("o1", 1), ("o1", 2), ("o2", 1), ("o2", 2)]
