"""Somebody hears every event, and each says which order it belongs to."""

from __future__ import annotations

import pytest

from chaosharness import Kafka, Schedule, System, every_event_carries_an_id, every_event_is_heard
from models.questions import PATIENT, Order, refund
from properties import broken_by, kept_by

CLAIMS = (every_event_is_heard(), every_event_carries_an_id())


def reports_that_it_is_done() -> System:
    """Somebody publishes `done`, and nothing else: nobody hears it, and nobody could use it."""
    shop = System("done")
    bus = shop.add(Kafka("bus", {"placed": 1, "done": 1}))

    @shop.service("desk")
    def desk(env):  # type: ignore[no-untyped-def]
        publish = env.publisher(bus)

        def on_placed(order: Order) -> None:
            publish("done", {"done": True})

        env.consume(bus, "placed", on_placed, **PATIENT)

    @shop.entry(examples=[Order("o1")])
    def place(env, order):  # type: ignore[no-untyped-def]
        env.publisher(bus)("placed", order, key=order.id)

    return shop


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_flag_that_nobody_hears(claim) -> None:  # type: ignore[no-untyped-def]
    assert broken_by(reports_that_it_is_done(), claim) == Schedule()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_the_refund_is_a_flow_of_events_that_can_be_followed(claim) -> None:  # type: ignore[no-untyped-def]
    assert kept_by(refund.right(), claim)
