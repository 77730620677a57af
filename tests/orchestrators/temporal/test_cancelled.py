"""Workflows that clients cancel: undone as a whole, or not, and judged with nothing claimed."""

import asyncio
from datetime import timedelta
from typing import Any

import attrs
import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from chaosharness import (
    Delay,
    Env,
    External,
    NetworkPartition,
    StoreOutage,
    System,
    Temporal,
    explore,
)
from models.third_parties import Bank

FEW = RetryPolicy(maximum_attempts=4)


class Stock:
    """Reserves once for an order, and gives back, also what it never had."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.back: set[str] = set()

    def reserve(self, order: str) -> Any:
        if order in self.held | self.back:
            return External.unchanged(order)
        self.held.add(order)
        return order

    def release(self, order: str) -> Any:
        first = order not in self.back
        self.back.add(order)
        return order if first and order in self.held else External.unchanged(order)


@attrs.frozen
class Trip:
    """A trip, and when its client cancels it, if at all; some cannot be reserved."""

    id: str
    cancelled: bool = False
    full: bool = False


async def act(name: str, *given: Any, **options: Any) -> None:
    await workflow.execute_activity(
        name, args=given, start_to_close_timeout=timedelta(seconds=20), **options
    )


async def book(trip: dict[str, Any], undo: list[str]) -> str:
    """Charge, reserve, and wait for the day; what is to be undone is said before it is begun."""
    undo.append("refund")
    await act("charge", trip["id"])
    undo.append("release")
    await act("reserve", trip["id"], trip["full"], retry_policy=FEW)
    await asyncio.sleep(120)
    return "done"


async def take_back(trip: dict[str, Any], undo: list[str]) -> None:
    for name in reversed(undo):
        await act(name, trip["id"])


@workflow.defn(name="Journey")
class Undoes:
    """Takes all back when it fails or is cancelled, and however often it is cancelled then."""

    @workflow.run
    async def run(self, trip: dict[str, Any]) -> str:
        undo: list[str] = []
        try:
            return await book(trip, undo)
        except (ActivityError, asyncio.CancelledError):
            undoing = asyncio.create_task(take_back(trip, undo))
            while not undoing.done():
                try:
                    await asyncio.shield(undoing)
                except asyncio.CancelledError:
                    continue
            return "undone"


@workflow.defn(name="Journey")
class UndoesUntilCancelled:
    """Is cancelled once more while it takes back: the shield keeps what nobody awaits any more."""

    @workflow.run
    async def run(self, trip: dict[str, Any]) -> str:
        undo: list[str] = []
        try:
            return await book(trip, undo)
        except (ActivityError, asyncio.CancelledError):
            await asyncio.shield(take_back(trip, undo))
            return "undone"


@workflow.defn(name="Journey")
class UndoesFailures:
    """Takes back what fails, and not what is cancelled between two activities."""

    @workflow.run
    async def run(self, trip: dict[str, Any]) -> str:
        undo: list[str] = []
        try:
            return await book(trip, undo)
        except ActivityError:
            await take_back(trip, undo)
            return "undone"


def build(saga: type) -> System:
    system = System("trips")
    server = system.add(Temporal("temporal"))
    bank, stock = system.add(External("bank", Bank)), system.add(External("stock", Stock))

    @system.service("worker")
    def worker(env: Env) -> None:
        money, seats = env.client(bank), env.client(stock)

        @activity.defn
        async def charge(id: str) -> None:
            await money.charge(id, 500)

        @activity.defn
        async def refund(id: str) -> None:
            await money.refund(id, 500)

        @activity.defn
        async def reserve(id: str, full: bool) -> None:
            if full:
                raise ApplicationError("no seat", non_retryable=True)
            await seats.reserve(id)

        @activity.defn
        async def release(id: str) -> None:
            await seats.release(id)

        done = [charge, refund, reserve, release]
        env.worker(server, task_queue="q", workflows=[saga], activities=done)

    examples = [Trip("o1"), Trip("o2", cancelled=True), Trip("o3", full=True)]

    @system.entry(examples=examples)
    async def order(env: Env, trip: Trip) -> None:
        given = attrs.asdict(trip)
        handle = await env.client(server).start_workflow(
            "Journey", given, id=trip.id, task_queue="q"
        )
        if trip.cancelled:
            await env.sleep(60)
            await handle.cancel()

    return system


KINDS = (Delay, NetworkPartition, StoreOutage)


def found(saga: type) -> list[tuple[str, str]]:
    campaign = explore(build(saga), kinds=KINDS, faults_max=1)
    assert any(one.tested for one in campaign.standings if one.name == "idempotent")
    return [(one.findings[0].kind, one.findings[0].place) for one in campaign.counterexamples]


def test_all_is_taken_back_also_where_a_cancellation_is_refused_late_or_never_sent() -> None:
    """One that goes on since its client could not cancel it, or did not come back to, is right; and
    so is one that gives up as a whole and says so by its result alone."""
    assert found(Undoes) == []


def test_what_is_not_taken_back_since_it_is_cancelled_once_more_is_half_done() -> None:
    assert ("half done", "bank.charge") in found(UndoesUntilCancelled)


def test_what_stands_of_a_workflow_that_is_cancelled_is_asked_without_any_fault() -> None:
    """A subscription keeps what was paid; a trip does not. Only the user can say which it is."""
    questions = explore(build(UndoesFailures), faults_max=0).questions
    assert {one.place for one in questions} == {"bank.charge", "stock.reserve"}
    assert all("workflow canceled" in str(one) for one in questions)
    assert explore(build(Undoes), faults_max=0).questions == ()
