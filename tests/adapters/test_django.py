"""Django, by WSGI and by ASGI: views answer, and what they raise is told with its line."""

import sys
from types import ModuleType

import httpx
import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views import View

from chaosharness import External, System, Web

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/var/shop.db"}}


class Bank:
    def __init__(self):
        self.charges = []

    def charge(self, order: str):
        self.charges.append(order)
        return {"id": len(self.charges)}


class Orders(View):
    def post(self, request, order):
        if order == "bad":
            raise RuntimeError("no such order")
        return JsonResponse(
            httpx.post("https://bank.example/charges", json={"order": order}).json(), status=201
        )


async def create_async(request, order):
    async with httpx.AsyncClient() as client:
        answer = await client.post("https://bank.example/charges", json={"order": order})
        return JsonResponse(answer.json(), status=201)


@pytest.fixture(scope="module")
def django():
    urls = ModuleType("urls_of_test_django")
    urls.urlpatterns = [
        path("orders/<str:order>", Orders.as_view()),
        path("later/<str:order>", create_async),
    ]
    sys.modules[urls.__name__] = urls
    settings.configure(
        ROOT_URLCONF=urls.__name__,
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
        DATABASES=DATABASES,
    )
    yield {"wsgi": get_wsgi_application(), "asgi": get_asgi_application()}
    del sys.modules[urls.__name__]


def ran(application, order="o1", place="orders"):
    answers = []
    shop = System("shop")
    bank = shop.add(External("bank", Bank))
    shop.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    site = shop.add(Web("shop.example"))
    shop.service("orders")(lambda env: env.app(site, application))

    @shop.entry(examples=[order])
    def client(env, order):
        answers.append(httpx.post(f"https://shop.example/{place}/{order}"))

    run = shop.run()
    return answers[0], run


@pytest.mark.parametrize(
    ("kind", "place", "name"),
    [
        ("wsgi", "orders", "Orders"),
        ("asgi", "orders", "Orders"),
        ("asgi", "later", "create_async"),
    ],
)
def test_a_view_answers(django, kind, place, name):
    answer, run = ran(django[kind], place=place)
    assert (answer.status_code, answer.json()) == (201, {"id": 1})
    assert [one.operation for one in run.history if one.kind == "handled"] == [
        f"orders.{name}/handle"
    ]
    assert run.digest() == ran(django[kind], place=place)[1].digest()


def test_what_a_view_raises_is_told_with_its_line(django):
    answer, run = ran(django["wsgi"], "bad")
    assert answer.status_code == 500
    [raised] = [one.data for one in run.history if one.kind == "raised"]
    assert raised["error"] == "RuntimeError: no such order"
    assert raised["line"].startswith("tests/adapters/test_django.py:")
