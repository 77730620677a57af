"""What is put together wrongly, or used where it does not belong: one sentence each."""

import functools
import threading
import time

import pytest

from chaosharness import (
    Budget,
    Delivery,
    Exchange,
    External,
    Gateway,
    Kafka,
    KeyValue,
    RabbitMQ,
    SQLite,
    System,
)
from chaosharness.errors import InvalidDefinition


def system_of(build, broker=None, **options):
    system = System("shop")
    bus = system.add(broker or Kafka("bus", topics={"orders": 1, "out": 1}))

    @system.service("pay", **options)
    def pay(env):
        build(env, bus)

    system.entry(examples=[{"id": "o1"}])(lambda env, item: env.publisher(bus)("orders", item))
    return system


class OnOrder:
    def __init__(self, order=None):
        self.order = order

    def handle(self, order: dict): ...

    def __call__(self, order: dict): ...


@pytest.mark.parametrize("handler", [OnOrder, functools.partial(OnOrder, None)])
@pytest.mark.parametrize(
    "wire",
    [
        lambda env, bus, handler: env.consume(bus, "orders", handler),
        lambda env, bus, handler: env.serve("orders", handler),
        lambda env, bus, handler: env.main(handler),
    ],
)
def test_a_class_is_no_handler(handler, wire):
    with pytest.raises(InvalidDefinition, match=r"OnOrder, which is a class.*OnOrder\(...\)"):
        system_of(lambda env, bus: wire(env, bus, handler)).run()


@pytest.mark.parametrize("handler", [OnOrder().handle, OnOrder()])
def test_what_a_class_makes_is_one(handler):
    run = system_of(lambda env, bus: env.consume(bus, "orders", handler)).run()
    assert len(list(run.history.of("handled"))) == 1


def two_values(order_id: str, cents: int): ...
def a_dict_for_the_delivery(order: dict, headers: dict): ...
def the_delivery_first(delivery: Delivery, more): ...


@pytest.mark.parametrize("handler", [two_values, a_dict_for_the_delivery, the_delivery_first])
def test_a_second_parameter_is_the_delivery_or_refused(handler):
    with pytest.raises(InvalidDefinition, match="takes two values"):
        system_of(lambda env, bus: env.consume(bus, "orders", handler)).run()


def plainly(order, delivery):
    assert isinstance(delivery, Delivery)


def annotated(order: dict, delivery: Delivery):
    assert isinstance(delivery, Delivery)


def perhaps(order: dict, delivery: Delivery | None):
    assert isinstance(delivery, Delivery)


def a_default(order: dict, cents: int = 0):
    assert cents == 0


@pytest.mark.parametrize("handler", [plainly, annotated, perhaps, a_default])
def test_a_second_parameter_that_may_be_the_delivery(handler):
    run = system_of(lambda env, bus: env.consume(bus, "orders", handler)).run()
    assert len(list(run.history.of("handled"))) == 1


def test_decorators_without_brackets_say_what_to_write():
    system = System("shop")

    def pay(env): ...

    with pytest.raises(InvalidDefinition, match=r'@system\.service\("pay"\)'):
        system.service(pay)
    for misplaced in ((pay,), ()):
        with pytest.raises(InvalidDefinition, match=r"@system\.entry\(examples=\[\.\.\.\]\)"):
            system.entry(*misplaced)


# ---- ports of an earlier run


KEPT = {
    "client": lambda env, parts: lambda: env.client(parts["bank"]).charge("o1", 1),
    "external": lambda env, parts: lambda: env.client(parts["mail"]).send("hello"),
    "publisher": lambda env, parts: functools.partial(env.publisher(parts["bus"]), "out", {}),
    "store": lambda env, parts: functools.partial(env.connect(parts["kv"]).put, "a", 1),
    "sqlite": lambda env, parts: functools.partial(env.connect(parts["db"]).execute, "SELECT 1"),
    "consumer": lambda env, parts: functools.partial(env.consumer(parts["bus"], "out").poll, 1, 1),
    "call": lambda env, parts: lambda: env.call("pay", "echo", 1),
    "now_ms": lambda env, parts: env.now_ms,
    "sleep": lambda env, parts: lambda: env.sleep(1),
    "note": lambda env, parts: lambda: env.note("here"),
    "connect": lambda env, parts: lambda: env.connect(parts["kv"]),
}


class Mail:
    def send(self, text): ...


def with_everything(handle):
    system = System("shop")
    parts = {
        "bus": system.add(Kafka("bus", topics={"orders": 1, "out": 1})),
        "bank": system.add(Gateway("bank")),
        "mail": system.add(External("mail", Mail)),
        "kv": system.add(KeyValue("kv")),
        "db": system.add(SQLite("db", "CREATE TABLE seen (id TEXT);")),
    }

    @system.service("pay")
    def pay(env):
        env.serve("echo", lambda value: value)
        env.consume(parts["bus"], "orders", lambda order: handle(env, parts))

    bus = parts["bus"]
    system.entry(examples=[{"id": "o1"}])(lambda env, item: env.publisher(bus)("orders", item))
    return system


