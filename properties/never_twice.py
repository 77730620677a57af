"""One parcel for each order, and one mail for each thing to say."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness import Duplicate, LostReply, Schedule, Site, never_twice
from models.order import broken
from properties import broken_by

ONCE = never_twice("mail", "send", key=("order", "text"))


def test_a_mail_with_a_new_id_for_each_attempt() -> None:
    twice = Duplicate(Site("orders.on_paid/bus.publish confirmed"))
    assert broken_by(broken.mail_id_per_attempt(), ONCE) == Schedule([twice])


def test_a_lost_reply_is_enough_for_it() -> None:
    lost = LostReply(Site("notification.on_confirmed/mail.send", "after"))
    run = broken.mail_id_per_attempt().run(None, Schedule([lost]))
    assert ONCE.findings(run.evidence())


def test_the_right_flow_books_and_mails_once(holds: Callable[[str], bool]) -> None:
    assert holds("never twice: courier.book")
    assert holds("never twice: mail.send")
