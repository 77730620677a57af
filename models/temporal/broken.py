"""Twins of the order saga on Temporal, each with one planted bug."""

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

from chaosharness import System
from models.temporal.right import OrderSaga, build


def _key_of_attempt(id: str) -> str:
    """Another key at each attempt."""
    return f"{id}-{activity.info().attempt}"


@workflow.defn(name="OrderSaga")
class _ShipsOnce(OrderSaga):
    """Tries to ship once, and undoes nothing: the money stays where the parcel does."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        for name, arguments in (("charge", [id, cents]), ("ship", [id, item])):
            await workflow.execute_activity(
                name,
                args=arguments,
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=RetryPolicy(maximum_attempts=1 if name == "ship" else 0),
            )
        return "shipped"


def never_refunds() -> System:
    return build(name="never refunds", saga=_ShipsOnce)


def key_of_attempt() -> System:
    return build(name="key of attempt", key_of=_key_of_attempt)


BROKEN = (key_of_attempt, never_refunds)
