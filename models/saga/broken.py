"""The order saga with one mistake each.

chaosharness run models.saga.broken:answer_not_recorded
"""

from __future__ import annotations

from chaosharness import System
from models.saga.messages import QUEUE, STEPS, Command, Reply
from models.saga.orchestrator import SCHEMA, Orchestrator
from models.saga.right import GOOD, OUT_OF_STOCK, order_saga
from models.saga.workers import PaymentWorker, StockWorker


class ReservesOncePerCommand(StockWorker):
    """Knows a command by its id, and trusts that whoever asks for the same asks under the same."""

    def reserve(self, command: Command) -> str:
        query = "SELECT status FROM reservations WHERE command = ?"
        if known := self.db.execute(query, (command.id,)).fetchone():
            return "refused" if known[0] == "refused" else "done"
        self.db.execute("DELETE FROM reservations WHERE saga = ?", (command.saga,))
        return super().reserve(command)


class SendsThenWrites(Orchestrator):
    """Sends the next command at once, and then writes down that the last one was answered."""

    def ask(self, command: Command) -> None:
        self.publish(QUEUE[command.action], command, key=command.saga)


def answer_not_recorded() -> System:
    """The next command was sent, and not that it was: it is sent again, as a new one."""
    return order_saga(
        examples=[GOOD], orchestrator_kind=SendsThenWrites, stock_kind=ReservesOncePerCommand
    )


LEASES = "CREATE TABLE leases (saga TEXT PRIMARY KEY, until_ms INTEGER NOT NULL);"
LEASE_MS = 30_000


class TrustsItsLease(Orchestrator):
    """Takes a lease on a saga, and does not look again whether it still has it."""

    def on_reply(self, reply: Reply) -> None:
        saga = self.read_and_lease(reply.saga)
        if saga is not None and self.is_answer(reply, saga[2]):
            with self.db:
                self.advance(reply, *saga)
        self.flush(reply.saga)
        with self.db:
            self.db.execute("DELETE FROM leases WHERE saga = ?", (reply.saga,))

    def read_and_lease(self, saga: str) -> tuple[str, int, str, str] | None:
        """Wait until nobody has the lease or its time is over; take it, and read."""
        command = """INSERT INTO leases VALUES (?, ?)
            ON CONFLICT (saga) DO UPDATE SET until_ms = excluded.until_ms WHERE until_ms < ?"""
        while True:
            now_ms = self.now_ms()
            with self.db:
                self.db.execute("BEGIN IMMEDIATE")
                if self.db.execute(command, (saga, now_ms + LEASE_MS, now_ms)).rowcount:
                    return self.read(saga)
            self.sleep(LEASE_MS / 1_000)


def two_orchestrators_resume() -> System:
    """One stalls with the lease in its hand; another goes on for it; then it wakes up."""
    return order_saga(
        examples=[GOOD],
        orchestrator_kind=TrustsItsLease,
        stock_kind=ReservesOncePerCommand,
        saga_schema=SCHEMA + LEASES,
    )


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


class GivesUp(Orchestrator):
    """Takes no answer for a refusal, and undoes what came before."""

    patience_ms = 10_000

    def ask_again(self) -> None:
        for command in self.unanswered(self.now_ms() - self.patience_ms):
            if command.action in STEPS:
                self.on_reply(Reply(command.saga, command.action, "refused"))
        super().ask_again()  # what is to be undone


def timeout_compensates_and_late_success_arrives() -> System:
    """The charge takes longer than the orchestrator waits: cancelled, and charged."""
    return order_saga(examples=[GOOD], orchestrator_kind=GivesUp)
