"""The natural mistakes of new users, one row each, at every door: the very line, and what to do.

Each row is a change of one shop that works. The line that the user must look at ends in `# here`.
"""

import importlib
import re
import sys
import warnings
from itertools import count
from textwrap import dedent, indent

import pytest
from click.testing import CliRunner

from chaosharness import chaos_test, check
from chaosharness.cli import main
from chaosharness.errors import ChaosharnessError

SHOP = """\
import multiprocessing, time, urllib.request
from chaosharness import Gateway, Kafka, System, always, never_charged_twice

shop = System("shop")
bus = shop.add(Kafka("bus", topics={"orders": 2, "parked": 1}))
bank = shop.add(Gateway("bank"))


SERVICE


ENTRY


CLAIM
"""

SERVICE = """\
@shop.service("pay")  # service
def pay(env):
    client = env.client(bank)

    HANDLER

    CONSUME
"""

HANDLER = """\
def on_order(order):
    client.charge(order["id"], 5, key=order["id"])
"""

ENTRY = """\
@shop.entry(examples=EXAMPLES)  # entry
def place(env, item):
    PUBLISH
"""

PARTS = {
    "SERVICE": SERVICE,
    "HANDLER": HANDLER,
    "CONSUME": 'env.consume(bus, "orders", on_order)',
    "ENTRY": ENTRY,
    "EXAMPLES": '["o1", "o2"]',
    "PUBLISH": 'env.publisher(bus)("orders", {"id": item}, key=item)',
    "CLAIM": "shop.claim(never_charged_twice(bank))",
}
FRESH = count()


def written(**changed):
    """Return the source of the shop with some of its parts written otherwise."""
    text = SHOP
    for name in ("SERVICE", "ENTRY", "CLAIM", "HANDLER", "CONSUME", "EXAMPLES", "PUBLISH"):
        part = dedent(changed.get(name.lower(), PARTS[name])).strip("\n")

        def put(found, part=part):
            return indent(part, found[1]).removeprefix(found[1]) if found[1] else part

        text = re.sub(
            rf"^( *)(?=.*\b{name}\b)(?P<before>.*)\b{name}\b",
            lambda found, put=put: f"{found[1]}{found['before']}{put(found)}",
            text,
            flags=re.M,
        )
    return text


def line_of(text, mark):
    return next(at for at, line in enumerate(text.splitlines(), 1) if line.endswith(mark))


