"""The id of a request goes with its events, and an event says what its readers need."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import (
    Crash,
    Schedule,
    Site,
    System,
    event_graph,
    events_say_enough,
    ids_travel,
    smallest,
)
from models.rabbit import parcels
from properties import broken_by, kept_by


def test_an_id_that_is_forgotten_is_missed_in_calm() -> None:
    assert broken_by(parcels.forgets_the_request(), ids_travel()) == Schedule()


def test_an_id_that_is_kept_for_all_is_mixed_up_by_one_fault() -> None:
    claim = ids_travel(correlation="correlation-id")
    found = smallest(parcels.remembers_one_request(), claim, faults_max=1)
    assert found is not None
    assert len(found.schedule.faults) == 1
    assert "with another correlation id" in found.findings[0].summary
    again = Schedule([Crash(Site("payments.on_order/handle"))])
    with pytest.raises(AssertionError, match="request-o2, not request-o1"):
        parcels.remembers_one_request().run(None, again).check(claim)
    parcels.parcels().run(None, again).check(claim)


def test_who_asks_back_is_named_with_the_event_that_says_too_little() -> None:
    assert broken_by(parcels.asks_back(), events_say_enough()) == Schedule()
    graph = event_graph(parcels.asks_back().run().history)
    [(handler, call, event)] = graph.asks_back()
    assert (str(handler), str(call), str(event)) == (
        "parcels.on_paid",
        "payments.street_of",
        "paid",
    )
    assert "! parcels.on_paid asks payments.street_of back to understand paid" in graph.text()


@pytest.mark.parametrize("claim", [ids_travel(), events_say_enough()], ids=lambda one: one.name)
@pytest.mark.parametrize("right", [parcels.parcels])
def test_the_right_one_keeps_both(right: Callable[[], System], claim) -> None:  # type: ignore[no-untyped-def]
    assert kept_by(right(), claim)
    assert event_graph(right().run().history).asks_back() == []
