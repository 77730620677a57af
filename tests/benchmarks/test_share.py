"""What a search spends beside its runs: judging is counted as the search does it."""

import subprocess
import sys

import pytest

from benchmarks import share

SHARE_HELD = 0.35
"""Of 60 runs of the cashier: 0.326 was measured, and what is made once weighs more in so few.

Where a change makes it less, lower the figure.
"""

CODE = """
from benchmarks.bytecodes import systems
from benchmarks.share import shares
found = shares(systems()["small: cashier"], 60)
print(found.whole, found.judging, found.planning)
"""


def test_what_is_watched_is_there():
    for _, kind, name in share.WATCHED:
        assert callable(getattr(kind, name)), (kind, name)


def test_inner_functions_count_once_and_for_themselves():
    meter = share.Meter()

    def spend(bytecodes):
        meter.counted += bytecodes

    inner = meter.within("inner", lambda: spend(5))

    def both():
        spend(2)
        inner()
        spend(1)
        inner()

    meter.within("outer", both)()
    assert meter.inside == {"inner": 10, "outer": 3}
    meter.within("outer", lambda: spend(4))()
    assert meter.inside == {"inner": 10, "outer": 7}


@pytest.mark.skipif(sys.version_info < (3, 13), reason="bytecodes are counted on CPython 3.13")
def test_judging_and_planner_are_no_larger_a_share_than_they_were():
    output = subprocess.check_output([sys.executable, "-c", CODE], text=True)
    whole, judging, planning = map(int, output.split())
    assert judging > whole / 50  # it was counted
    assert planning > whole / 200
    assert (judging + planning) / whole < SHARE_HELD
