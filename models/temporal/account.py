"""An account as a workflow that never ends: payments come as updates, and are booked locally.

What is booked has the update's id as its key. Two slips: the client sends its update again under
another id, and the local activity books without a key, though a worker that dies before its task is
completed does it again.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import attrs
from temporalio import activity, workflow
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from chaosharness import Env, Gateway, System, Temporal

QUEUE = "accounts"
TRIES = 4
UNANSWERED = (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError)
"""What a client is told that does not know whether its update has happened."""


@attrs.frozen
class Payment:
    """A payment into an account."""

    id: str
    account: str
    cents: int


@workflow.defn
class Account:
    """Takes payments, each once."""

    def __init__(self) -> None:
        self.balance = 0
        self.closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.closed)
        return self.balance

    @workflow.query
    def cents(self) -> int:
        return self.balance

    @workflow.update
    async def pay(self, id: str, cents: int) -> int:
        update = workflow.current_update_info()
        assert update is not None
        await workflow.execute_local_activity(
            "book", args=[update.id, id, cents], start_to_close_timeout=timedelta(seconds=5)
        )
        self.balance += cents
        return self.balance

    @pay.validator
    def is_a_payment(self, id: str, cents: int) -> None:
        if cents <= 0:
            raise ValueError("nothing is paid")


async def _pay(client: Client, payment: Payment, update_id: str | None) -> Any:
    start = WithStartWorkflowOperation(
        Account.run,
        id=payment.account,
        task_queue=QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    return await client.execute_update_with_start_workflow(
        Account.pay,
        args=[payment.id, payment.cents],
        id=update_id,
        start_workflow_operation=start,
    )


async def pay_as_known(client: Client, payment: Payment) -> None:
    """Send a payment until it is answered: always under its own id."""
    for _ in range(TRIES):
        try:
            await _pay(client, payment, payment.id)
        except UNANSWERED:
            continue
        return


async def pay_as_new(client: Client, payment: Payment) -> None:
    """Send a payment until it is answered: each time as another update."""
    for _ in range(TRIES):
        try:
            await _pay(client, payment, None)
        except UNANSWERED:
            continue
        return


def build(
    *,
    name: str = "account",
    pay: Callable[[Client, Payment], Awaitable[None]] = pay_as_known,
    key_of: Callable[[str], str | None] = str,
) -> System:
    """Build the bank."""
    system = System(name)
    temporal = system.add(Temporal("temporal"))
    bank = system.add(Gateway("bank"))

    @system.service("accounts")
    def accounts(env: Env) -> None:
        ledger = env.client(bank)

        @activity.defn
        async def book(update_id: str, id: str, cents: int) -> None:
            await ledger.charge(id, cents, key=key_of(update_id))

        env.worker(temporal, task_queue=QUEUE, workflows=[Account], activities=[book])

    @system.entry(examples=[Payment("p1", "ann", 500), Payment("p2", "bob", 700)])
    async def receive(env: Env, payment: Payment) -> None:
        await pay(env.client(temporal), payment)

    return system


def sends_under_another_id() -> System:
    return build(name="sends under another id", pay=pay_as_new)


def books_without_a_key() -> System:
    return build(name="books without a key", key_of=lambda id: None)


system = build()
BROKEN = (books_without_a_key, sends_under_another_id)
