"""Whatever the code under test does to the process, a finding never ends in exit code 0."""

import os
import subprocess
import sys

import pytest

from tests.inner_pytest import LEAN

SHOP = """
import atexit, os, posix, signal, sys, threading
from chaosharness import Gateway, Kafka, System

shop = System("shop")
bus = shop.add(Kafka("bus", ["orders"]))
bank = shop.add(Gateway("bank"))

@shop.service("pay")
def pay(env):
    client = env.client(bank)
    env.consume(bus, "orders", lambda order: client.charge(order["id"], 5))

@shop.entry(examples=[{"id": "o1"}])
def place(env, order):
    env.publisher(bus)("orders", order)
"""

ENDS = {
    "a handler of atexit": "atexit.register(os._exit, 0)",
    "a handler of atexit of its own": "atexit.register(lambda: posix._exit(0))",
    "sys.exit in a handler of atexit": "atexit.register(lambda: sys.exit(0))",
    "another program": 'atexit.register(os.execv, sys.executable, [sys.executable, "-c", ""])',
    "an object that is freed": """
class Last:
    def __del__(self):
        os._exit(0)
last = Last()
""",
    "sys.exit exchanged": "sys.exit = lambda *code: None",
    "a hook": "sys.excepthook = lambda *error: os._exit(0)",
    "a thread": """
went = threading.Event()
threading.Thread(target=lambda: (went.wait(), os._exit(0))).start()
atexit.register(went.set)
""",
    "a thread that is waited for": """
threading.Thread(target=lambda: (threading.main_thread().join(), os._exit(0))).start()
""",
}


def ran(tmp_path, code):
    (tmp_path / "shop.py").write_text(SHOP + code)
    command = ["-m", "chaosharness", "run", "shop:shop", "--faults", "1", "--first"]
    return subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in ENDS.items()])
def test_a_violation_ends_in_exit_code_1(tmp_path, code):
    done = ran(tmp_path, code)
    assert done.returncode == 1, done.stderr
    assert "BROKEN" in done.stdout
    assert "Traceback" not in done.stderr


def test_who_called_is_told_with_the_line(tmp_path):
    done = ran(tmp_path, "atexit.register(lambda: os._exit(0))")
    line = len(SHOP.splitlines()) + 1
    words = f"os._exit(0) was called (at shop.py:{line}); the exit code stays 1"
    assert done.stderr == f"chaosharness: {words}\n"


def test_handlers_of_atexit_still_run(tmp_path):
    done = ran(tmp_path, 'atexit.register(lambda: open("bye", "w").close())')
    assert done.returncode == 1
    assert (tmp_path / "bye").exists()


