"""What people get wrong at first: each ends in one sentence, with the place and the next step."""

import multiprocessing
import re
import time
import urllib.request
from pathlib import Path

import pytest

from chaosharness import Gateway, Kafka, System, always, check, never_charged_twice
from chaosharness.errors import ChaosharnessError

HERE = Path(__file__).name


def shop(
    handler=None, *, main=None, topic="orders", sent="orders", key=None, examples=("o1",), **options
):
    """Build a shop whose one handler is the mistake."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 2, "orders2": 1, "parked": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)
        if main is not None:
            env.main(main(env.consumer(bus, topic)))
            return

        def takes(order):
            client.charge(order["id"], 5, key=order["id"])

        made = handler(env, client) if handler else takes
        if made is not NOTHING:
            env.consume(bus, topic, made, **options)

    def place(env, item):
        env.publisher(bus)(sent, {"id": 1j if item == "j1" else item}, key=key or item)

    system.entry(examples=list(examples))(place)
    return system


NOTHING = object()


def on_class(env, client):
    class OnOrder:
        def __init__(self, order):
            client.charge(order["id"], 5)

    return OnOrder


def forgets_await(env, client):
    async def helper(order):
        await client.charge(order["id"], 5)

    def on_order(order):
        helper(order)

    return on_order


def port_without_await(env, client):
    async def on_order(order):
        client.charge(order["id"], 5)

    return on_order


def raises(env, client):
    def on_order(order):
        raise KeyError("cents")

    return on_order


def fields(env, client):
    def on_order(order_id: str, cents: int):
        client.charge(order_id, cents)

    return on_order


def four(env, client):
    def on_order(ch, method, properties, body):
        client.charge(body["id"], 5)

    return on_order


def misspelt(env, client):
    def on_order(order):
        client.chargee(order["id"], 5)

    return on_order


def goes_outside(env, client):
    def on_order(order):
        import socket

        socket.create_connection(("psp.example", 443))

    return on_order


def calls_it(env, client):
    def on_order(order=None):
        return None

    return on_order()


def asks_over_http(env, client):
    def on_order(order):
        urllib.request.urlopen("http://psp.example/charge")

    return on_order


def starts_a_process(env, client):
    def on_order(order):
        multiprocessing.get_context("fork").Process(target=print).start()

    return on_order


def counts_for_ever():
    calls = []  # outside of the service: no crash and no new run empties it

    def made(env, client):
        def on_order(order):
            calls.append(order["id"])
            client.charge(order["id"], len(calls), key=order["id"])

        return on_order

    return made


def expects_an_object(env, client):
    def on_order(order):
        client.charge(order.id, 5, key=order.id)

    return on_order


def loop_that_raises(consumer):
    def loop():
        while True:
            for _ in consumer.poll(1):
                raise KeyError("cents")

    return loop


def loop_that_never_begins(consumer):
    def loop():
        raise RuntimeError("no configuration")

    return loop


ROWS = {
    "a real request": (
        lambda: shop(asks_over_http),
        r"would leave the simulated world.*External.*Web\(",
    ),
    "a process": (lambda: shop(starts_a_process), r"would leave the simulated world.*an External"),
    "code that is not the same twice": (
        lambda: shop(counts_for_ever()),
        r"differs between two runs.*cents=\d+.*cents=\d+.*It was asked for at .*\.on_order",
    ),
    "a dict taken for an object": (
        lambda: shop(expects_an_object),
        "AttributeError: 'dict' object has no attribute 'id'.*mend it",
    ),
    "a loop that raises at each message": (
        lambda: shop(main=loop_that_raises),
        "without any fault, pay dies as often as it is started.*KeyError: 'cents'",
    ),
    "a loop that raises at once": (
        lambda: shop(main=loop_that_never_begins),
        "pay.loop raised RuntimeError: no configuration.*would die like this each time",
    ),
    "a number as a key": (lambda: shop(key=7), r"a key is text or bytes. Write key=str\("),
    "wrong topic, consumed": (
        lambda: shop(topic="order"),
        "no topic 'order'; it has: orders",
    ),
    "wrong topic, published": (
        lambda: shop(sent="order"),
        "no topic 'order'; it has: orders",
    ),
    "called the handler": (
        lambda: shop(calls_it),
        "consumes 'orders' with None, which is no function: give it the function, without",
    ),
    "returned the handler, or forgot env.consume": (
        lambda: shop(lambda env, client: NOTHING),
        "nothing was consumed: .* env.consume",
    ),
    "no examples": (lambda: shop(examples=()), r"give the entry examples=\["),
    "a class as handler": (
        lambda: shop(on_class),
        "OnOrder, which is a class.*give one of its methods",
    ),
    "helper without await": (lambda: shop(forgets_await), "without await.*await"),
    "port without await": (lambda: shop(port_without_await), "without await.*await"),
    "a handler that always raises": (
        lambda: shop(raises, on_error="skip"),
        "KeyError",
    ),
    "named fields": (lambda: shop(fields), "'order_id' and 'cents'.*Take the message as one value"),
    "pika's four arguments": (lambda: shop(four), "takes 4 arguments.*pika.*lambda body, delivery"),
    "not serialisable": (
        lambda: shop(examples=["j1"]),
        "cannot be written as JSON: complex.*Publish a dict",
    ),
    "a real socket": (lambda: shop(goes_outside), "would leave the simulated world.*env"),
    "misspelt method": (lambda: shop(misspelt), "no method 'chargee'.*charge"),
    "unknown option of consume": (
        lambda: shop(auto_offset_reset="earliest"),
        "no option 'auto_offset_reset'; there are: group",
    ),
}


def said(mistake) -> str:
    """Return what the user is told, by building it or else by the first check of it."""
    with pytest.raises((ChaosharnessError, AssertionError, TypeError, ValueError)) as caught:
        check(mistake(), properties=[never_charged_twice("bank")], faults_max=1, runs_max=20)
    return str(caught.value)


@pytest.mark.parametrize("row", ROWS)
def test_a_mistake_ends_in_a_sentence_with_its_place_and_what_to_do(row):
    mistake, words = ROWS[row]
    told = said(mistake)
    assert re.search(words, told, re.DOTALL), told
    assert re.search(rf"{re.escape(HERE)}:\d+", told), f"no place in: {told}"


def said_at_once(mistake) -> str:
    with pytest.raises((ChaosharnessError, TypeError, ValueError)) as caught:
        mistake()
    return str(caught.value)


AT_ONCE = {
    "service without brackets": (
        lambda system: system.service(lambda env: None),
        r'@system\.service\("',
    ),
    "entry without brackets": (
        lambda system: system.entry(lambda env, item: None),
        r"@system\.entry\(examples=\[",
    ),
    "kinds that do not exist": (
        lambda system: always("x", lambda event: True, kinds=["effects"]),
        "did you mean 'effect'",
    ),
    "a claim that was not made": (
        lambda system: system.claim(never_charged_twice),
        "call the function that makes it",
    ),
}


@pytest.mark.parametrize("row", AT_ONCE)
def test_a_mistake_is_refused_where_it_is_made(row):
    mistake, words = AT_ONCE[row]
    told = said_at_once(lambda: mistake(System("shop")))
    assert re.search(words, told, re.DOTALL), told
    assert re.search(rf"{re.escape(HERE)}:\d+", told), f"no place in: {told}"


def test_a_property_that_raises_is_called_a_mistake_in_the_property():
    broken = always("adds up", lambda event: event.data["centz"], kinds="effect")
    with pytest.raises((ChaosharnessError, AssertionError)) as caught:
        check(shop(), properties=[broken], faults_max=1, runs_max=20)
    told = str(caught.value)
    assert "That is a mistake in the property, not a finding" in told
    assert re.search(rf"{re.escape(HERE)}:\d+", told), f"no place in: {told}"


def test_a_batch_is_a_sequence_and_bytes_are_a_key():
    """What people write by habit, and what just works."""

    def first_of_a_batch(consumer):
        def loop():
            while True:
                got = consumer.poll(1)
                if got:
                    seen.append(got[0])
                    consumer.commit()

        return loop

    seen = []
    assert shop(main=first_of_a_batch, key=b"o1").run().ending.verdict == "quiet"
    assert len(seen) == 1


def test_time_sleep_waits_in_virtual_time():
    def sleeps(env, client):
        def on_order(order):
            time.sleep(3_600)
            client.charge(order["id"], 5, key=order["id"])

        return on_order

    run = shop(sleeps).run()
    assert next(iter(run.history.of("effect"))).at_ms >= 3_600_000


def test_no_faults_prove_nothing():
    with pytest.raises((ChaosharnessError, AssertionError), match="ask for one fault or more"):
        check(shop(), properties=[never_charged_twice("bank")], faults_max=0)
