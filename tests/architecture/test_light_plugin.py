"""Pytest loads the plugin in every project of the environment, so it must cost nothing."""

import subprocess
import sys
import time

HEAVY = {"faker", "greenlet", "hypothesis", "jinja2", "rich", "sqlalchemy", "trio"}


def test_loading_the_plugin_loads_nothing_heavy():
    code = "import sys, chaosharness.pytest_plugin; print(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert HEAVY & set(output.split()) == set()


def test_a_run_outside_of_tests_needs_no_pytest():
    code = (
        "import sys\n"
        "from chaosharness import Kafka, System\n"
        "from tests.search.planted import one\n"
        "assert one().run().ending.verdict == 'quiet'\n"
        "print(*sys.modules)\n"
        "import pytest\n"  # and it is not hidden from anybody else
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert {"pytest", "_pytest", "hypothesis", "trio"} & set(output.split()) == set()


def test_in_a_run_of_pytest_the_plugin_of_time_machine_is_whole(time_machine):
    time_machine.move_to(0)
    assert time.time() >= 0
