"""A disturbed run ends as the calm run does. Nobody had to say what that is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    Duplicate,
    ErrorReply,
    FailedCommit,
    LostReply,
    Pause,
    Schedule,
    Site,
    System,
    idempotent,
)
from chaosharness.faults import Fault
from models.order import broken
from properties import broken_by

CAUGHT = [
    (broken.charge_without_key, LostReply(Site("payments.on_order/bank.charge", "after"))),
    (
        broken.key_stored_after_the_effect,
        FailedCommit(Site("inventory.on_order/stock-db.commit", attempt=2)),
    ),
    (
        broken.check_then_set_race,
        Pause(Site("inventory.on_order/stock-db.select inbox", "after"), lasting=270_000),
    ),
    (
        broken.committed_and_never_published,
        ErrorReply(Site("payments.on_order/bus.publish paid")),
    ),
    (broken.compensation_not_idempotent, LostReply(Site("payments.on_order/bank.refund", "after"))),
    (broken.mail_id_per_attempt, Duplicate(Site("orders.on_paid/bus.publish confirmed"))),
]


@pytest.mark.parametrize(("twin", "fault"), CAUGHT)
def test_twins_that_are_caught_without_any_invariant(
    twin: Callable[[], System], fault: Fault
) -> None:
    assert broken_by(twin(), idempotent()) == Schedule([fault])


def test_the_right_flow_is_idempotent(holds: Callable[[str], bool]) -> None:
    assert holds("idempotent")
