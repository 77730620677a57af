"""Conductor: runs its JSON definitions as they are, as a pure machine and in a system.

C1 to C17 are the rules of `docs/explanation/orchestrators.md`, which has their sources.
"""

from chaosharness.orchestrators.conductor.conductor import Conductor as Conductor

__all__ = ["Conductor"]
