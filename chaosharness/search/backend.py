"""The name under which Hypothesis finds the planner.

Run by Hypothesis whenever it is imported, in any project of the environment: so it says
where the planner is, and loads nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

BACKEND: Final = "chaosharness"
"""What the planner is called in `hypothesis.settings(backend=...)`."""

PLACE: Final = "chaosharness.search.hypothesis_adapter.Backend"


def register() -> None:
    """Make `settings(backend="chaosharness")` known to Hypothesis, if it has backends."""
    with suppress(ImportError):
        from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS

        AVAILABLE_PROVIDERS.setdefault(BACKEND, PLACE)
