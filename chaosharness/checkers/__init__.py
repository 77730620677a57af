"""Properties: named claims about a run, judged from its history and nothing else."""

from __future__ import annotations

from chaosharness.checkers.property import (
    Evidence,
    Finding,
    Property,
    always,
    eventually,
    sometimes,
)

__all__ = ["Evidence", "Finding", "Property", "always", "eventually", "sometimes"]
