"""Which durations a loop reckons with, read off its code once it asks for the time."""

import datetime
import time
from types import SimpleNamespace

import pytest

from chaosharness import KeyValue, Schedule, System
from chaosharness.kernel.scope import SCOPE

LEASE = datetime.timedelta(minutes=7)
LEASE_MS = 600_000
LEASE_S = 300


def now_ms():
    return int(time.time() * 1000)


class Config:
    """Durations, and what is none."""

    lease_s = 450.0
    name = "config"


def in_a_constant(env):
    return time.time() - 0 > 120


def in_a_global(env):
    return time.monotonic() - 0 > LEASE_S


def in_a_timedelta(env):
    return datetime.datetime.now(datetime.UTC) - LEASE


def in_a_call_of_timedelta(env):
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)


def in_the_code_of_a_caller(env):
    return now_ms() - 0 > LEASE_MS


def in_a_class(env):
    return time.time() > Config.lease_s


def in_an_argument(env, lease_ms=90_000):
    return env.now_ms() > lease_ms


def in_what_it_calls(env):
    return is_over(env.now_ms())


def is_over(now):
    return now > 240_000


def in_nanoseconds(env):
    return time.time_ns() > 30_000_000_000


def in_nothing(env):
    return time.time() > 0


@pytest.mark.parametrize(
    ("ask", "expected_ms"),
    [
        (in_a_constant, 120_000),
        (in_a_global, 300_000),
        (in_a_timedelta, 420_000),
        (in_a_call_of_timedelta, 7_200_000),
        (in_the_code_of_a_caller, 600_000),
        (in_a_class, 450_000),
        (in_an_argument, 90_000),
        (in_what_it_calls, 240_000),
        (in_nanoseconds, 30_000),
        (in_nothing, 0),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_duration_is_found(ask, expected_ms):
    assert reckoned(ask) == expected_ms


def test_code_that_logs_or_draws_asks_no_clock():
    import logging
    import random
    import uuid

    def harmless(env):
        logging.getLogger("worker").warning("looked")
        return random.random(), uuid.uuid4(), LEASE_MS

    assert clock_reads(harmless) == 0


def test_every_clock_counts():
    def all_of_them(env):
        env.now_ms()
        time.time(), time.monotonic(), time.perf_counter(), time.time_ns()
        datetime.datetime.now(), datetime.date.today(), time.localtime()

    assert clock_reads(all_of_them) == 8


def seen_by(ask):
    """Run a loop that asks once, and return its scope."""
    system = System("asking")
    store = system.add(KeyValue("kv"))
    seen = SimpleNamespace(scope=None)

    @system.service("worker")
    def worker(env):
        env.connect(store)

        def loop():
            seen.scope = SCOPE.get()
            ask(env)

        env.main(loop)

    @system.entry(examples=["x"])
    def begin(env, item): ...

    system.run(None, Schedule())
    return seen.scope


def reckoned(ask):
    return seen_by(ask).reckons_ms


def clock_reads(ask):
    return seen_by(ask).clock
