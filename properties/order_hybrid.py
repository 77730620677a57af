"""The claims of the hybrid: which twins break them, and by what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import Delay, ErrorReply, Property, Redeliver, Schedule, Site, System, explore
from chaosharness.faults import Fault
from models.hybrid import broken
from models.hybrid.right import claims, order_hybrid
from models.saga.right import OUT_OF_STOCK, UNDELIVERABLE
from properties import broken_by

ANNOUNCED, ONE_MAIL = claims()
SIDE = next(one for one in order_hybrid().properties if one.name.startswith("side effects"))

CAUGHT = [
    (broken.mail_is_a_step, SIDE, Delay(Site("mailer.on_command/mail.send"))),
    (
        broken.completed_and_never_said,
        ANNOUNCED,
        ErrorReply(Site("orchestrator.on_reply/rabbit.publish order-completed")),
    ),
    (
        broken.mails_again,
        ONE_MAIL,
        Redeliver(Site("rabbit.mails/deliver to mailer", "after")),
    ),
]


@pytest.mark.parametrize(("twin", "claim", "fault"), CAUGHT)
def test_twins_and_the_smallest_schedule_that_tells(
    twin: Callable[[], System], claim: Property, fault: Fault
) -> None:
    assert broken_by(twin(), claim) == Schedule([fault])


def test_an_order_undone_because_of_a_mail_breaks_nothing_else() -> None:
    """Charged and refunded, reserved and released: all that the saga promises is kept."""
    system = broken.mail_is_a_step()
    run = system.run(None, Schedule([ErrorReply(Site("mailer.on_command/mail.send"))]))
    found = [one.name for one in system.properties if one.findings(run.evidence())]
    assert found == [SIDE.name]


@pytest.mark.slow
def test_the_right_hybrid_keeps_every_claim_under_every_single_fault() -> None:
    campaign = explore(order_hybrid(), faults_max=1, runs_max=10_000)
    assert campaign.coverage.complete
    assert [one.name for one in campaign.standings if one.result == "violated"] == []
    untested = [one.name for one in campaign.standings if not one.tested]
    assert untested == ["never compensates what did not happen", "compensation in reverse order"]


def test_who_is_refused_gets_no_mail() -> None:
    run = order_hybrid(examples=[OUT_OF_STOCK, UNDELIVERABLE]).calm()
    assert not [event for event in run.history.of("effect") if event.actor == "mail"]
