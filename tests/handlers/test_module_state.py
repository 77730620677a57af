"""State of modules begins anew with each incarnation, whatever holds it."""

import asyncio
import importlib
import itertools
import queue
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from functools import lru_cache, partial

import attrs
import httpx
import pytest

from chaosharness import (
    Crash,
    External,
    Gateway,
    Kafka,
    Schedule,
    Site,
    System,
    Web,
    explore,
    never_charged_twice,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.module_state import LEARNING

# ---- the same guard, kept in everything that a module can keep it in

SET = set()
DICT = {}
NESTED = {"guards": {"orders": []}}
DEFAULTS = defaultdict(int)
COUNTER = Counter()
ORDERED = OrderedDict()
LIST = []
DEQUE = deque()
BYTES = bytearray()
COUNT = itertools.count()
NEXT = itertools.count().__next__
LAST = 0
LOCK = threading.Lock()
RLOCK = threading.RLock()
EVENT = threading.Event()
QUEUE = queue.Queue()
ASYNC = asyncio.Event()


class Guard:
    taken = set()  # noqa: RUF012
    number = 0

    def __init__(self):
        self.seen = set()
        self.flag = False


class Slotted:
    __slots__ = ("__private", "flag")


@attrs.define
class Value:
    flag: bool = False


@attrs.frozen
class Frozen:
    taken: set = attrs.field(factory=set)


class Registry(dict):
    """Another kind of dict, of the user's own."""


GUARD, SLOTTED, VALUE, FROZEN, REGISTRY = Guard(), Slotted(), Value(), Frozen(), Registry()
SLOTTED.flag = False


@lru_cache
def cached(order):
    return [order]


def remembering():
    seen = []

    def remember(order):
        first = not seen
        seen.append(order)
        return first

    return remember


REMEMBER = remembering()


def with_default(order, seen=[]):  # noqa: B006
    seen.append(order)
    return len(seen) == 1


def attribute(order):
    attribute.calls.append(order)
    return len(attribute.calls) == 1


attribute.calls = []


def assigned(order):
    global LAST  # noqa: PLW0603
    LAST += 1
    return LAST == 1


def on_class(order):
    Guard.number += 1
    return Guard.number == 1


def first_in(container, add):
    def is_first(order):
        empty = not container
        add(order)
        return empty

    return is_first


def flagged(thing):
    def is_first(order):
        first, thing.flag = not thing.flag, True
        return first

    return is_first


def set_event(event):
    def is_first(order):
        first = not event.is_set()
        event.set()
        return first

    return is_first


def cache_is_empty(order):
    empty = cached.cache_info().currsize == 0
    cached(order)
    return empty


def put(container, order):
    container[order] = 1


KEPT = {
    "set": first_in(SET, SET.add),
    "dict": first_in(DICT, partial(put, DICT)),
    "nested": first_in(NESTED["guards"]["orders"], NESTED["guards"]["orders"].append),
    "defaultdict": first_in(DEFAULTS, partial(put, DEFAULTS)),
    "Counter": first_in(COUNTER, partial(put, COUNTER)),
    "OrderedDict": first_in(ORDERED, partial(put, ORDERED)),
    "list": first_in(LIST, LIST.append),
    "deque": first_in(DEQUE, DEQUE.append),
    "bytearray": first_in(BYTES, lambda order: BYTES.extend(b"x")),
    "count": lambda order: next(COUNT) == 0,
    "bound next": lambda order: NEXT() == 0,
    "global": assigned,
    "class attribute": on_class,
    "container of a class": first_in(Guard.taken, Guard.taken.add),
    "object": flagged(GUARD),
    "container of an object": first_in(GUARD.seen, GUARD.seen.add),
    "slots": flagged(SLOTTED),
    "attrs": flagged(VALUE),
    "set of a frozen object": first_in(FROZEN.taken, FROZEN.taken.add),
    "own kind of dict": first_in(REGISTRY, partial(put, REGISTRY)),
    "lru_cache": cache_is_empty,
    "closure": REMEMBER,
    "default": with_default,
    "function attribute": attribute,
    "lock": lambda order: LOCK.acquire(blocking=False),
    "rlock": lambda order: not RLOCK._is_owned() and RLOCK.acquire(blocking=False),
    "event": set_event(EVENT),
    "queue": lambda order: QUEUE.empty() and QUEUE.put_nowait(order) is None,
    "asyncio": set_event(ASYNC),
}


def shop(is_first, *, replicas=1, colour="plain"):
    """Charge an order where nothing was charged before: as the process remembers it."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 2}))
    bank = system.add(Gateway("bank"))

    @system.service("pay", replicas=replicas)
    def pay(env):
        client = env.client(bank)

        def on_order(order: dict):
            if is_first(order["id"]):
                client.charge(order["id"], 500)

        async def on_order_async(order: dict):
            if is_first(order["id"]):
                await client.charge(order["id"], 500)

        env.consume(bus, "orders", on_order if colour == "plain" else on_order_async)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.claim(never_charged_twice(bank))
    return system


def charges(run):
    return [one.data["order"] for one in run.history if one.kind == "effect"]


CHARGED = Schedule([Crash(Site("pay.on_order/bank.charge", "after"))])


@pytest.mark.parametrize("kept", KEPT)
def test_a_crash_loses_it_and_each_run_begins_without_it(kept):
    system = shop(KEPT[kept])
    digests = {system.run().digest() for _ in range(LEARNING + 3)}
    assert len(digests) == 1
    for _ in range(LEARNING + 3):
        crashed = system.run(None, CHARGED)
        assert charges(crashed) == ["o1", "o1"]
    assert system.run().digest() in digests


@pytest.mark.parametrize("kept", ["set", "count", "lru_cache", "global", "object"])
def test_what_changes_for_the_first_time_after_many_runs_is_found_all_the_same(kept):
    on = []

    def is_first(order):
        return not on or KEPT[kept](order)

    system = shop(is_first)
    for _ in range(LEARNING + 2):
        system.run()
    on.append(True)
    assert charges(system.run(None, CHARGED)) == ["o1", "o1"]
    assert charges(system.run(None, CHARGED)) == ["o1", "o1"]


@pytest.mark.parametrize("colour", ["plain", "asyncio"])
def test_two_replicas_share_nothing(colour):
    system = shop(KEPT["set"], replicas=2, colour=colour)
    items = [{"id": name} for name in "abcd"]
    owners = {
        one.actor for one in system.run(items).history if one.kind == "deliver" and one.operation
    }
    assert len(charges(system.run(items))) == 2, owners  # each replica the first it gets


# ---- what a test sees of it


LOG = []
SETTINGS = {"cents": 500}


def logging(*, shared=()):
    system = System("log", shared=shared)
    bus = system.add(Kafka("bus", topics={"orders": 2}))

    @system.service("log", replicas=2)
    def log(env):
        def on_order(order: dict):
            LOG.append(order["id"])
            env.note("settings", cents=SETTINGS["cents"], length=len(LOG))

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}, {"id": "o3"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_a_test_can_read_what_handlers_wrote_in_all_processes_and_runs():
    LOG.clear()
    system = logging()
    first = system.run()
    assert sorted(LOG) == ["o1", "o2", "o3"]
    assert system.run().digest() == first.digest()
    assert sorted(LOG) == sorted(["o1", "o2", "o3"] * 2)
    LOG.clear()
    assert system.run().digest() == first.digest()
    assert sorted(LOG) == ["o1", "o2", "o3"]


def test_what_a_test_sets_between_runs_is_what_they_find(monkeypatch):
    system = logging()

    def cents():
        return {one.data["cents"] for one in system.run().history if one.kind == "note"}

    assert cents() == {500}
    monkeypatch.setitem(SETTINGS, "cents", 7)
    assert cents() == {7}
    monkeypatch.setattr(f"{__name__}.SETTINGS", {"cents": 8})
    assert cents() == {8}


def test_what_is_shared_by_name_outlives_a_run():
    LOG.clear()
    system = logging(shared=[f"{__name__}.LOG"])
    assert system.run().digest() != system.run().digest()
    LOG.clear()


def test_a_shared_name_must_be_one():
    with pytest.raises(InvalidDefinition, match="is no name; write the module"):
        System("shop", shared=["shop.settings[0]"])


# ---- whose process


LEDGER = []


class Bank:
    def charge(self, order):
        LEDGER.append(order)
        return len(LEDGER)


def test_a_third_party_is_a_process_of_its_own():
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank = system.add(External("bank", Bank))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)

        def on_order(order: dict):
            env.note("answer", number=client.charge(order["id"]), mine=len(LEDGER))

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    crash = Schedule([Crash(Site("pay.on_order/bank.charge", "after"))])
    for _ in range(2):
        told = [one.data for one in system.run(None, crash).history if one.kind == "note"]
        assert [one["number"] for one in told] == [2, 3]  # it never crashed
        assert {one["mine"] for one in told} == {0}


def test_two_systems_of_one_module_do_not_see_each_other():
    one, other = shop(KEPT["set"]), shop(KEPT["set"])
    assert [charges(system.run()) for system in (one, other, one, other)] == [["o1"]] * 4


def test_what_constants_a_module_has_costs_nothing_while_a_run_lasts():
    system = shop(lambda order: True)
    for _ in range(LEARNING + 2):
        run = system.run()
    assert charges(run) == ["o1"]
    assert system.module_state.things
    assert not [name for name in system.module_state.names if "SETTINGS" in name]


# ---- the kind: a guard that a crash loses, at module level and in the service


UNDER_WAY = set()


@pytest.mark.parametrize("at_module_level", [True, False])
def test_a_guard_that_a_crash_loses_is_reported(at_module_level):
    system = System("guard")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)
        under_way = UNDER_WAY if at_module_level else set()

        def on_order(order: dict):
            if order["id"] in under_way:
                return
            under_way.add(order["id"])
            client.charge(order["id"], 500)
            under_way.discard(order["id"])

        env.consume(bus, "orders", on_order, on_error="dead-letter")

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.claim(never_charged_twice(bank))
    assert explore(system, kinds=[Crash], faults_max=1).result == "violated"


# ---- only the application is imported: the modules of what it calls are found by it

SHELVES = """
from fastapi import APIRouter

router = APIRouter()
left = [{"id": "tea", "count": 3}]

@router.post("/sales")
def sell(sale: dict):
    left[0]["count"] -= 1
    return left[0]["count"]
"""

MARKET = """
from fastapi import FastAPI
import shelves

market = FastAPI()
market.include_router(shelves.router)
"""

OPENED = """
from market import market

def serve(env, site):
    env.app(site, market)
"""


def test_what_the_routes_of_an_application_hold_is_of_each_process(tmp_path, monkeypatch):
    (tmp_path / "shelves.py").write_text(SHELVES)
    (tmp_path / "market.py").write_text(MARKET)
    (tmp_path / "opened.py").write_text(OPENED)
    monkeypatch.syspath_prepend(str(tmp_path))
    serve = importlib.import_module("opened").serve
    system = System("market")
    site = system.add(Web("market.example"))
    system.service("market")(lambda env: serve(env, site))
    said = []

    @system.entry(examples=[{"id": "s1"}])
    def buy(env, sale):
        said.append(httpx.post("https://market.example/sales", json=sale).json())

    for _ in range(3):
        system.run()
    assert said == [2, 2, 2]
