"""What a run costs in bytecodes, which are exact: held with a margin of a tenth.

A subprocess counts, so that what other tests have loaded does not matter.
"""

import subprocess
import sys

import pytest

from benchmarks import measure

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="bytecodes are counted on CPython 3.13"
)

HELD = {"order: good": 68_700, "saga: good": 93_500, "small: cashier": 13_700}
"""Bytecodes of a calm run after ten; where a change makes it cheaper, lower the figure."""


@pytest.mark.parametrize("name", HELD)
def test_a_run_costs_no_more_than_it_did(name):
    code = (
        "from benchmarks.bytecodes import systems\n"
        "from benchmarks.measure import count\n"
        f"system = systems()[{name!r}]\n"
        "for _ in range(10): system.run()\n"
        "print(count(system.run))"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert 0.8 * HELD[name] < int(output) < 1.1 * HELD[name]


def test_only_what_is_counted_counts():
    assert measure.count(lambda: None) < 20
    assert measure.count(lambda: sum(one for one in range(100))) > 300
