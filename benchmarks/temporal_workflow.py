"""The workflow of `engines.py`: in a module of its own, since it needs the SDK of Temporal."""

from datetime import timedelta
from typing import Any

from temporalio import activity, workflow


@activity.defn
def reserve() -> int:
    """Return a number."""
    return 1


@activity.defn
def charge() -> int:
    """Return a number."""
    return 1


@activity.defn
def pack() -> int:
    """Return a number."""
    return 1


@activity.defn
def ship() -> int:
    """Return a number."""
    return 1


@activity.defn
def mail() -> int:
    """Return a number."""
    return 1


ACTIVITIES: list[Any] = [reserve, charge, pack, ship, mail]


@workflow.defn
class FiveSteps:
    """Have five activities done, one after the other."""

    @workflow.run
    async def run(self) -> int:
        """Return how many were done."""
        total = 0
        for step in ACTIVITIES:
            total += await workflow.execute_activity(
                step, start_to_close_timeout=timedelta(seconds=30)
            )
        return total
