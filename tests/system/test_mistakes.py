"""The natural mistakes of new users: each ends in one sentence with the line and the next step."""

import multiprocessing
import signal
import subprocess

import pytest

from chaosharness import (
    External,
    Gateway,
    Kafka,
    Property,
    RabbitMQ,
    System,
    always,
    chaos_test,
    check,
    explore,
    never_charged_twice,
)
from chaosharness.errors import (
    InvalidDefinition,
    Nondeterminism,
    NotAwaited,
    NothingProved,
    RealIO,
    UnserialisablePayload,
)

LINE = r"test_mistakes\.py:\d+"


def shop(on_order=None, *, consume=True, entry=None, examples=({"id": "o1"},), **options):
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 2}))
    bank = system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        made = on_order(env, env.client(bank)) if on_order else lambda order: None
        if consume:
            env.consume(bus, "orders", made, **options)

    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.entry(examples=examples)(entry(bus) if entry else place)
    return system


def handling(body):
    """Return what makes a handler with this body."""
    return lambda env, bank: lambda order: body(env, bank, order)


# ---- places


def test_a_topic_that_is_not_there():
    def entry(bus):
        return lambda env, order: env.publisher(bus)("order", order)

    with pytest.raises(InvalidDefinition, match=rf"bus has no topic 'order'.*orders.*{LINE}"):
        shop(entry=entry).run()


def test_a_handler_that_was_called_in_place_of_given():
    with pytest.raises(InvalidDefinition, match=rf"consumes 'orders' with None, .*{LINE}"):
        shop(lambda env, bank: None).run()


# ---- green that proved nothing


@pytest.mark.parametrize("door", ["check", "chaos_test"])
@pytest.mark.parametrize(
    ("system", "words"),
    [
        (lambda: shop(consume=False), "nothing was consumed"),
        (lambda: shop(examples=()), "example|no workload|nothing to run"),
    ],
)
def test_what_proves_nothing_is_no_green(system, words, door):
    system = system()
    with pytest.raises((NothingProved, InvalidDefinition), match=words):
        if door == "check":
            check(system, faults_max=1)
        else:
            chaos_test(system, runs=10)(lambda run: None)()


@pytest.mark.parametrize("door", ["check", "chaos_test"])
def test_a_handler_that_only_raises_is_no_green(door):
    def raises(env, bank, order):
        raise KeyError("order_id")

    system = shop(handling(raises), on_error="dead-letter")
    with pytest.raises(NothingProved, match=r"KeyError|put aside|raised"):
        if door == "check":
            check(system, faults_max=1)
        else:
            chaos_test(system, runs=10)(lambda run: None)()


# ---- handlers


def test_a_class_as_handler():
    class OnOrder:
        def __init__(self, order): ...

    with pytest.raises(
        InvalidDefinition, match=r"OnOrder, which is a class: .*Make the object once"
    ):
        shop(lambda env, bank: OnOrder).run()


def test_a_handler_with_named_fields():
    def on_order(order_id: str, cents: int): ...

    with pytest.raises(InvalidDefinition, match="takes two values, 'order_id' and 'cents'"):
        shop(lambda env, bank: on_order).run()


def test_the_four_arguments_of_pika():
    system = System("shop")
    bus = system.add(RabbitMQ("bus", ["orders"]))

    @system.service("pay")
    def pay(env):
        def on_message(channel, method, properties, body): ...

        env.consume(bus, "orders", on_message)

    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders", item))
    with pytest.raises(InvalidDefinition, match=r"takes 4 arguments.*pika"):
        system.run()


def test_async_code_that_is_not_awaited():
    async def charge(): ...

    def on_order(env, bank, order):
        charge()

    with pytest.raises(NotAwaited, match=rf"charge \(\S*{LINE}\), which is 'async def'.*{LINE}"):
        shop(handling(on_order)).run()


def test_a_port_that_is_not_awaited():
    def made(env, bank):
        async def on_order(order):
            bank.charge("o1", 500)

        return on_order

    with pytest.raises(NotAwaited, match=rf"called without await at \S*{LINE}.*'await"):
        shop(made).run()


def test_what_cannot_be_written_as_json():
    def on_order(env, bank, order): ...

    def entry(bus):
        return lambda env, order: env.publisher(bus)("orders", {"z": 1j})

    words = rf"complex has no JSON form.*Publish a dict.*{LINE}"
    with pytest.raises(UnserialisablePayload, match=words):
        shop(handling(on_order), entry=entry).run()


def test_methods_that_are_misspelt():
    with pytest.raises(InvalidDefinition, match=rf"no method 'chargee'.*mean 'charge'.*{LINE}"):
        shop(handling(lambda env, bank, order: bank.chargee("o1", 5))).run()


