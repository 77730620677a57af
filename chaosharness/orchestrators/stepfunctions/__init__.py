"""AWS Step Functions: runs Amazon States Language as it is, as a pure machine and in a system.

S1 to S11 are the rules of `docs/explanation/orchestrators.md`, which has their sources.
"""

from chaosharness.orchestrators.stepfunctions.engine import StepFunctions as StepFunctions

__all__ = ["StepFunctions"]
