"""Temporal: its server as a pure machine, and unmodified workflow and activity code on it.

T1 to T26 are the rules of `docs/explanation/orchestrators.md`, which has their sources.
"""

from chaosharness.orchestrators.temporal.engine import Temporal as Temporal

__all__ = ["Temporal"]