@pytest.mark.parametrize("what", KEPT)
def test_a_port_of_an_earlier_run_refuses(what):
    kept = []

    def handle(env, parts):
        if not kept:
            kept.append(KEPT[what](env, parts))
        kept[0]()

    system = with_everything(handle)
    assert not list(system.run().history.of("raised"))
    with pytest.raises(InvalidDefinition, match="an earlier run"):
        system.run()


@pytest.mark.parametrize("what", ["client", "publisher", "store"])
def test_a_finaliser_that_uses_a_port_of_an_earlier_run_is_refused(what):
    """Python calls `__del__` whenever it likes: here in the next run."""
    kept = []

    class Closing:
        def __init__(self, port):
            self.port = port

        def __del__(self):
            self.port()

    def handle(env, parts):
        if kept:
            kept.clear()
        else:
            kept.append(Closing(KEPT[what](env, parts)))

    system = with_everything(handle)
    system.run()
    with pytest.raises(InvalidDefinition, match="an earlier run"):
        system.run()


# ---- two threads


def test_two_threads_at_once_are_refused_and_one_after_the_other_are_not():
    inside, go = threading.Event(), threading.Event()
    found = []

    def build(env, bus):
        def on_order(order: dict): ...

        env.consume(bus, "orders", on_order)

    def real_wait(event):
        while not event.is_set():
            pass

    alone = system_of(build).run().digest()

    def place(env, item):
        inside.set()
        real_wait(go)

    blocked = System("blocked")
    blocked.entry(examples=["item"])(place)
    thread = threading.Thread(target=lambda: found.append(blocked.run().ending.verdict))
    thread.start()
    try:
        while not inside.is_set():  # what is set inside of a run wakes nobody outside
            time.sleep(0.01)
        with pytest.raises(InvalidDefinition, match="one run at a time in one process"):
            system_of(build).run()
    finally:
        go.set()
        thread.join(60)
    assert found == ["quiet"]
    assert system_of(build).run().digest() == alone


# ---- errors that say where they come from, and sites that are named for good


class BadError(Exception):
    def __str__(self):
        return f"code {self.code}"


@pytest.mark.parametrize("where", ["handler", "entry", "factory", "main"])
def test_an_error_without_words_is_one_of_the_user(where):
    def fail(*_):
        raise BadError

    def build(env, bus):
        if where == "factory":
            fail()
        if where == "main":
            env.main(fail)
        env.consume(bus, "orders", fail if where == "handler" else len, on_error="skip")

    system = system_of(build)
    system.budget = Budget(chaos_ms=3_000, calm_ms=3_000)
    if where == "entry":
        system._entry = fail
    try:
        run = system.run()
    except InvalidDefinition as error:
        assert where in ("entry", "factory", "main")
        assert "BadError (its text cannot be had" in str(error)
        assert "tests/system/test_wiring.py:" in str(error)
    else:
        raised = next(run.history.of("raised"))
        assert raised.data["error"].startswith("BadError (its text cannot be had")
        assert raised.data["line"].startswith("tests/system/test_wiring.py:")


def test_the_line_of_an_error_does_not_change_the_digest():
    def first(order: dict):
        raise ValueError("no")

    def second(order: dict):
        raise ValueError("no")

    second.__name__ = "first"
    digests = set()
    for handler in (first, second):

        def build(env, bus, handler=handler):
            env.consume(bus, "orders", handler, on_error="skip")

        digests.add(system_of(build).run().digest())
    assert len(digests) == 1


def test_publishes_without_a_key_are_named_after_their_exchange():
    def build(env, bus):
        publish = env.publisher(bus)

        def on_order(order: dict):
            publish("", order, exchange="mails")
            publish("", order, exchange="audits")

        env.consume(bus, "orders", on_order)

    exchanges = {"mails": Exchange("fanout", ["mail"]), "audits": Exchange("fanout", ["audit"])}
    bus = RabbitMQ("bus", queues=["orders", "mail", "audit"], exchanges=exchanges)
    reached = system_of(build, bus).run().reached
    for name in ("mails", "audits"):
        assert reached[f"pay.on_order/bus.publish {name}", 1] == 1


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda env, bus: env.consumer(bus, ["orders"], group="g"), 'env.consumer(bus, "a", "b")'),
        (lambda env, bus: env.consume(bus, ["orders"], lambda order: None), "one, with a handler"),
    ],
    ids=["consumer", "consume"],
)
def test_a_list_of_topics_is_told_how_they_are_given(build, words):
    with pytest.raises(InvalidDefinition) as caught:
        system_of(build).run()
    said = str(caught.value)
    assert words in said
    assert "['orders']" in said
    assert "test_wiring.py:" in said
