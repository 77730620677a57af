"""Twins of the order saga, each with one planted bug.

chaosharness run models.saga_engine.broken:two_orchestrators_resume
"""

from typing import Any

import attrs

from chaosharness import System
from chaosharness.orchestrators.saga import (
    Journal,
    Retry,
    Saga,
    SagaMachine,
    Step,
)
from chaosharness.orchestrators.saga.execution import Task
from chaosharness.orchestrators.saga.journal import Change
from models.saga_engine import commands, right
from models.saga_engine.right import GOOD, ORDER
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


BROKEN = (
    answer_not_recorded,
    key_of_attempt,
    two_orchestrators_resume,
    refunds_the_unknown,
    branch_succeeds_after_compensation,
)
