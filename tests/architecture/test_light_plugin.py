"""Pytest loads the plugin in every project of the environment, so it must cost nothing."""

import subprocess
import sys

HEAVY = {"faker", "greenlet", "hypothesis", "jinja2", "rich", "sqlalchemy", "trio"}


def test_loading_the_plugin_loads_nothing_heavy():
    code = "import sys, chaosharness.pytest_plugin; print(*sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert HEAVY & set(output.split()) == set()
