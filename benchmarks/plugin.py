"""What the pytest plugin costs a session that does not use it: as whole processes."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROUNDS = 8
WITHOUT = ("-p", "no:chaosharness")


def main() -> None:
    """Print CPU milliseconds of the cheapest of some sessions of each kind, taken in turns."""
    with TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text("def test_one(): pass\n")
        rounds = [(session(folder), session(folder, *WITHOUT)) for _ in range(ROUNDS)]
    having, lacking = (min(one) for one in zip(*rounds, strict=True))
    print(f"a session of one test without the plugin  {lacking:6.0f} ms")
    print(f"the same with it                          {having:6.0f} ms")
    print(f"so it costs                               {having - lacking:6.0f} ms")


def session(folder: str, *options: str) -> float:
    """Run pytest in a process of its own; return the CPU milliseconds that it took."""
    began = _spent_s()
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return 1_000 * (_spent_s() - began)


def _spent_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
