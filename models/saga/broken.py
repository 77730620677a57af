"""The order saga with one mistake each.

chaosharness run models.saga.broken:answer_not_recorded
"""

from __future__ import annotations

from chaosharness import Declined, System
from models.saga.messages import Command, Reply
from models.saga.orchestrator import Orchestrator
from models.saga.right import GOOD, OUT_OF_STOCK, order_saga
from models.saga.workers import PaymentWorker, StockWorker


class ChargesWhenTold(PaymentWorker):
    """Trusts that a command comes once, since the orchestrator writes everything down."""

    def charge(self, command: Command) -> str:
        try:
            self.bank.charge(command.saga, command.cents)  # under no key
        except Declined:
            return "refused"
        return "done"


def answer_not_recorded() -> System:
    """The command was sent and obeyed, and the answer never written down: it is sent again."""
    return order_saga(examples=[GOOD], payment_kind=ChargesWhenTold)


class ReservesWhenTold(StockWorker):
    """Trusts that there is one orchestrator, which asks once."""

    def reserve(self, command: Command) -> str:
        taken = self.db.execute(
            "UPDATE stock SET pieces = pieces - 1 WHERE item = ? AND pieces > 0", (command.item,)
        ).rowcount
        status = "reserved" if taken else "refused"
        row = (command.saga, command.item, status)
        self.db.execute("INSERT OR REPLACE INTO reservations VALUES (?, ?, ?)", row)
        return "done" if taken else "refused"


def two_orchestrators_resume() -> System:
    """One orchestrator stalls before it sends; another sends for it; then it goes on."""
    return order_saga(examples=[GOOD], stock_kind=ReservesWhenTold)


class RefundsToBeSafe(PaymentWorker):
    """Takes no answer for a charge that must be undone."""

    def charge(self, command: Command) -> str:
        try:
            return super().charge(command)
        except TimeoutError:
            self.refund(command)  # of what may never have been charged
            return "refused"


def refunds_the_unknown() -> System:
    """A step whose outcome was unknown is compensated, and it had not happened."""
    return order_saga(examples=[GOOD], payment_kind=RefundsToBeSafe)


class TakesAnyReply(Orchestrator):
    """Knows a reply by its saga, and takes it for the answer to whatever was asked last."""

    def is_answer(self, reply: Reply, asked: str) -> bool:
        return asked != ""


def any_reply_will_do() -> System:
    """A reply that comes again answers the next question as well."""
    return order_saga(examples=[OUT_OF_STOCK], orchestrator_kind=TakesAnyReply)
