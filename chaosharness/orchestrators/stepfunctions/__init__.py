"""AWS Step Functions: runs Amazon States Language as it is, as a pure machine and in a system."""

from chaosharness.orchestrators.stepfunctions.engine import StepFunctions as StepFunctions

__all__ = ["StepFunctions"]
