"""What libraries keep on behalf of user code belongs to a process too, and a crash loses it."""

import contextvars
import decimal
import enum
import functools
import logging
import sys
import threading
import weakref
from functools import cache, cached_property, lru_cache, singledispatch

import cachetools
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

from chaosharness import (
    Crash,
    External,
    Gateway,
    Kafka,
    Schedule,
    Site,
    SQLite,
    System,
    check,
    explore,
    never_charged_twice,
)
from chaosharness.errors import Nondeterminism, PropertyViolated

# ---- guards: each says whether an order is new, and remembers it in another place

LOGGER = logging.getLogger("tests.libraries")
CONTEXT = contextvars.ContextVar("context", default=[])  # noqa: B039  (the point)
LOCAL = threading.local()


class Connections:
    """What peewee mixes `threading.local` with has attributes of its own."""

    def __init__(self):
        self.open = None


class OfThread(Connections, threading.local): ...


OF_THREAD = OfThread()
SEEN_BY_CACHE = cachetools.TTLCache(maxsize=100, ttl=600)


class Thing:
    """What weak references lead to."""


THINGS = {"o1": Thing()}
BY_THING = weakref.WeakKeyDictionary()
BY_NAME = weakref.WeakValueDictionary()


class Colour(enum.Enum):
    RED = 1


class Repository:
    seen = []  # noqa: RUF012

    @lru_cache  # noqa: B019
    def rows(self, order):
        return [order]

    @cached_property
    def all(self):
        return []

    @staticmethod
    @cache
    def of(order):
        return []

    @classmethod
    @cache
    def made(cls, order):
        return []


REPOSITORY = Repository()


@singledispatch
def spelled(value):
    return str(value)


@cache
def cached(order):
    return []


def filled(things, order):
    first = not things
    things.append(order)
    return first


def once(function):
    done = []

    @functools.wraps(function)
    def wrapper(order):
        return filled(done, order)

    return wrapper


@once
def by_decorator(order): ...


def by_default(order, seen=[]):  # noqa: B006
    return filled(seen, order)


def by_logger(order):
    first = not hasattr(LOGGER, "told")
    LOGGER.told = order
    return first


def by_registry(order):
    first = dict not in spelled.registry
    spelled.register(dict, str)
    return first


def by_local(order):
    first = not hasattr(LOCAL, "order")
    LOCAL.order = order
    return first


def by_mixed_local(order):
    first = OF_THREAD.open is None
    OF_THREAD.open = order
    return first


def by_list_of_local(order):
    return filled(LOCAL_LIST.orders, order)


LOCAL_LIST = threading.local()
LOCAL_LIST.orders = []


def by_cachetools(order):
    first = order not in SEEN_BY_CACHE
    SEEN_BY_CACHE[order] = True
    return first


def by_weak_key(order):
    first = THINGS[order] not in BY_THING
    BY_THING[THINGS[order]] = order
    return first


def by_weak_value(order):
    first = order not in BY_NAME
    BY_NAME[order] = THINGS[order]
    return first


def by_member(order):
    first = not hasattr(Colour.RED, "used")
    Colour.RED.used = order
    return first


def by_function(order):
    first = not hasattr(by_function, "called")
    by_function.called = order
    return first


def by_class(order):
    return filled(Repository.seen, order)


GUARDS = {
    "a logger's attribute": by_logger,
    "singledispatch": by_registry,
    "cache": lambda order: filled(cached(order), order),
    "lru_cache of a method": lambda order: len(filled_rows(order)) == 2,
    "cached_property": lambda order: filled(REPOSITORY.all, order),
    "cache of a static method": lambda order: filled(Repository.of(order), order),
    "cache of a class method": lambda order: filled(Repository.made(order), order),
    "a context variable's default": lambda order: filled(CONTEXT.get(), order),
    "threading.local": by_local,
    "threading.local, mixed": by_mixed_local,
    "a list of threading.local": by_list_of_local,
    "cachetools": by_cachetools,
    "weak keys": by_weak_key,
    "weak values": by_weak_value,
    "a class": by_class,
    "a decorator": by_decorator,
    "a default": by_default,
    "a member of an enum": by_member,
    "a function": by_function,
}


def filled_rows(order):
    rows = REPOSITORY.rows(order)
    rows.append(order)
    return rows


class Desk:
    def told(self, word): ...


def system_of(guard):
    system = System("shop")
    bus, desk = system.add(Kafka("bus", ["orders"])), system.add(External("desk", Desk))

    @system.service("pay")
    def pay(env):
        client = env.client(desk)

        def on_order(order: dict):
            client.told("new" if guard(order["id"]) else "again")

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


AFTER = Schedule([Crash(Site("pay.on_order/desk.told", "after"))])


