"""What `env.app` is given: what no server could call is refused where it was given."""

import functools
import threading
import time

import pytest

from chaosharness import System, Web
from chaosharness.errors import InvalidDefinition

requests = pytest.importorskip("requests")


def shop(application):
    """A site that answers with an application."""
    system = System("shop")
    site = system.add(Web("shop.example"))
    system.service("web")(lambda env: env.app(site, application))

    @system.entry(examples=["o1"])
    def place(env, order):
        assert requests.post("https://shop.example/orders", json=order).text == "done"

    return system


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def with_more(settings, environ, start_response):
    return wsgi(environ, start_response)


class Instance:
    """An application as frameworks have it."""

    async def __call__(self, scope, receive, send):
        await asgi(scope, receive, send)


class Bound:
    """One that has its application in a method."""

    def answer(self, *request):
        return wsgi(*request)


RIGHT = [wsgi, asgi, Instance(), Bound().answer, functools.partial(with_more, {})]


@pytest.mark.parametrize(
    "application", RIGHT, ids=["wsgi", "asgi", "instance", "method", "partial"]
)
def test_what_a_server_can_call_answers(application):
    run = shop(application).run()
    assert run.ending.verdict == "quiet"
    assert any(run.history.of("handled"))


def make():
    return wsgi


async def make_later():
    return asgi


def of_a_framework(request):
    return "done"


WRONG = [
    (make, "make()"),
    (make_later, "make_later()"),
    (of_a_framework, "of_a_framework(request)"),
]


@pytest.mark.parametrize(("application", "shown"), WRONG)
def test_what_no_server_can_call_is_refused(application, shown):
    with pytest.raises(InvalidDefinition) as caught:
        shop(application).run()
    words = str(caught.value)
    assert words.startswith(
        f"service 'web' answers for 'shop.example' with {shown}, which no server"
    )
    assert f"give what it returns: {application.__name__}() (at " in words
    assert "test_applications_given.py" in words


def shelf():
    """Return an application that keeps a customer for the thread, as `scoped_session` does."""
    kept = threading.local()

    def answer(environ, start_response):
        who = environ["PATH_INFO"]
        found = getattr(kept, "who", "nobody")
        kept.who = who
        time.sleep(5)
        start_response("200 OK", [])
        return [f"{found}, then {kept.who}".encode()]

    return answer


def sync_endpoint():
    """The same, where a framework has a thread do it."""
    fastapi = pytest.importorskip("fastapi")
    app, kept = fastapi.FastAPI(), threading.local()

    @app.get("/{who}", response_class=fastapi.responses.PlainTextResponse)
    def answer(who: str) -> str:
        found = getattr(kept, "who", "nobody")
        kept.who = f"/{who}"
        time.sleep(5)
        return f"{found}, then {kept.who}"

    return app


@pytest.mark.parametrize("make", [shelf, sync_endpoint])
def test_requests_at_one_time_are_in_threads_of_their_own(make):
    told = []
    system = System("shop", arrival_ms=1_000)
    site = system.add(Web("shop.example"))
    system.service("web")(lambda env: env.app(site, make()))

    @system.entry(examples=["ann", "bob"])
    def ask(env, who):
        told.append(requests.get(f"https://shop.example/{who}", timeout=30).text)

    assert system.run().ending.verdict == "quiet"
    assert told == ["nobody, then /ann", "nobody, then /bob"]
