"""One schedule, one history: in two processes, under two hash seeds, and when it is run again."""

from pathlib import Path

import pytest

from chaosharness.adapters.libraries import ADAPTERS
from tests.adapters.digests import ROOT, printed_everywhere

HERE = str(Path(__file__).relative_to(ROOT))

SYSTEM = """
import asyncio, sys
import aiohttp, httpx, requests, stripe
from fastapi import FastAPI
from chaosharness import *

class Bank:
    def __init__(self): self.keys = {}
    def charge(self, order: str, idempotency_key: str = ""): return self.keys.setdefault(order, 1)
    def create(self, amount: int, currency: str, idempotency_key: str):
        known = self.keys.setdefault(idempotency_key, f"pi_{len(self.keys)}")
        return {"id": known, "object": "payment_intent"}

app = FastAPI()
URL = "https://bank.example/charges"

@app.post("/async/{order}")
async def create_async(order: str):
    async with aiohttp.ClientSession() as one, httpx.AsyncClient() as other:
        body = {"order": order}
        await asyncio.gather(one.post(URL, json=body), other.post(URL, json=body))

@app.post("/plain/{order}")
def create(order: str):
    requests.post(URL, json={"order": order}, timeout=5)
    stripe.PaymentIntent.create(amount=5, currency="eur", api_key="sk_test")

shop = System("shop")
bank = shop.add(External("bank", Bank))
stripes = shop.add(External("stripe", Bank))
shop.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
shop.add(Web("api.stripe.com", stripes, routes={"POST /v1/payment_intents": "create"}))
site = shop.add(Web("shop.example"))
shop.add(Webhooks("hooks", bank, to="https://shop.example/plain/hook"))
shop.service("payments", replicas=2)(lambda env: env.app(site, app))

@shop.entry(examples=["o1", "o2", "o3"])
def place(env, order):
    for path in ("async", "plain"):
        httpx.post(f"https://shop.example/{path}/{order}", timeout=60)

faults = [
    LostReply(Site("payments.create/stripe.create", "after")),
    Duplicate(Site("hooks.webhook/deliver to payments.create")),
    Crash(Site("payments.create_async/bank.charge", "after", 2)),
    ErrorReply(Site("payments.create/bank.charge", entity=3)),
]
for number in range(len(faults) + 1):
    for _ in range(2):
        run = shop.run(None, Schedule(faults[:number]))
        assert run.ending.verdict == "quiet" and not run.unused, (run.ending, run.unused)
        print(number, run.digest())
"""


def test_a_history_is_the_same_everywhere():
    first = printed_everywhere(SYSTEM)
    assert len(set(first)) == 5  # each schedule its own, and the same twice


def test_what_differs_is_shown_with_its_program():
    program = "import os, sys; print(os.environ['PYTHONHASHSEED']); print('why', file=sys.stderr)"
    with pytest.raises(AssertionError) as caught:
        printed_everywhere(program)
    said = str(caught.value)
    assert program in said
    assert "line 1, seed 1: 1\nline 1, seed 2: 2\nstderr, seed 1: why" in said
    with pytest.raises(AssertionError, match="print nothing, in:\npass"):
        printed_everywhere("pass")


