"""AWS Lambda durable functions: handlers of the Python SDK as they are, in a system."""

from chaosharness.orchestrators.durablefunctions.engine import DurableFunctions as DurableFunctions

__all__ = ["DurableFunctions"]
