"""The hybrid with one mistake each.

chaosharness run models.hybrid.broken:mail_is_a_step
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from chaosharness import System
from models.hybrid.right import COMPLETED, Announcer, order_hybrid
from models.hybrid.side import AlreadySent, Completed, Mailer
from models.saga.messages import Command, Reply


class WaitsForTheMail(Announcer):
    """The customer must be told before the courier comes, so the mail is a step of the saga."""

    steps = ("charge", "reserve", "mail", "book")

    def ask(self, command: Command) -> None:
        if command.action == "mail":
            self.send(command.saga, "mail-step", command)
        else:
            super().ask(command)


class MailStep:
    """Sends the mail when it is told, and says how it came out."""

    def __init__(self, mail: Any, publish: Callable[..., Any]) -> None:
        self.mail = mail
        self.publish = publish

    def on_command(self, command: Command) -> None:
        """Send it, and reply."""
        outcome = "done"
        try:
            text = f"Your {command.item} is on its way"
            self.mail.send(command.saga, text, f"{command.saga} thanks")
        except AlreadySent:
            pass
        except (ConnectionError, TimeoutError):
            outcome = "refused"
        reply = {"saga": command.saga, "action": command.action, "outcome": outcome}
        self.publish("replies", reply, key=command.saga)


def mail_is_a_step() -> System:
    """The mail service has a bad moment, and the order is undone: charged, refunded, lost."""
    return order_hybrid(orchestrator_kind=WaitsForTheMail, mail_step=MailStep)


class SaysItAfterwards(Announcer):
    """Completes the saga, and then says so, if it lives that long."""

    def on_reply(self, reply: Reply) -> None:
        self.ended: list[Completed] = []
        super().on_reply(reply)
        for event in self.ended:
            self.publish(COMPLETED, event, key=event.saga, exchange=COMPLETED)

    def close(self, last: Command, status: str) -> None:
        if status == "completed":
            self.ended.append(Completed(last.saga, last.item, last.cents))


def completed_and_never_said() -> System:
    """The broker refuses the event, and when the reply comes again the saga has ended already."""
    return order_hybrid(orchestrator_kind=SaysItAfterwards)


class NewIdForEachMail(Mailer):
    """The mail service cannot tell a second try from a second mail."""

    def on_completed(self, event: Completed) -> None:
        self.mail.send(event.saga, f"Your {event.item} is on its way", str(uuid4()))


def mails_again() -> System:
    """The event comes again, and the customer is thanked again."""
    return order_hybrid(mailer_kind=NewIdForEachMail)
