"""A library that is imported late, or by an adapter, is met as soon as that can be."""

import subprocess
import sys

import pytest

CODE = """
import importlib, sys
from chaosharness.adapters import dispatch, libraries

libraries.meet({wanted})
for name in {imported}:
    importlib.import_module(name)
libraries.meet([])  # as the next run does
missing = [
    one
    for one in libraries._WANTED
    if one in sys.modules
    and importlib.import_module(libraries.ADAPTERS[one]).LIBRARY.key not in dispatch._INSTALLED
]
print("missing", missing)
"""


@pytest.mark.parametrize(
    ("wanted", "imported"),
    [
        (["redis", "celery", "kombu.transport.redis"], ["celery"]),
        (["sqlalchemy"], ["sqlalchemy"]),
        (["sqlalchemy", "sqlalchemy.sql.elements"], ["sqlalchemy"]),
    ],
    ids=["by an adapter", "in parts", "in parts that were asked for"],
)
def test_what_is_imported_late_is_met(wanted, imported):
    for name in imported:
        pytest.importorskip(name)
    code = CODE.format(wanted=wanted, imported=imported)
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert made.stdout.splitlines() == ["missing []"], made.stderr[-2_000:]
