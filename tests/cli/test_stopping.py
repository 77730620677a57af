"""A search that is ended from outside: what it found has been told and written."""

import json
import signal
import subprocess
import sys
import time
from textwrap import dedent

import pytest

from chaosharness import Kafka, System
from chaosharness.cli.stopping import until_told_to_stop

SHOP = dedent("""
    from pathlib import Path

    from chaosharness import Finding, Gateway, Kafka, Property, System, never_charged_twice

    shop = System("shop")
    bus = shop.add(Kafka("bus", {"orders": 2}))
    bank = shop.add(Gateway("bank"))


    @shop.service("payments")
    def payments(env):
        client = env.client(bank)

        def on_order(order):
            client.charge(order["id"], 500)

        env.consume(bus, "orders", on_order, on_error="dead-letter")


    @shop.entry(examples=[{"id": f"o{number}"} for number in range(6)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])


    def never(evidence):
        Path("begun").touch()  # the search goes on: nothing breaks this
        return []


    shop.claim(never_charged_twice(bank), Property("never", never))
""")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stopped(tmp_path, number, *options):
    """Run a search of many pairs, stop it once its first finding is there; return how it ended."""
    (tmp_path / "slow_shop.py").write_text(SHOP)
    command = [sys.executable, "-m", "chaosharness", "run", "slow_shop:shop", "--budget", "1000000"]
    command += ["--all"]  # it does not end by itself
    process = subprocess.Popen(
        [*command, "--report", "out", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if (tmp_path / "out" / "shop-never-charged-twice.json").exists():
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    return process.returncode, out, error


@pytest.mark.parametrize("number", SIGNALS)
def test_what_was_found_is_printed_and_written(tmp_path, number):
    code, out, error = stopped(tmp_path, number)
    assert code == 1, error
    assert "BROKEN: never charged twice" in out
    assert error == "chaosharness: broken off; 1 finding so far\n"
    assert "shop-never-charged-twice.html" in out
    assert not [one for one in (tmp_path / "out").iterdir() if one.suffix == ".part"]


def test_json_is_whole_as_well(tmp_path):
    code, out, _ = stopped(tmp_path, signal.SIGTERM, "--json")
    assert code == 1
    told = json.loads(out)
    assert told["broken_off"] is True
    assert [one["property"] for one in told["counterexamples"]] == ["never charged twice"]


def long(told, finished):
    """A handler that is told to stop in its midst, and has thousands of messages to send yet."""
    system = System("long")
    bus = system.add(Kafka("bus", {"orders": 1, "paid": 1}))

    @system.service("worker")
    def worker(env):
        publish = env.publisher(bus)

        def on_order(order):
            told()
            for number in range(3000):
                try:
                    publish("paid", {"id": number})
                    time.sleep(0.001)
                except BaseException as error:
                    finished.append(error)
                    raise
            finished.append("finished")

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_that_is_on_is_called_off_and_its_code_is_not_told(number):
    finished = []
    with pytest.raises(KeyboardInterrupt), until_told_to_stop():
        stop = signal.getsignal(number)
        long(lambda: stop(number, None), finished).run()
    assert not [one for one in finished if one == "finished" or isinstance(one, KeyboardInterrupt)]
