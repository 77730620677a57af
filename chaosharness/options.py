"""What the command line of pytest says about every chaos test, and who keeps its session alive.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass
class Options:
    """Overrides for chaos tests; None leaves a test as it is.

    Attributes:
        faults_max: Faults in one schedule, at most.
        runs: Runs of each test.
        seed: Of what is chosen by chance.
        seconds_max: Real time of each test, after which it ends between two of its runs.
    """

    faults_max: int | None = None
    runs: int | None = None
    seed: int | None = None
    seconds_max: float | None = None


OPTIONS = Options()
"""Set by the pytest plugin, read when a test draws its schedules, or searches."""

IN_CHARGE: Final[list[Callable[[str], None]]] = []
"""Asked before the process is ended, with the call as text, the newest first: raises if it must
not end now."""