def told(run):
    return [event.data["word"] for event in run.history.of("effect")]


@pytest.mark.parametrize("guard", [pytest.param(one, id=name) for name, one in GUARDS.items()])
def test_a_crash_loses_what_a_library_keeps_and_each_run_begins_without_it(guard):
    system = system_of(guard)
    for _ in range(3):
        assert told(system.run(schedule=AFTER)) == ["new", "new"]
        assert told(system.run()) == ["new"]


# ---- a guard that a crash loses hides no double charge


def charging(guard):
    system = System("shop")
    bus, bank = system.add(Kafka("bus", ["orders"])), system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)

        def on_order(order: dict):
            if guard(order["id"]):
                client.charge(order["id"], 500)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    system.claim(never_charged_twice(bank))
    return system


@pytest.mark.parametrize("name", ["cache of a static method", "a context variable's default"])
def test_a_cache_hides_no_double_charge(name):
    campaign = explore(charging(GUARDS[name]), faults_max=1, kinds=[Crash])
    assert [one.property for one in campaign.counterexamples] == ["never charged twice"]


RATES = {"EUR": 100, "USD": 92}


@lru_cache
def rate(currency):
    return RATES[currency]


def test_registries_that_are_filled_when_they_are_imported_are_silent():
    system = System("shop")
    bus, bank = system.add(Kafka("bus", ["orders"])), system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)

        def on_order(order: dict):
            LOGGER.debug("order %s: %s", order["id"], spelled(order["id"]))
            client.charge(order["id"], rate("EUR"), key=order["id"])

        env.consume(bus, "orders", on_order, on_error="dead-letter", retries_max=20)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    system.claim(never_charged_twice(bank))
    campaign = explore(system, faults_max=1)
    assert campaign.result == "holds"
    assert not campaign.questions


# ---- SQLAlchemy's registry of sessions

SESSIONS = scoped_session(sessionmaker())


def test_a_scoped_session_of_a_module_is_another_one_after_a_crash():
    system = System("shop")
    bus, bank = system.add(Kafka("bus", ["orders"])), system.add(Gateway("bank"))
    db = system.add(SQLite("db", schema="CREATE TABLE orders (id TEXT PRIMARY KEY)"))

    @system.service("pay")
    def pay(env):
        engine = create_engine("sqlite://", creator=lambda: env.connect(db), poolclass=StaticPool)
        SESSIONS.configure(bind=engine)
        client = env.client(bank)

        def on_order(order: dict):
            known = SESSIONS().info  # memory, of the session that the thread has
            if order["id"] not in known:
                client.charge(order["id"], 500)
                known[order["id"]] = True

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    system.claim(never_charged_twice(bank))
    with pytest.raises(PropertyViolated, match="order o1 was charged 2 times"):
        check(system, faults_max=1)


# ---- what cannot be exchanged is named


def by_filter(order):
    first = not LOGGER.filters
    LOGGER.addFilter(lambda record: True)
    return first


def by_filter_beside_a_name(order):
    LOGGER.told = order  # belongs to a process, and the rest of the object does not
    return by_filter(order)


def by_interpreter(order):
    first = not hasattr(sys, "tests_of_libraries")
    sys.tests_of_libraries = order
    return first


def by_decimal(order):
    context = decimal.getcontext()
    first = context.prec != 17
    context.prec = 17
    return first


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        (by_filter, r"LOGGER\.filters \(a list of 0, then a list of \d+\)"),
        (by_filter_beside_a_name, r"LOGGER\.filters \(a list of 0, then a list of \d+\)"),
        (by_interpreter, r"sys \(a module of \d+ names, then a module of \d+ names\)"),
        (by_decimal, r"decimal\.getcontext\(\) \(prec 28, .*, then prec 17"),
    ],
)
def test_what_outlives_a_run_is_named_with_the_cure(guard, words, monkeypatch):
    with decimal.localcontext(), pytest.raises(Nondeterminism, match=words) as caught:
        check(charging(guard), faults_max=1)
    assert "Make it inside the\nfunction that builds the service" in str(caught.value)
    assert "LOGGER.told" not in str(caught.value)
    LOGGER.filters.clear()
    monkeypatch.delattr(sys, "tests_of_libraries", raising=False)


class Unready:
    """Stands for settings that nobody has configured, as `django.conf.settings` may."""

    @property
    def __class__(self):
        raise RuntimeError("settings are not configured")


NOT_THERE = Unready()


def test_what_stands_for_something_that_is_not_there_yet_is_left_alone():
    def service(env):
        env.main(lambda: NOT_THERE is not None)

    system = System("shop")
    system.service("shop")(service)
    system.entry(examples=[1])(lambda env, item: None)
    assert system.run().ending.verdict == "quiet"
