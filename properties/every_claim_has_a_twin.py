"""Every ready-made property has a twin among the models: and who else speaks there.

In `tests/checkers` each property has a system that it alone catches, whatever the fault.
Here are systems as people build them. Where a property is not the only one to speak, the
others are named: a message that is tried again for ever is both in the way and never done.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from chaosharness import (
    Delay,
    Duplicate,
    ErrorReply,
    FailedCommit,
    NetworkPartition,
    Poison,
    Schedule,
    Site,
    StoreOutage,
    System,
    checkers,
)
from chaosharness.faults import Fault
from models.canary import canary
from models.order import broken
from models.small import tickets, trip, watchers

NOT_READY_MADE = {"always", "eventually", "sometimes", "assumed", "event_graph"}
"""Properties are made with the first four; the last one draws what happened, and claims nothing."""

ELSEWHERE = {
    "dead_letters_at_most",
    "dead_letters_overwrite_nothing_newer",
    "dead_letters_were_tried",
    "events_say_enough",
    "every_event_carries_an_id",
    "every_event_is_heard",
    "every_event_is_readable",
    "ids_travel",
    "no_call_chain",
    "no_money_dropped",
    "side_effects_never_touch_critical_path",
}
"""Their twins are in `properties/order_hybrid.py`, `dead_letters.py`, `versions_of_events.py`,
`ids_travel.py` and among the eight questions."""


@attrs.frozen
class Twin:
    """A system with a bug, the fault that brings it out, and the claims that this breaks."""

    build: Callable[[], System]
    fault: Fault | None
    claim: str
    others: tuple[str, ...] = ()


UNSETTLED = (
    "idempotent",
    "money is conserved",
    "stock is conserved",
    "every saga settles",
    "joins into confirmed are complete",
    "payment-db.charges is announced on paid",
)
CUT_OFF = NetworkPartition(Site("payments.on_order/bus.publish paid"))
NEVER_PUBLISHED = Twin(broken.committed_and_never_published, CUT_OFF, "every saga settles")

TWINS = {
    "announced": attrs.evolve(NEVER_PUBLISHED, claim=UNSETTLED[5], others=UNSETTLED),
    "every_saga_settles": attrs.evolve(NEVER_PUBLISHED, others=UNSETTLED),
    "joins_complete": attrs.evolve(NEVER_PUBLISHED, claim=UNSETTLED[4], others=UNSETTLED),
    "compensation_complete": Twin(
        tickets.cancelled_is_not_undone,
        NetworkPartition(Site("tickets.on_booking/office.release")),
        "compensation is complete",
        ("idempotent",),
    ),
    "compensation_in_reverse": Twin(
        trip.undoes_in_the_order_of_doing, None, "compensation in reverse order"
    ),
    "conserved": Twin(
        broken.key_stored_after_the_effect,
        StoreOutage(Site("inventory.on_order/stock-db.commit", attempt=2)),
        "stock is conserved",
        ("idempotent",),
    ),
    "idempotent": Twin(
        broken.join_counts_a_duplicate,
        FailedCommit(Site("inventory.on_order/stock-db.commit", attempt=2)),
        "idempotent",
    ),
    "never_charged_twice": Twin(canary, None, "never charged twice"),
    "never_compensates_what_did_not_happen": Twin(
        broken.compensates_an_unknown_outcome,
        Delay(Site("payments.on_order/bank.charge"), lasting="timeout"),
        "never compensates what did not happen",
        ("idempotent",),
    ),
    "never_stuck": Twin(
        broken.duplicate_blocks_a_log_partition,
        Delay(Site("orders.on_checkout/bus.publish orders"), lasting="long"),
        "never stuck",
    ),
    "never_twice": Twin(
        broken.mail_id_per_attempt,
        StoreOutage(Site("orders.on_paid/order-db.commit", attempt=2)),
        "never twice: mail.send",
        ("idempotent",),
    ),
    "no_event_cycle": Twin(
        watchers.undercut_each_other_for_ever, None, "no event cycle", ("never stuck",)
    ),
    "no_ghost_event": Twin(
        broken.published_then_rolled_back,
        FailedCommit(Site("inventory.on_order/stock-db.commit")),
        "no ghost event",
        ("idempotent", "stock is conserved"),
    ),
    "nothing_acknowledged_lost": Twin(
        trip.commits_before_it_works,
        ErrorReply(Site("agent.main/airline.book")),
        "nothing acknowledged is lost",
        ("idempotent",),
    ),
    "order_per_key": Twin(
        broken.compensation_overtakes_forward_step,
        ErrorReply(Site("inventory.on_order/bus.publish reserved")),
        "order per key on cancellations, orders",
    ),
    "poison_blocks_nobody": Twin(
        broken.poison_blocks_a_log_partition,
        Poison(Site("client.check_out/bus.publish checkout")),
        "poison blocks nobody",
        ("never stuck",),
    ),
    "unhandled_exceptions_block_nobody": Twin(
        broken.duplicate_blocks_a_log_partition,
        Duplicate(Site("client.check_out/bus.publish checkout")),
        "unhandled exceptions block nobody",
        ("never stuck",),
    ),
}


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_twin_breaks_this_claim_and_no_other_than_those_named(name: str) -> None:
    twin = TWINS[name]
    system = twin.build()
    run = system.run(None, Schedule([twin.fault] if twin.fault else []))
    evidence = run.evidence()
    found = {claim.name for claim in system.properties if claim.findings(evidence)}
    assert twin.claim in found
    assert found == {twin.claim, *twin.others}


def test_every_ready_made_property_has_a_twin() -> None:
    ready_made = {name for name in checkers.__all__ if name[0].islower()} - NOT_READY_MADE
    assert ready_made - ELSEWHERE == TWINS.keys()
