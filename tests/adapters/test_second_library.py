"""A library that another one stands for inside a run, where that other one is not installed."""

import subprocess
import sys

import pytest

HIDES = """
import sys

class Hides:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hides())
"""
SYSTEM = """
from chaosharness import Kafka, System

system = System("shop")
bus = system.add(Kafka("bus", topics={"orders": 1}))

@system.service("orders")
def orders(env):
    def on_order(order: dict):
        CONNECTS
    env.consume(bus, "orders", on_order)

@system.entry(examples=[{"id": "o1"}])
def place(env, order):
    env.publisher(bus)("orders", order, key="o1")

system.run()
"""
PSYCOPG2 = 'import psycopg2; psycopg2.connect("host=db.internal dbname=shop")'
ASYNCPG = 'import asyncio, asyncpg; asyncio.run(asyncpg.connect("postgresql://db.internal/shop"))'


def said(connects):
    code = HIDES + SYSTEM.replace("CONNECTS", connects)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = [one for one in done.stderr.splitlines() if one.startswith("chaosharness.errors.")]
    return done.returncode, " ".join(done.stderr.partition(lines[-1])[1:])


@pytest.mark.parametrize(
    ("connects", "words"),
    [
        (PSYCOPG2, "psycopg is not installed: pip install 'chaosharness[postgresql]'"),
        (
            ASYNCPG,
            'What asyncpg connects to is no part of this system: add PostgreSQL("db", schema)',
        ),
    ],
    ids=["psycopg2", "asyncpg"],
)
def test_what_is_missing_is_named_with_what_installs_it(connects, words):
    code, error = said(connects)
    assert code == 1
    assert words in " ".join(error.split())
