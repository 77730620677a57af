"""What a program prints in every process: two of them, under two hash seeds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = ("1", "2")


def printed_everywhere(program: str, timeout_s: int = 200) -> list[str]:
    """Run a program in two processes, each with another hash seed; return the lines of both.

    It may import `tests` and `models`.

    Raises:
        AssertionError: One of them failed, or they differ.
    """
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        for seed in SEEDS
    ]
    for one in found:
        assert not one.returncode, one.stderr[-3000:]
    first, second = (one.stdout.splitlines() for one in found)
    assert first and first == second
    return first
