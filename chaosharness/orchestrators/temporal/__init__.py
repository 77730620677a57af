"""Temporal: its server as a pure machine, and unmodified workflow and activity code on it."""

from chaosharness.orchestrators.temporal.engine import Temporal as Temporal

__all__ = ["Temporal"]
