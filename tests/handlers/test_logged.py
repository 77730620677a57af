"""What the user's code logs and prints is noted in the run that is told, and nowhere else."""

from __future__ import annotations

import asyncio
import io
import logging
import queue
import sys
import threading
import time
import traceback
import warnings
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path

import pytest

from chaosharness import Crash, ErrorReply, Gateway, Kafka, Schedule, Site, System
from chaosharness.handlers.logged import LINES_MAX, Logged, noting_logs

LOG = logging.getLogger("shop.payments")
REFUSED = Schedule([ErrorReply(Site("payments.on_order/bank.charge"))])


def shop(speak, *, main=None):
    """A system whose only handler says something around a charge."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        client = env.client(bank)

        def on_order(order):
            speak("begin", order)
            try:
                client.charge(order["id"], order["cents"], key=order["id"])
            except ConnectionError as error:
                speak("error", error)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def log(what, of):
    """As people log: with arguments, and the error in hand."""
    if what == "begin":
        LOG.warning("order %s, %d cents", of["id"], of["cents"])
    else:
        LOG.exception("charge failed")


def logged(system, schedule=REFUSED):
    run = system.run(schedule=schedule)
    return system.seen_again(run).logged


def test_records_have_when_who_and_the_error():
    first, second = logged(shop(log))
    assert first == Logged(1, "payments#1", "WARNING", "shop.payments", "order o1, 500 cents")
    assert (second.level, second.actor) == ("ERROR", "payments#1")
    assert second.at_ms > 1
    refused = "payments.on_order/bank.charge: refused, try again later"
    assert second.text == f"charge failed: ConnectionError: {refused}"
    assert str(first) == "WARNING shop.payments: order o1, 500 cents"


def test_levels_that_are_off_are_not_noted():
    assert logged(shop(lambda what, of: LOG.info("never"))) == ()


def test_a_logger_with_handlers_of_its_own_is_noted_once(monkeypatch):
    shown = io.StringIO()
    logger = logging.getLogger("shop.apart")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(sys.stderr)])
    logger.addHandler(logging.StreamHandler(shown))
    found = logged(shop(lambda what, of: logger.error("%s", what)))
    assert [one.text for one in found] == ["begin", "error"]
    assert shown.getvalue() == "begin\nerror\n" * 2  # handlers do as ever, in each run


def test_what_is_printed_is_noted_by_lines():
    def speak(what, of):
        print("a", "b", end="")
        sys.stderr.write("apart\n")
        print("c\n\nd")

    found = logged(shop(speak), Schedule())
    assert [one.text for one in found] == ["apart", "a bc", "d"]
    assert {(one.level, one.logger) for one in found} == {("", "")}


def test_a_stream_that_was_taken_before_is_noted(capfd):
    held = sys.stderr  # as libraries do when they are imported
    with capfd.disabled():
        pass
    found = logged(shop(lambda what, of: held.write(f"{what}\n")), Schedule())
    assert [one.text for one in found] == ["begin"]
    assert "write" not in vars(held)


def test_the_same_again_and_again_is_one_line():
    def speak(what, of):
        for _ in range(200):
            LOG.warning("again")

    (only,) = logged(shop(speak), Schedule())
    assert only.times == 200
    assert str(only).endswith("again   (200 times)")


def test_of_a_traceback_the_last_line_is_kept():
    """As Python prints it, and as libraries draw it: they name files and addresses of a machine."""

    def speak(what, of):
        try:
            raise ValueError("first")
        except ValueError:
            try:
                raise KeyError("second")
            except KeyError:
                traceback.print_exc()
                LOG.error("failed\n%s", traceback.format_exc())
        print("╭── Traceback (most recent call last) ──╮\n│ a │\n╰──╯\nOSError: drawn\nnext")

    found = logged(shop(speak), Schedule())
    assert [one.text for one in found] == [
        "ValueError: first",
        "KeyError: 'second'",
        "failed KeyError: 'second'",
        "OSError: drawn",
        "next",
    ]


def test_it_reads_the_same_on_any_machine():
    def speak(what, of):
        print(f"\x1b[31m{Path.cwd() / 'shop.py'}\x1b[0m {object()}")

    (only,) = logged(shop(speak), Schedule())
    assert only.text == "shop.py <object object at 0x…>"


def test_after_a_crash_it_is_another_process_that_logs():
    crash = Schedule([Crash(Site("payments.on_order/bank.charge", "after"))])
    found = logged(shop(log), crash)
    assert [one.actor for one in found] == ["payments#1", "payments#1/2"]


def test_there_is_an_end_to_what_is_kept():
    def speak(what, of):
        for number in range(LINES_MAX + 10):
            LOG.warning("%d" + "x" * 5_000, number)

    found = logged(shop(speak), Schedule())
    assert len(found) == LINES_MAX
    assert max(len(one.text) for one in found) == 2_000


def test_a_record_that_cannot_be_said_is_noted_as_it_stands(monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    found = logged(shop(lambda what, of: LOG.warning("%d orders", "no")), Schedule())
    assert [one.text for one in found] == ["%d orders"]


def test_bytes_that_are_printed_are_noted_once():
    def speak(what, of):
        print("as text")
        sys.stdout.buffer.write(b"as bytes \xff\n")

    found = logged(shop(speak), Schedule())
    assert [one.text for one in found] == ["as text", r"as bytes \xff"]
    assert "write" not in vars(sys.stdout.buffer)


def test_of_a_progress_bar_its_last_state_is_noted():
    def speak(what, of):
        for done in range(50):
            print(f"\r{done}%", end="", flush=True)
        print("\rdone\r")

    found = logged(shop(speak), Schedule())
    assert [one.text for one in found] == ["done"]


def test_an_error_of_several_lines_is_one():
    def speak(what, of):
        try:
            raise ValueError("a\nb")
        except ValueError:
            LOG.exception("no")

    found = logged(shop(speak), Schedule())
    assert [one.text for one in found] == ["no: ValueError: a b"]


def test_what_a_queue_hands_on_is_noted_once():
    def speak(what, of):
        waiting = queue.Queue()
        listener = QueueListener(waiting, logging.StreamHandler(sys.stderr))
        listener.start()
        handler = QueueHandler(waiting)
        LOG.addHandler(handler)
        LOG.warning("queued")
        listener.stop()
        LOG.removeHandler(handler)

    found = logged(shop(speak), Schedule())
    assert [one.text for one in found] == ["queued"]


def test_what_others_say_while_a_record_is_on_its_way_is_noted(monkeypatch):
    class Slow(logging.Handler):
        def emit(self, record):
            time.sleep(1)

    def speak(what, of):
        beside = threading.Thread(target=lambda: (time.sleep(0.5), print("beside")))
        beside.start()
        LOG.warning("slow")
        beside.join()

    monkeypatch.setattr(LOG, "handlers", [Slow()])
    found = logged(shop(speak), Schedule())
    assert [one.text for one in found] == ["slow", "beside"]


@pytest.mark.filterwarnings("default")
def test_a_warning_that_was_shown_before_is_noted(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", lambda words, *more: print(words))
    found = logged(shop(lambda what, of: warnings.warn("old", stacklevel=1)), Schedule())
    assert [one.text for one in found] == ["old"]


def test_asyncio_handlers_are_noted():
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("payments")
    def payments(env):
        async def on_order(order):
            LOG.warning("one")
            await asyncio.sleep(3)
            print("two")

        env.consume(bus, "orders", on_order)

    @system.entry(examples=["o1"])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order)

    first, second = logged(system, Schedule())
    assert (first.text, second.text) == ("one", "two")
    assert second.at_ms - first.at_ms == 3_000


def test_the_run_that_notes_is_the_same_run():
    system = shop(log)
    run = system.run(schedule=REFUSED)
    again = system.seen_again(run)
    assert again.lines == system.lines(run)
    assert again.lines
    assert system.run(schedule=REFUSED).digest() == run.digest()


def test_a_run_that_is_another_one_shows_nothing():
    calls = []

    def speak(what, of):
        calls.append(what)
        LOG.warning("said")
        if len(calls) > 1:
            time.sleep(1)

    system = shop(speak)
    again = system.seen_again(system.run())
    assert (again.lines, again.logged) == ({}, ())


def test_nothing_is_left_behind():
    before = logging.Logger.callHandlers
    streams = [one for one in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__) if one]
    with pytest.raises(ZeroDivisionError), noting_logs():
        raise ZeroDivisionError
    assert logging.Logger.callHandlers is before
    assert all("write" not in vars(one) for one in streams)


def test_who_puts_a_function_around_logging_meanwhile_keeps_it(monkeypatch):
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    seen = []
    with noting_logs() as noted:
        inner = logging.Logger.callHandlers

        def around(self, record):
            seen.append(record.msg)
            inner(self, record)

        logging.Logger.callHandlers = around
    LOG.warning("afterwards")
    assert seen == ["afterwards"]
    assert not noted.lines


def test_what_the_harness_itself_logs_is_no_line_of_the_users():
    with noting_logs() as noted:
        LOG.warning("outside any run")
        print("outside any run")
    assert not noted.lines
