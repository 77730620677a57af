import os
import signal
import subprocess
import sys
import threading
from textwrap import dedent
from time import sleep

import pytest

from chaosharness.errors import Spinning
from chaosharness.handlers.watchdog import Watchdog

LIMIT_S = 0.3


def nothing():
    pass


def spin():
    while True:
        pass


def swallow_around_python():
    while True:
        try:  # noqa: SIM105
            nothing()
        except BaseException:
            pass


def swallow_around_c():
    while True:
        try:  # noqa: SIM105
            len("")
        except BaseException:
            pass


def swallow_arithmetic():
    number = 0
    while True:
        try:
            number += 1
        except BaseException:
            continue


def watched(code):
    """Run code under a watchdog; return the verdict, or None if it came to an end."""
    watchdog = Watchdog(where=lambda: "payments.on_order", limit_s=LIMIT_S)
    watchdog.start()
    try:
        code()
    except Spinning as verdict:
        return verdict
    finally:
        watchdog.stop()
    return None


SPINNERS = (spin, swallow_around_python, swallow_around_c, swallow_arithmetic)


@pytest.mark.parametrize("code", SPINNERS, ids=lambda code: code.__name__)
def test_code_that_spins_ends_in_a_verdict(code):
    verdict = watched(code)
    assert str(verdict) == ("payments.on_order ran for 0.3 s of real time without reaching a port")


@pytest.mark.parametrize("code", SPINNERS, ids=lambda code: code.__name__)
def test_in_another_thread_too(code):
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(watched(code)), daemon=True)
    thread.start()
    thread.join(20)
    assert [type(verdict).__name__ for verdict in verdicts] == ["Spinning"]
    assert isinstance(verdicts[0], Spinning)
    assert verdicts[0].where == "payments.on_order"


def wait_for_itself():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def sleep_long():
    sleep(60)


@pytest.mark.skipif(not hasattr(signal, "SIGURG"), reason="no such signal here")
@pytest.mark.parametrize("wait", [wait_for_itself, sleep_long], ids=lambda code: code.__name__)
def test_a_wait_inside_c_is_ended_in_the_main_thread(wait):
    assert isinstance(watched(wait), Spinning)


def test_progress_keeps_the_watchdog_quiet():
    watchdog = Watchdog(where=lambda: "payments.on_order", limit_s=LIMIT_S)
    watchdog.start()
    try:
        for _ in range(12):
            sleep(LIMIT_S / 4)
            watchdog.progress += 1
    finally:
        watchdog.stop()


def test_nothing_strikes_after_stop():
    assert watched(spin) is not None
    sleep(2 * LIMIT_S)
    assert watched(nothing) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_after_fork_is_watched_again():
    code = """
        import os, sys
        from chaosharness.errors import Spinning
        from chaosharness.handlers.watchdog import Watchdog
        def spin():
            while True:
                pass
        def run():
            watchdog = Watchdog(where=lambda: "child", limit_s=0.2)
            watchdog.start()
            try:
                spin()
            except Spinning:
                return 0
            finally:
                watchdog.stop()
        run()
        child = os.fork()
        if child == 0:
            os._exit(run())
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True, timeout=30)


def test_no_interrupt_is_left_behind_to_hang_a_tracer():
    # An exception set for a thread and then taken back leaves CPython's interrupt flag up:
    # each call goes the slow way, and under a tracer (coverage, a debugger, Hypothesis)
    # CPython 3.11 never gets past the first instruction of a function.
    code = """
        import sys, threading
        from chaosharness.errors import Spinning
        from chaosharness.handlers.watchdog import Watchdog
        def spin():
            while True:
                pass
        def run():
            watchdog = Watchdog(where=lambda: "payments.on_order", limit_s=0.2)
            watchdog.start()
            try:
                spin()
            except Spinning:
                verdicts.append("spinning")
            finally:
                watchdog.stop()
        def traced():
            return "returned"
        verdicts = []
        run()
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        sys.settrace(lambda frame, event, argument: None)
        print(verdicts, traced())
    """
    command = [sys.executable, "-c", dedent(code)]
    printed = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True)
    assert printed.stdout == "['spinning', 'spinning'] returned\n"
