"""What a program prints in every process: two of them, under two hash seeds."""

from __future__ import annotations

import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = ("1", "2")


def printed_everywhere(program: str, timeout_s: int = 200) -> list[str]:
    """Run a program in two processes, each with another hash seed; return the lines of both.

    It may import `tests` and `models`.

    Raises:
        AssertionError: One of them failed, or they differ; the message has the program, the
            lines that differ, and the end of what each wrote to stderr.
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
    assert first and first == second, _difference(program, found)
    return first


def _difference(program: str, found: list[subprocess.CompletedProcess[str]]) -> str:
    lines = [f"the processes differ, or print nothing, in:\n{program}"]
    printed = zip_longest(*(one.stdout.splitlines() for one in found), fillvalue="(nothing)")
    for number, (first, second) in enumerate(printed, 1):
        if first != second:
            lines.append(f"line {number}, seed {SEEDS[0]}: {first}")
            lines.append(f"line {number}, seed {SEEDS[1]}: {second}")
    for seed, one in zip(SEEDS, found, strict=True):
        lines.append(f"stderr, seed {seed}: {one.stderr[-3000:]}")
    return "\n".join(lines)