@pytest.mark.parametrize("call", ["os._exit(0)", "sys.exit(0)"])
@pytest.mark.parametrize("door", ["check", "explore", "run"])
def test_a_property_ends_no_process(tmp_path, call, door):
    claim = f"""
from chaosharness import always, check, explore
def judge(event):
    {call}
shop.claim(always("an end", holds=judge, kinds=["effect"]))
if __name__ == "__main__":
    {door}(shop)
"""
    if door == "run":
        done = ran(tmp_path, claim)
        assert done.returncode == 3
    else:
        (tmp_path / "shop.py").write_text(SHOP + claim)
        done = subprocess.run(
            [sys.executable, "shop.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
    words = "a property called os._exit(0) (at" if "_exit" in call else "raised SystemExit: 0 at"
    assert words in done.stderr
    assert "shop.py:" in done.stderr


RAISED = {
    "GeneratorExit": "raise GeneratorExit",
    "Skipped": "import pytest; pytest.skip('not today')",
    "CancelledError": "import asyncio; raise asyncio.CancelledError",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
}
"""What ends tests and tasks, and derives from BaseException: by name, and code that raises it."""

PLACES = {
    "a property": """
from chaosharness import always
shop.claim(always("an end", holds=lambda event: end(), kinds=["effect"]))
""",
    "a factory": "shop.service('late')(lambda env: end())",
    "an entry": """
shop = System("other")
shop.entry(examples=[1])(lambda env, item: end())
""",
    "a third party": """
from chaosharness import External
class Mailer:
    def send(self):
        end()
mail = shop.add(External("mail", Mailer))
@shop.service("mailer")
def mailer(env):
    client = env.client(mail)
    env.consume(bus, "orders", lambda order: client.send(), group="mailer")
""",
    "the module": "end()",
    "a target": """
def made():
    end()
""",
}


def ended_by(tmp_path, raised, place):
    code = f"\ndef end():\n    {RAISED[raised]}\n"
    (tmp_path / "shop.py").write_text(SHOP + code + PLACES[place])
    target = "shop:made" if place == "a target" else "shop:shop"
    return subprocess.run(
        [sys.executable, "-m", "chaosharness", "run", target, "--faults", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


EVERYWHERE = [("GeneratorExit", place) for place in PLACES]
EVERYTHING = [(raised, "a property") for raised in RAISED if raised != "GeneratorExit"]


@pytest.mark.parametrize(("raised", "place"), EVERYWHERE + EVERYTHING)
def test_what_ends_a_test_ends_in_3_wherever_it_is_raised(tmp_path, raised, place):
    done = ended_by(tmp_path, raised, place)
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert raised in done.stderr
    assert "a bug in chaosharness" not in done.stderr


def test_a_property_that_skips_skips_no_test(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP + f"\ndef end():\n    {RAISED['Skipped']}\n")
    (tmp_path / "test_shop.py").write_text(
        "from chaosharness import Property, check\n"
        "from shop import end, shop\n"
        "def test_shop():\n"
        "    check(shop, properties=[Property('an end', lambda evidence: end())], faults_max=0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *LEAN, "test_shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "the property 'an end' raised Skipped: not today at shop.py:" in done.stdout


BODIES = """
import os, sys
from multiprocessing import get_context
from chaosharness import chaos_test
from shop import shop

@chaos_test(shop, properties=[], faults_max=1, runs=20)
def test_ends(run):
    os._exit(0)

@chaos_test(shop, properties=[], faults_max=1, runs=20)
def test_leaves(run):
    sys.exit(0)

@chaos_test(shop, properties=[], faults_max=1, runs=20)
def test_has_a_child(run):
    child = get_context("fork").Process(target=print)
    child.start()
    child.join()
    assert child.exitcode == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform knows no fork")
def test_the_body_of_a_test_does_not_end_pytest(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(BODIES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *LEAN, "test_shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "test_ends called os._exit(0) (at test_shop.py:9)" in done.stdout
    assert "2 failed, 1 passed" in done.stdout


PLAIN = """
import ctypes, os, threading
from hypothesis import given
from chaosharness import schedules
from shop import shop

@given(schedule=schedules(shop, faults_max=1))
def test_ends(schedule):
    shop.run(None, schedule)
    os._exit(0)

def test_ends_by_c():
    shop.run()
    ctypes.CDLL(None)._exit(0)

def test_has_a_child():
    shop.run()
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
SWALLOWED = """
import os
from shop import shop

def test_catches():
    shop.run()
    try:
        os._exit(0)
    except BaseException:
        pass
"""
IN_A_THREAD = """
import os, threading
from shop import shop

def test_thread():
    shop.run()
    thread = threading.Thread(target=os._exit, args=(0,))
    thread.start()
    thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform knows no fork")
@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        pytest.param(PLAIN, 1, ("os._exit(0) was called (at test_shop.py:10)",
                                "ctypes._exit(0) was called (at test_shop.py:14)",
                                "2 failed, 1 passed"), id="plain tests"),
        pytest.param(SWALLOWED, 1, ("os._exit(0) was called (at test_shop.py:8)",), id="caught"),
        pytest.param(IN_A_THREAD, 3, ("os._exit(0) was called",), id="in a thread"),
    ],
)  # fmt: skip
def test_no_test_that_knows_a_system_ends_pytest(tmp_path, source, code, said):
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *LEAN, "test_shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout
    for words in said:
        assert words in done.stdout + done.stderr
