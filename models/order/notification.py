"""The notification service, and the mail service it calls: one mail for each thing to say."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from models.order.events import Confirmed, Rejected
from models.order.shipping import Known


class MailService:
    """A third party that sends each message id once."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def send(self, order: str, text: str, message_id: str) -> None:
        """Send a mail to the customer of an order.

        Raises:
            Known: A mail with this id was sent before.
        """
        if message_id in self.ids:
            raise Known(message_id)
        self.ids.add(message_id)


class NotificationService:
    """Tells customers what became of their order."""

    def __init__(self, mail: Any) -> None:
        self.mail = mail

    def on_confirmed(self, event: Confirmed) -> None:
        """Good news."""
        self.tell(event.order, "Thank you for your order")

    def on_rejected(self, event: Rejected) -> None:
        """Bad news."""
        self.tell(event.order, "We are sorry")

    def tell(self, order: str, text: str) -> None:
        """Send a mail, once."""
        with suppress(Known):  # sent before
            self.mail.send(order, text, message_id=f"{order}: {text}")