# ---- the real world


@pytest.mark.parametrize(
    ("call", "name", "cure"),
    [
        (
            lambda: signal.signal(signal.SIGALRM, signal.SIG_DFL),
            r"signal\.signal\(",
            "GracefulStop",
        ),
        (lambda: signal.alarm(1), r"signal\.alarm\(1\)", r"env\.every"),
        (lambda: signal.setitimer(signal.ITIMER_REAL, 1), r"signal\.setitimer\(", r"env\.every"),
        (
            lambda: multiprocessing.get_context("fork").Process(target=print).start(),
            r"os\.fork",
            "as an External",
        ),
        (
            lambda: multiprocessing.get_context("spawn").Process(target=print).start(),
            r"multiprocessing\.Process\.start",
            "as an External",
        ),
        (lambda: subprocess.run(["true"], check=False), r"subprocess\.Popen", "as an External"),
    ],
    ids=["signal", "alarm", "setitimer", "Process", "spawn", "subprocess"],
)
@pytest.mark.parametrize("where", ["handler", "factory"])
def test_what_would_leave_the_simulated_world(call, name, cure, where):
    def made(env, bank):
        if where == "factory":
            call()
        return lambda order: call()

    words = rf"(?s)called {name}.* \(at \S*{LINE}\), which would leave .*{cure}"
    with pytest.raises(RealIO, match=words):
        shop(made).run()


def test_signals_outside_of_a_run_are_no_business_of_ours():
    before = signal.getsignal(signal.SIGUSR1)
    assert signal.signal(signal.SIGUSR1, signal.SIG_DFL) == before
    signal.signal(signal.SIGUSR1, before)


# ---- claims


def test_a_property_that_raises():
    claim = always("cents", lambda event: event.data["centz"], kinds=["call"])
    system = shop(handling(lambda env, bank, order: bank.charge("o1", 5)))
    system.claim(claim)
    with pytest.raises(InvalidDefinition, match=rf"raised KeyError: 'centz' at \S*{LINE}"):
        check(system, faults_max=1)


def test_a_kind_of_event_that_is_not_there():
    with pytest.raises(InvalidDefinition, match=r"effects.*did you mean '?effect"):
        always("cents", bool, kinds=["effects"])


def test_a_property_that_was_not_made():
    with pytest.raises(InvalidDefinition, match=r"is not a property; .*call the function"):
        shop().claim(never_charged_twice)
    assert isinstance(never_charged_twice(Gateway("bank")), Property)


# ---- decorators


def test_decorators_without_brackets():
    system = System("shop")
    with pytest.raises(InvalidDefinition, match=rf'write @system.service\("pay"\).*{LINE}'):

        @system.service
        def pay(env): ...

    with pytest.raises(InvalidDefinition, match=rf"@system.entry\(examples=.*{LINE}"):

        @system.entry
        def place(env, order): ...


def test_options_of_consume_that_are_not_there():
    with pytest.raises(InvalidDefinition, match="no option 'auto_offset_reset'; there are: "):
        shop(auto_offset_reset="earliest").run()


# ---- examples


class Nameless:
    """An item without a __repr__: its address stands in its text."""

    id = "o1"


class Unspeakable:
    id = "o1"

    def __repr__(self):
        raise ValueError("no words")

    def __eq__(self, other):
        raise ValueError("like nothing")

    def __hash__(self):
        raise ValueError("no number")


def by_id(bus):
    return lambda env, item: env.publisher(bus)("orders", {"id": item.id})


@pytest.mark.parametrize("item", [Nameless, Unspeakable])
def test_examples_need_no_words_of_their_own(item):
    def on_order(env, bank, order):
        bank.charge(order["id"], 5, key=order["id"])

    system = shop(handling(on_order), entry=by_id, examples=[item()], on_error="dead-letter")
    campaign = explore(system, faults_max=1)
    assert campaign.result in ("holds", "unknown"), campaign.sentences()
    assert campaign.runs > 10


def test_the_address_of_an_example_is_told_as_such():
    system = System("shop")
    bank = system.add(External("bank", Desk))
    bus = system.add(Kafka("bus", ["orders"]))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)
        env.consume(bus, "orders", lambda order: client.told(str(Nameless())))

    system.entry(examples=[{"id": "o1"}])(lambda env, order: env.publisher(bus)("orders", order))
    kept = []
    with pytest.raises(Nondeterminism, match=r"The address of an object stands there \(<.* at 0x"):
        for _ in range(50):
            kept.append(bytearray(1_000))
            check(system, faults_max=1)


class Desk:
    def told(self, word): ...
