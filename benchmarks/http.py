"""What a run costs through each HTTP library, and the same run through ports.

python -m benchmarks http

One handler calls the bank twice for each of two orders, by the client that it is given. Most of
what is paid for is the library itself: it builds requests, headers, models and answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import aiohttp
import flask
import httpx
import requests
import urllib3
from fastapi import FastAPI

from chaosharness import Env, External, Kafka, Schedule, System, Web

ORDERS = [{"id": "o1", "cents": 500}, {"id": "o2", "cents": 900}]
ADDRESS = "https://bank.example/charges"
RUNS = 100


class Bank:
    """Counts its charges."""

    def __init__(self) -> None:
        self.charges = 0

    def charge(self, id: str, cents: int) -> int:
        self.charges += cents
        return self.charges


def system(handler: Callable[..., Any] | None, application: Any = None) -> System:
    """Return a system whose handler takes orders, or whose application takes requests."""
    made = System("bench")
    bus = made.add(Kafka("bus", topics={"orders": 1}))
    bank = made.add(External("bank", Bank))
    made.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    site = made.add(Web("shop.example"))

    @made.service("payments")
    def payments(env: Env) -> None:
        if application is not None:
            env.app(site, application)
        elif handler is not None:
            env.consume(bus, "orders", handler)
        else:
            client = env.client(bank)

            def charge(order: dict[str, Any]) -> None:
                for _ in range(2):
                    client.charge(**order)

            env.consume(bus, "orders", charge)

    @made.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        if application is not None:
            httpx.post("https://shop.example/orders", json=order)
        else:
            env.publisher(bus)("orders", order, key=order["id"])

    return made


def with_httpx(order: dict[str, Any]) -> None:
    with httpx.Client() as client:
        for _ in range(2):
            client.post(ADDRESS, json=order)


async def with_httpx_async(order: dict[str, Any]) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(2):
            await client.post(ADDRESS, json=order)


def with_requests(order: dict[str, Any]) -> None:
    with requests.Session() as session:
        for _ in range(2):
            session.post(ADDRESS, json=order, timeout=5)


def with_urllib3(order: dict[str, Any]) -> None:
    pool = urllib3.PoolManager()
    for _ in range(2):
        pool.request("POST", ADDRESS, json=order)


async def with_aiohttp(order: dict[str, Any]) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.post(ADDRESS, json=order) as answer:
                await answer.json()


def fastapi() -> FastAPI:
    app = FastAPI()
    app.post("/orders")(with_httpx_async)
    return app


def flasked() -> flask.Flask:
    app = flask.Flask("shop")

    @app.post("/orders")
    def create() -> dict[str, Any]:
        with_requests(flask.request.get_json())
        return {}

    return app


def cost_ms(made: System) -> float:
    """Return the processor time of one run, in ms: the least of three rounds."""
    for _ in range(10):
        made.run()
    found = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(RUNS // 3):
            made.run(None, Schedule())
        found.append((time.process_time() - began) / (RUNS // 3) * 1000)
    return min(found)


def main() -> None:
    """Print what a run costs, and how many times that of ports."""
    ports = cost_ms(system(None))
    print(f"{'ports':32}{ports:8.2f} ms a run")
    for name, made in (
        ("urllib3", system(with_urllib3)),
        ("requests", system(with_requests)),
        ("httpx", system(with_httpx)),
        ("httpx, async", system(with_httpx_async)),
        ("aiohttp", system(with_aiohttp)),
        ("FastAPI, httpx on both sides", system(None, fastapi())),
        ("Flask and requests, httpx before", system(None, flasked())),
    ):
        cost = cost_ms(made)
        print(f"{name:32}{cost:8.2f} ms a run, {cost / ports:5.1f} times ports")