OTHERS = """
import multiprocessing
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import ModuleType
import httpx
import uuid_utils
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from chaosharness import *
from models.temporal import right
from tests.adapters.databases import shops
from tests.adapters.databases.shops import SCHEMA
from tests.adapters.databases.test_sqlite import HANDLERS
from tests.adapters import test_temporal
from tests.adapters.test_aio_pika import on_aio_pika
from tests.brokers.sqs.test_lambda import shop as called

def show(name, system, *faults):
    for schedule in (Schedule(), Schedule(faults)):
        for _ in range(2):
            run = system.run(None, schedule)
            assert run.ending.verdict == "quiet" and not run.unused, (name, run.ending, run.unused)
            print(name, run.digest())

queue = System("queue")
bus = queue.add(RabbitMQ("bus", queues=["orders", "paid"]))
queue.add(AMQP("rabbit", bus))
queue.service("payments", replicas=2)(lambda env: on_aio_pika(env, bus))

@queue.entry(examples=[{"order": "o1"}, {"order": "o2"}])
def place(env, order):
    env.publisher(bus)("orders", order, key=order["order"])

show("aio_pika", queue, Crash(Site("payments.on_order/bus.publish paid", "after")))

class Bank:
    def charge(self, order: str): return order

def create(request, order):
    answer = httpx.post("https://bank.example/charges", json={"order": order})
    return JsonResponse({"order": answer.json()}, status=201)

urls = sys.modules["urls_of_all"] = ModuleType("urls_of_all")
urls.urlpatterns = [path("orders/<str:order>", create)]
settings.configure(ROOT_URLCONF="urls_of_all", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
application = get_wsgi_application()
site = System("site")
bank = site.add(External("bank", Bank))
site.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
door = site.add(Web("shop.example"))
site.service("orders")(lambda env: env.app(door, application))
site.entry(examples=["o1"])(lambda env, order: httpx.post(f"https://shop.example/orders/{order}"))
show("django", site, Pause(Site("orders.create/bank.charge", "after"), lasting=5))

show("lambda", called(lambda event, nth: None), Crash(Site("worker.handler/handle", entity=1)))

for name, (handler, url, _) in HANDLERS.items():
    crash = Crash(Site("orders.on_order/db.commit", "after"))
    show(name, shops.shop(handler, SQLite("db", SCHEMA, url=url)), crash)

for _ in range(2):
    print("temporalio", right.build().run().digest())

def opens(env):  # metrics for nobody, a queue between processes, names from compiled code
    names = multiprocessing.Queue()
    server = HTTPServer(("", 8000), BaseHTTPRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()

    def on_order(order: dict):
        names.put(uuid_utils.uuid7())
        env.note("paid", ref=str(names.get()))

    env.consume(plumbed_bus, "orders", on_order)

plumbed = System("plumbing")
plumbed_bus = plumbed.add(Kafka("bus", topics={"orders": 2}))
plumbed.service("till", replicas=2)(opens)

@plumbed.entry(examples=[{"id": "o1"}, {"id": "o2"}])
def order(env, value):
    env.publisher(plumbed_bus)("orders", value, key=value["id"])

show("plumbing", plumbed, Crash(Site("till.on_order/handle", "after")))

workers = test_temporal.shop(test_temporal.program.run)
show("temporalio.worker", workers, Crash(Site("orders.charge/bank.charge", "after")))
"""


def test_so_is_that_of_the_rest():
    lines = printed_everywhere(OTHERS)
    assert lines[::2] == lines[1::2]
    assert len({line.rpartition(" ")[0] for line in lines}) == 12 and len(lines) == 46


ELSEWHERE = "tests/models/test_applications.py"
SHOWN = {
    "aio_pika": HERE,
    "aiobotocore": "tests/adapters/test_aiobotocore.py",
    "aiohttp": HERE,
    "aiokafka": "tests/adapters/test_aiokafka.py",
    "aiormq": HERE,
    "aiosqlite": HERE,
    "amqp": "tests/adapters/test_celery.py",
    "asyncpg": "tests/adapters/databases/test_asyncpg.py",
    "boto3": "tests/adapters/test_boto3_clients.py",
    "botocore": "tests/adapters/test_boto3_clients.py",
    "celery": "tests/adapters/test_celery.py",
    "celery.backends.redis": "tests/adapters/test_celery_redis.py",
    "confluent_kafka": "tests/adapters/test_confluent_kafka.py",
    "django": HERE,
    "django.db": "tests/adapters/databases/test_sqlite.py",
    "faststream": ELSEWHERE,
    "flask": ELSEWHERE,
    "httpx": HERE,
    "kafka": "tests/adapters/test_kafka_python.py",
    "kombu.transport.redis": "tests/adapters/test_celery_redis.py",
    "multiprocessing": HERE,
    "nats": "tests/adapters/test_nats.py",
    "pika": ELSEWHERE,
    "psycopg": "tests/adapters/databases/test_psycopg.py",
    "psycopg2": "tests/adapters/databases/test_psycopg2.py",
    "redis": "tests/adapters/databases/test_redis.py",
    "socket": "tests/adapters/test_network.py",
    "socketserver": HERE,
    "sqlalchemy": HERE,
    "sqlalchemy.sql.elements": HERE,
    "sqlite3": HERE,
    "stripe": HERE,
    "taskiq": "tests/adapters/test_taskiq.py",
    "temporalio": HERE,
    "temporalio.worker": HERE,
    "requests": HERE,
    "urllib3": HERE,
    "uuid_utils": HERE,
}
"""Where each adapter's histories are compared between processes. Some have no operations of their
own: `anyio`, `asgiref` and `ssl` see to what the others stand on; `grpc` and `kombu.connection`
refuse; `tqdm.std` has a thread less."""


def test_no_adapter_is_left_out():
    none = {"anyio", "asgiref", "grpc", "kombu.connection", "ssl", "tqdm.std"}
    none |= {"arq.worker", "dramatiq.worker", "huey.consumer"}  # as grpc
    assert {*SHOWN} == {*ADAPTERS} - none
    for file in {*SHOWN.values()}:
        text = (ROOT / file).read_text("utf-8")
        assert "printed_everywhere(" in text or '"PYTHONHASHSEED": seed' in text, file