ROWS = {
    "wrong topic, consumed": (
        {"consume": 'env.consume(bus, "order", on_order)  # here'},
        "bus has no topic 'order'; it has: orders",
    ),
    "wrong topic, published": (
        {"publish": 'env.publisher(bus)("order", {"id": item})  # here'},
        "bus has no topic 'order'; it has: orders",
    ),
    "called the handler": (
        {
            "handler": "def on_order(order=None): ...",
            "consume": 'env.consume(bus, "orders", on_order())  # here',
        },
        "consumes 'orders' with None, which is no function: give it the function",
    ),
    "called the main loop": (
        {
            "handler": "async def main(order): ...",
            "consume": "env.main(main(1))  # here",
        },
        "a main loop with <coroutine object .*main.*which is no function: give it the function",
    ),
    "forgot env.consume": (
        {"service": SERVICE.replace('"pay")  # service', '"pay")  # here'), "consume": "..."},
        "nothing was consumed: .*Does each service call env.consume",
    ),
    "returned the handler": (
        {
            "service": SERVICE.replace('"pay")  # service', '"pay")  # here'),
            "consume": "return on_order",
        },
        "nothing was consumed: .*Does each service call env.consume",
    ),
    "no examples": (
        {"entry": ENTRY.replace("# entry", "# here"), "examples": "[]"},
        r"there is no workload.*[gG]ive.*examples=\[",
    ),
    "a class as handler": (
        {
            "handler": """
            class OnOrder:
                def __init__(self, order):
                    client.charge(order["id"], 5)
            """,
            "consume": 'env.consume(bus, "orders", OnOrder)  # here',
        },
        "OnOrder, which is a class.*give one of its methods",
    ),
    "a helper without await": (
        {
            "handler": """
            async def helper(order): ...

            def on_order(order):
                helper(order)  # here
            """,
        },
        "without await.*await",
    ),
    "a port without await": (
        {
            "handler": """
            async def on_order(order):
                client.charge(order["id"], 5)  # here
            """,
        },
        "called without await.*write 'await",
    ),
    "a handler that always raises": (
        {
            "handler": """
            def on_order(order):
                raise KeyError("cents")  # here
            """,
            "consume": 'env.consume(bus, "orders", on_order, on_error="dead-letter")',
        },
        "no handler came to its end, even without any fault.*KeyError: 'cents'",
    ),
    "named fields": (
        {
            "handler": "def on_order(order_id: str, cents: int): ...  # here",
        },
        "'order_id' and 'cents'.*Take the message as one value",
    ),
    "no arguments": (
        {
            "handler": "def on_order(): ...  # here",
        },
        r"must take the message, .*it takes none.*Write def on_order\(message\)",
    ),
    "pika's four arguments": (
        {
            "handler": "def on_order(ch, method, properties, body): ...  # here",
        },
        "takes 4 arguments.*pika.*lambda body, delivery",
    ),
    "not serialisable": (
        {"publish": 'env.publisher(bus)("orders", {"id": 1j})  # here'},
        "cannot be written as JSON: complex has no JSON form. Publish a dict",
    ),
    "a real request": (
        {
            "handler": """
            def on_order(order):
                urllib.request.urlopen("http://psp.example/charge")  # here
            """,
        },
        r"would leave the simulated world.*External.*Web\(",
    ),
    "a real request, and its error swallowed": (
        {
            "handler": """
            def on_order(order):
                try:
                    urllib.request.urlopen("http://psp.example/charge")  # here
                except Exception:
                    pass
            """,
        },
        r"would leave the simulated world.*External.*Web\(",
    ),
    "a process": (
        {
            "handler": """
            def on_order(order):
                multiprocessing.get_context("fork").Process(target=print).start()  # here
            """,
        },
        r"would leave the simulated world.*External",
    ),
    "code that is not the same twice": (
        {
            "service": f"def made(calls):\n{indent(SERVICE, '    ')}\n\nmade([])",
            "handler": """
            def on_order(order):
                calls.append(1)  # outside of the service: no crash and no new run empties it
                client.charge(order["id"], len(calls), key=order["id"])  # here
            """,
        },
        r"differs between two runs.*cents=\d+.*cents=\d+.*It was asked for at",
    ),
    "a property that raises": (
        {
            "claim": """
            def adds_up(event):
                return event.data["centz"]  # here

            shop.claim(always("adds up", adds_up, kinds="effect"))
            """
        },
        "raised KeyError: 'centz'.*That is a mistake in the property, not a finding",
    ),
    "a kind of event that is not there": (
        {"claim": 'shop.claim(always("x", bool, kinds=["effects"]))  # here'},
        "effects.*did you mean 'effect'",
    ),
    "a claim that was not made": (
        {"claim": "shop.claim(never_charged_twice)  # here"},
        "is not a property; .*call the function that makes it",
    ),
    "@service without brackets": (
        {"service": SERVICE.replace('("pay")  # service', "  # here")},
        r'write @shop\.service\("pay"\)|write @system\.service\("pay"\)',
    ),
    "@entry without brackets": (
        {"entry": ENTRY.replace("(examples=EXAMPLES)  # entry", "  # here")},
        r"write @\w+\.entry\(examples=\[",
    ),
    "a misspelt method": (
        {
            "handler": """
            def on_order(order):
                client.chargee(order["id"], 5)  # here
            """,
        },
        "no method 'chargee'.*did you mean 'charge'|no method 'chargee'.*it has: .*charge",
    ),
    "an option of consume that is not there": (
        {"consume": 'env.consume(bus, "orders", on_order, auto_offset_reset="earliest")  # here'},
        "no option 'auto_offset_reset'; there are: group",
    ),
    "a number as a key": (
        {"publish": 'env.publisher(bus)("orders", {"id": item}, key=7)  # here'},
        r"a key is text or bytes. Write key=str\(",
    ),
    "a loop that raises at each message": (
        {
            "consume": """
            consumer = env.consumer(bus, "orders")

            def work():
                while True:
                    for order in consumer.poll(1):
                        raise KeyError("cents")  # here

            env.main(work)
            """
        },
        "no loop did anything with a message, even without any fault: pay.work raised KeyError: "
        "'cents'.*Mend that first",
    ),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def by_command_line(name):
    result = CliRunner().invoke(main, ["run", name, "--faults", "1", "--budget", "60"])
    assert result.exit_code in (2, 3), result.output
    return result.output


def by_check(name):
    with pytest.raises((ChaosharnessError, AssertionError)) as caught:
        check(importlib.import_module(name).shop, faults_max=1, runs_max=60)
    return str(caught.value)


def by_chaos_test(name):
    with pytest.raises((ChaosharnessError, AssertionError)) as caught:
        chaos_test(importlib.import_module(name).shop, faults_max=1, runs=60)(lambda run: None)()
    return str(caught.value)


def by_hand(name):
    with pytest.raises((ChaosharnessError, AssertionError)) as caught:
        importlib.import_module(name).shop.run().check()
    return str(caught.value)


DOORS = {
    "chaosharness run": by_command_line,
    "check": by_check,
    "chaos_test": by_chaos_test,
    "run().check()": by_hand,
}
ONE_RUN_SAYS_NOTHING = {"code that is not the same twice"}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("row", ROWS)
def test_a_mistake_is_told_with_its_line_and_what_to_do(row, door, here):
    if door == "run().check()" and row in ONE_RUN_SAYS_NOTHING:
        return
    changed, words = ROWS[row]
    text, name = written(**changed), f"walked_{next(FRESH)}"
    (here / f"{name}.py").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the coroutine that nobody awaited, by Python
        told = DOORS[door](name)
    told = " ".join(told.split())
    assert re.search(words, told), told
    assert f"{name}.py:{line_of(text, '# here')}" in told, f"not the place in: {told}"
    assert "Traceback" not in told
