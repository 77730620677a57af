"""Rooms of adapters are loaded in whatever order, where their libraries are met as they come."""

import subprocess
import sys
from pathlib import Path

import pytest

import chaosharness.adapters

ROOMS = Path(chaosharness.adapters.__file__).parent
MODULES = [
    ".".join(("chaosharness", "adapters", *path.relative_to(ROOMS).with_suffix("").parts))
    for path in sorted(ROOMS.glob("*/**/*.py"))
    if path.name != "__init__.py"
]
QUICK = ("databases.replies", "databases.streams", "nats.api", "nats.server")
"""Those that were met too early once."""

CODE = """
import importlib, sys
from chaosharness.adapters.libraries import ADAPTERS, speak
speak(ADAPTERS)
try:
    importlib.import_module(sys.argv[1])
except ModuleNotFoundError as missing:  # of an extra that is not installed
    print(missing.name)
"""


@pytest.mark.parametrize(
    "first",
    [one if one.endswith(QUICK) else pytest.param(one, marks=pytest.mark.slow) for one in MODULES],
)
def test_any_module_may_be_the_first(first):
    command = [sys.executable, "-c", CODE, first]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert not run.stdout.startswith("chaosharness")
