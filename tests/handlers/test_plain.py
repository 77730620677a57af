"""Plain `def`: greenlets that stop at ports, and what keeps runs apart."""

import contextvars
import random
import secrets
import subprocess
import time
import uuid
from datetime import datetime

import greenlet
import pytest

from chaosharness import Crash, Delay, Pause
from chaosharness.errors import RealIO
from tests.handlers.houses import CHARGE, PUBLISH, notes, only, run, said, system_of


def test_a_handler_stops_at_a_port_and_goes_on():
    def handle(house, order):
        house.env.sleep(0.5)
        receipt = house.bank.charge(order["id"], 100)
        house.env.note(f"{receipt.order} {receipt.cents}")

    assert notes(run(handle)) == [(520, "o1 100")]


def test_many_handlers_are_parked_at_once():
    def handle(house, order):
        house.env.sleep(100 - int(order["id"][1:]))
        house.env.note(order["id"])

    def build(house):
        def serve(order):
            handle(house, order)

        house.env.serve("order", serve)

    def place(env, order):
        env.call("desk", "order", order, timeout_s=1000)

    over = system_of(build, orders=50, entry=place).run()
    assert said(over) == [f"o{number}" for number in range(50, 0, -1)]


def test_context_variables_belong_to_the_handler():
    who = contextvars.ContextVar("who", default="nobody")
    who.set("the test")

    def handle(house, order):
        house.env.note(who.get())
        who.set(order["id"])
        house.env.sleep(1)
        house.env.note(who.get())

    assert said(run(handle, orders=2)) == ["the test", "o1", "the test", "o2"]
    assert who.get() == "the test"


def test_code_may_use_greenlets_of_its_own():
    """As SQLAlchemy's asyncio extension does."""

    def handle(house, order):
        def inner():
            house.env.sleep(1)
            greenlet.getcurrent().parent.switch("half")
            house.env.sleep(1)
            return "whole"

        own = greenlet.greenlet(inner)
        own.gr_context = contextvars.copy_context()
        house.env.note(own.switch())
        house.env.note(own.switch())

    over = run(handle, orders=3, replicas=3)
    assert notes(over)[0] == (1000, "half")
    assert sorted(said(over)) == ["half"] * 3 + ["whole"] * 3
    crashed = run(handle, only(Crash, "desk.on_order/sleep", "after"))
    assert said(crashed) == ["half", "whole"]  # by the second incarnation


# ---- clocks and chance


def test_clocks_show_virtual_time_and_chance_is_the_same_in_each_run():
    def handle(house, order):
        drawn = (uuid.uuid4(), random.random(), secrets.token_hex(4), random.randint(1, 10**9))
        house.env.note(f"{datetime.now()} {drawn}")
        house.env.sleep(1.5)
        house.env.note(f"{datetime.now()} {time.time()}")

    once, again = said(run(handle, orders=2)), said(run(handle, orders=2))
    assert once == again
    assert once[0].startswith("2030-01-01 00:00:00.001")
    assert len(set(once)) == 4


def test_a_fault_elsewhere_moves_nobodys_random_numbers():
    def handle(house, order):
        house.env.note(f"{order['id']} {uuid.uuid4()} {random.getrandbits(64)}")
        house.bank.charge(order["id"], 100)

    options = {"orders": 4, "replicas": 2}
    calm = said(run(handle, **options))
    late = said(run(handle, only(Delay, CHARGE, lasting=5_000), **options))
    assert sorted(late) == sorted(calm)
    assert late != calm
    crashed = said(run(handle, only(Crash, CHARGE, "after", entity=2), **options))
    assert set(calm) < set(crashed)
    [again] = set(crashed) - set(calm)  # the second attempt draws anew
    assert again.startswith("o2 ")


def test_two_scopes_never_draw_the_same():
    drawn = set()

    def handle(house, order):
        for _ in range(3):
            drawn.add(str(uuid.uuid4()))

    run(handle, orders=8, replicas=3)
    assert len(drawn) == 24


def test_the_clock_of_the_test_is_real_again_after_a_run():
    before = time.time()
    run(lambda house, order: house.env.sleep(3600))
    assert 0 <= time.time() - before < 60


# ---- the real world is refused


def test_a_child_process_is_refused_even_if_the_error_is_swallowed():
    def handle(house, order):
        try:
            subprocess.run(["true"], check=True)
        except Exception:
            house.env.note("swallowed")

    with pytest.raises(RealIO, match=r"desk\.on_order called subprocess"):
        run(handle)


def test_modules_may_be_imported_in_a_handler(tmp_path, monkeypatch):
    (tmp_path / "loaded_late.py").write_text(
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', ''], check=True)\n"
        "VALUE = 42\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def handle(house, order):
        import loaded_late

        house.env.note(str(loaded_late.VALUE))

    assert said(run(handle)) == ["42"]


# ---- when a resumed handler resumes another


def test_code_that_is_resumed_may_wake_others():
    """Handlers wait for one another's database locks, and all of them get there."""

    def handle(house, order):
        with house.db as db:
            db.execute("INSERT INTO seen VALUES (?)", (order["id"],))
            house.publish("out", order, key=order["id"])

    fault = only(Pause, PUBLISH, "after", lasting=100)
    over = run(handle, fault, orders=4, replicas=4)
    assert over.ending.verdict == "quiet"
    state = next(event.data for event in over.history.of("state") if event.actor == "db")
    assert len(state["tables"]["seen"]) == 4
