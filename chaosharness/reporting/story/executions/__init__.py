"""What orchestrators have written down, as their users know it: one reader for each form."""

from chaosharness.reporting.story.executions.choose import executions
from chaosharness.reporting.story.executions.execution import Execution, Row

__all__ = ["Execution", "Row", "executions"]
