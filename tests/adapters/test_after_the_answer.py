"""What a handler does once its caller has the answer: nobody asks again for what is lost then."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("flask")
pytest.importorskip("httpx")

import httpx
from fastapi import BackgroundTasks, FastAPI
from flask import Flask, request

from chaosharness import Campaign, Crash, Env, External, SQLite, System, Web, explore

SCHEMA = "CREATE TABLE orders (id TEXT PRIMARY KEY, told INTEGER NOT NULL)"
Application = FastAPI | Flask


class Mails:
    """Sends each mail once, however often it is asked."""

    def __init__(self) -> None:
        self.sent: set[str] = set()

    def send(self, order: str, idempotency_key: str = "") -> Any:
        if order in self.sent:
            return External.unchanged({"sent": order})
        self.sent.add(order)
        return {"sent": order}


def store(order: str) -> None:
    with closing(sqlite3.connect("shop.db")) as db, db:
        db.execute("INSERT INTO orders VALUES (?, 0) ON CONFLICT DO NOTHING", (order,))


def send(order: str) -> None:
    headers = {"Idempotency-Key": order}
    httpx.post("https://mail.example/mails", json={"order": order}, headers=headers)


async def send_async(order: str) -> None:
    async with httpx.AsyncClient() as client:
        headers = {"Idempotency-Key": order}
        await client.post("https://mail.example/mails", json={"order": order}, headers=headers)


def in_background(task: Callable[[str], Any]) -> FastAPI:
    app = FastAPI()

    @app.post("/orders", status_code=201)
    def create(order: dict[str, str], tasks: BackgroundTasks) -> dict[str, str]:
        store(order["id"])
        tasks.add_task(task, order["id"])
        return order

    return app


def in_a_task() -> FastAPI:
    app = FastAPI()
    running = set()

    @app.post("/orders", status_code=201)
    async def create(order: dict[str, str]) -> dict[str, str]:
        store(order["id"])
        task = asyncio.create_task(send_async(order["id"]))
        running.add(task)
        task.add_done_callback(running.discard)
        return order

    return app


def in_a_thread() -> Flask:
    app = Flask(__name__)

    @app.post("/orders")
    def create() -> Any:
        order = request.get_json()
        store(order["id"])
        threading.Thread(target=send, args=(order["id"],), daemon=True).start()
        return order, 201

    return app


def in_the_request() -> FastAPI:
    app = FastAPI()

    @app.post("/orders", status_code=201)
    def create(order: dict[str, str]) -> dict[str, str]:
        store(order["id"])
        send(order["id"])
        return order

    return app


def send_and_tick_off(order: str) -> None:
    send(order)
    with closing(sqlite3.connect("shop.db")) as db, db:
        db.execute("UPDATE orders SET told = 1 WHERE id = ?", (order,))


def sweep() -> None:
    while True:
        time.sleep(60)
        with closing(sqlite3.connect("shop.db")) as db:
            left = db.execute("SELECT id FROM orders WHERE told = 0").fetchall()
        for (order,) in left:
            send_and_tick_off(order)


def shop(application: Application, *, sweeps: bool = False) -> System:
    system = System("shop")
    system.add(SQLite("db", SCHEMA, url="sqlite:///shop.db"))
    system.add(
        Web("mail.example", system.add(External("mail", Mails)), routes={"POST /mails": "send"})
    )
    site = system.add(Web("shop.example"))
    system.service("shop", replicas=2)(lambda env: env.app(site, application))
    if sweeps:
        system.service("sweeper")(lambda env: env.main(sweep))

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def customer(env: Env, order: dict[str, str]) -> None:
        while True:
            try:
                url = "https://shop.example/orders"
                httpx.post(url, json=order, timeout=30).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(5)

    return system


def searched(system: System) -> Campaign:
    return explore(system, kinds=[Crash], faults_max=1, runs_max=200, mode="small-first")


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(lambda: in_background(send), id="background task"),
        pytest.param(lambda: in_background(send_async), id="background coroutine"),
        pytest.param(in_a_task, id="task of asyncio"),
        pytest.param(in_a_thread, id="thread"),  # whose function it is called after
    ],
)
def test_what_is_lost_after_the_answer_is_named(application: Callable[[], Application]) -> None:
    found = searched(shop(application()))
    assert [one.summary for one in found.counterexamples[0].findings] == [
        "mail did send(idempotency_key=o1, order=o1) never for item 1 (o1); without faults, once"
    ]
    (crash,) = found.counterexamples[0].schedule
    assert crash.site.operation in ("shop.create/mail.send", "shop.send/mail.send")
    assert crash.site.phase == "before"


def test_what_is_done_again_from_a_table_is_not_lost() -> None:
    assert searched(shop(in_background(send_and_tick_off), sweeps=True)).result == "holds"


def test_nothing_more_is_tried_where_a_handler_answers_last() -> None:
    run = shop(in_the_request()).run()
    assert Crash in run.surfaces["shop.create/mail.send"].before
    assert Crash not in run.surfaces["shop.create/mail.send"].searched_before
    owed = shop(in_background(send)).run()
    assert Crash in owed.surfaces["shop.create/mail.send"].searched_before
    assert Crash not in owed.surfaces["shop.create/db.commit"].searched_before
