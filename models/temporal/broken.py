"""Twins of the order saga on Temporal, each with one planted bug."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from chaosharness import System
from models.temporal.right import Insured, OrderSaga, _step, build
from models.third_parties import PaysBack


def _key_of_attempt(id: str) -> str:
    """Another key at each attempt."""
    return f"{id}-{activity.info().attempt}"


async def _once(name: str, *arguments: Any) -> None:
    """Have an activity tried once: no answer in time counts as none."""
    await workflow.execute_activity(
        name,
        args=arguments,
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(maximum_attempts=1),
    )


@workflow.defn(name="OrderSaga")
class _ShipsOnce(OrderSaga):
    """Tries to ship once, and undoes nothing: the money stays where the parcel does."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        await _step("charge", id, cents)
        await _once("ship", id, item)
        return "shipped"


@workflow.defn(name="OrderSaga")
class _UndoesTheUnknown(OrderSaga):
    """A charge of which nothing is known is given back, as if it had happened."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        try:
            await _once("charge", id, cents)
        except ActivityError:
            await _step("refund", id, cents)
            return "cancelled"
        await _step("ship", id, item)
        return "shipped"


@workflow.defn(name="OrderSaga")
class _DoesNotWait(OrderSaga):
    """Charge and ship at once: when one fails all is undone, and the other still runs."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        try:
            await asyncio.gather(_step("charge", id, cents), _step("ship", id, item))
        except ActivityError:
            await _step("refund", id, cents)
            return "cancelled"
        return "shipped"


@workflow.defn(name="OrderSaga")
class _LooksFirst(OrderSaga):
    """Heartbeats are due every five seconds, and asking the bank may take ten."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        await workflow.execute_activity(
            "charge_unless_there",
            args=[id, cents],
            start_to_close_timeout=timedelta(seconds=30),
            heartbeat_timeout=timedelta(seconds=5),
        )
        await _step("ship", id, item)
        return "shipped"


_WELCOMED: set[str] = set()


@workflow.defn(name="OrderSaga")
class _RemembersInItsModule(OrderSaga):
    """What it has done it keeps in its module, which is not put back when it is replayed."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        if id not in _WELCOMED:
            _WELCOMED.add(id)
            await asyncio.sleep(1)
        return await super().run(id, item, cents)


@workflow.defn(name="OrderSaga")
class _ThinksFirst(OrderSaga):
    """The next version: waits a second before anything else, and says so nowhere."""

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        await asyncio.sleep(1)
        return await super().run(id, item, cents)


@workflow.defn(name="OrderSaga")
class _OutOfOrder(Insured):
    """The money goes back first, and the parcel is stopped then."""

    undoes = ("refund", "recall")

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        return await super().run(id, item, cents)


@workflow.defn(name="OrderSaga")
class _ForgetsTheParcel(Insured):
    """The money goes back, and nobody stops the parcel."""

    undoes = ("refund",)

    @workflow.run
    async def run(self, id: str, item: str, cents: int) -> str:
        return await super().run(id, item, cents)


def compensated_out_of_order() -> System:
    return build(name="compensated out of order", saga=_OutOfOrder, insured=True)


def compensation_forgotten() -> System:
    return build(name="compensation forgotten", saga=_ForgetsTheParcel, insured=True)


def never_refunds() -> System:
    return build(name="never refunds", saga=_ShipsOnce)


def key_of_attempt() -> System:
    return build(name="key of attempt", key_of=_key_of_attempt)


def undoes_the_unknown() -> System:
    return build(name="undoes the unknown", saga=_UndoesTheUnknown, bank=PaysBack)


def branch_succeeds_after_compensation() -> System:
    return build(name="branch succeeds after compensation", saga=_DoesNotWait)


def heartbeat_timeout_while_it_runs() -> System:
    return build(name="heartbeat timeout while it runs", saga=_LooksFirst, key_of=_key_of_attempt)


def remembers_in_its_module() -> System:
    return build(name="remembers in its module", saga=_RemembersInItsModule)


def deployed_without_a_patch() -> System:
    return build(name="deployed without a patch", saga=_ThinksFirst, previous=OrderSaga)


BROKEN = (
    key_of_attempt,
    never_refunds,
    undoes_the_unknown,
    branch_succeeds_after_compensation,
    heartbeat_timeout_while_it_runs,
    remembers_in_its_module,
    deployed_without_a_patch,
    compensated_out_of_order,
    compensation_forgotten,
)
