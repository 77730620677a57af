"""Twins of the order saga, each with one planted bug.

chaosharness run models.saga_engine.broken:two_orchestrators_resume
"""

from datetime import datetime
from typing import Any

import attrs

from chaosharness import System
from chaosharness.orchestrators.saga import (
    Flow,
    Journal,
    Refused,
    Retry,
    Saga,
    SagaMachine,
    Step,
)
from chaosharness.orchestrators.saga.execution import Task
from chaosharness.orchestrators.saga.journal import Change
from models.saga_engine import commands, right
from models.saga_engine.right import GOOD, ORDER, PATIENT, UNDELIVERABLE, with_a_stamp
from models.third_parties import Bank


class Forgetful(Bank):
    """Knows no keys: it charges whenever it is asked to."""

    def charge(self, key: str, cents: int) -> str:
        self.charged[key] = self.charged.get(key, 0) + cents
        return key


def answer_not_recorded() -> System:
    """The charge is made, its answer is not recorded, and it is asked for again: of no key."""
    parts = right.Parts(bank=Forgetful, examples=(GOOD,))
    return right.build(parts, name="answer not recorded")


def key_of_attempt() -> System:
    """Another idempotency key at each attempt."""
    parts = right.Parts(key=lambda c: f"{c.saga}/{c.attempt}", examples=(GOOD,))
    return right.build(parts, name="key of attempt")


class TrustsItsLease(Journal):
    """Takes a lease, and does not look again whether it still has it."""

    def guard(self, change: Change) -> None:
        command = """UPDATE saga_executions
            SET version = version + ?, lease_until_ms = ?, status = ?, due_ms = ? WHERE id = ?"""
        values = (len(change.records), change.lease_until_ms, change.status, change.due_ms)
        self.db.execute(command, (*values, change.id))

    def write(self, change: Change) -> None:
        query = "SELECT coalesce(max(number), 0) FROM saga_journal WHERE saga = ?"
        (last,) = self.db.execute(query, (change.id,)).fetchone()
        super().write(attrs.evolve(change, version=last))


def two_orchestrators_resume() -> System:
    """One stalls with the lease in its hand; another goes on for it; then it wakes up."""
    parts = right.Parts(journal=TrustsItsLease, examples=(GOOD,))
    return right.build(parts, name="two orchestrators resume")


class PaysBack(Bank):
    """Gives money back whenever it is asked to, once for each key."""

    def refund(self, key: str, cents: int) -> Any:
        if key in self.refunded:
            return super().refund(key, cents)
        self.refunded.add(key)
        return key


def refunds_the_unknown() -> System:
    """A charge whose outcome is unknown is compensated, and it had not happened."""
    charge = Step("charge", undo="refund", retry=Retry(times=1), unknown="undo")
    rest = [step for name, step in ORDER.known.items() if name != "charge"]
    parts = right.Parts(saga=Saga("order", charge, *rest), bank=PaysBack, examples=(GOOD,))
    return right.build(parts, name="refunds the unknown")


class EndsEarly(SagaMachine):
    """Undoes what has answered, and ends: a branch that is on its way is nobody's any more."""

    def all_settled(self, tasks: dict[str, Task]) -> bool:
        return True


def branch_succeeds_after_compensation() -> System:
    """The stock refuses, the saga is undone and over; then the charge comes through."""
    parts = commands.Parts(machine=EndsEarly, examples=(commands.OUT_OF_STOCK,))
    return commands.build(parts, name="branch succeeds after compensation")


def compensation_forgotten() -> System:
    """The charge has no `undo`: what cannot be delivered is paid for."""
    charge = Step("charge", retry=PATIENT)
    rest = [step for name, step in ORDER.known.items() if name != "charge"]
    parts = right.Parts(saga=Saga("order", charge, *rest), examples=(UNDELIVERABLE,))
    return right.build(parts, name="compensation forgotten")


async def _undoes_by_itself(saga: Flow, order: Any) -> None:
    """Undoes in its own code, and the first thing first."""
    await saga.do("charge", retry=PATIENT)
    await saga.do("reserve")
    try:
        await saga.do("ship", undo="recall", retry=PATIENT)
    except Refused:
        await saga.do("refund", retry=PATIENT)
        await saga.do("release", retry=PATIENT)
        raise
    await saga.do("credit")


def compensated_out_of_order() -> System:
    parts = right.Parts(saga=Saga("order", _undoes_by_itself), examples=(UNDELIVERABLE,))
    return right.build(parts, name="compensated out of order")


async def _asks_the_clock(saga: Flow, order: Any) -> None:
    """Orders of the first half of a minute are stamped: of a saga that is replayed, who knows."""
    if datetime.now().second < 30:
        await saga.do("stamp")
    await right.order_as_code(saga, order)


def decides_by_the_clock() -> System:
    parts = right.Parts(saga=Saga("order", _asks_the_clock), examples=(GOOD,))
    return right.build(parts, name="decides by the clock")


async def _knows_no_refusal(saga: Flow, order: Any) -> None:
    """Looks for another courier in a field that orders do not have."""
    await saga.do("charge", undo="refund", retry=PATIENT)
    try:
        await saga.do("ship", undo="recall", retry=PATIENT)
    except Refused:
        await saga.do("ship", value=order["other_courier"], undo="recall", retry=PATIENT)


def raises_when_it_is_refused() -> System:
    parts = right.Parts(saga=Saga("order", _knows_no_refusal), examples=(UNDELIVERABLE,))
    return right.build(parts, name="raises when it is refused")


def list_changed_under_its_name() -> System:
    """The next version has a step before one that sagas have been asked for already."""
    parts = right.Parts(saga=with_a_stamp("order"), previous=ORDER, examples=(GOOD,))
    return right.build(parts, name="list changed under its name")


BROKEN = (
    answer_not_recorded,
    key_of_attempt,
    two_orchestrators_resume,
    refunds_the_unknown,
    branch_succeeds_after_compensation,
    compensation_forgotten,
    compensated_out_of_order,
    decides_by_the_clock,
    raises_when_it_is_refused,
    list_changed_under_its_name,
)
