"""A compensation that forgets a step: what stands where all else was taken back is asked about."""

from __future__ import annotations

from typing import Any

import pytest

from chaosharness import (
    ErrorReply,
    External,
    Gateway,
    Orchestrator,
    Retry,
    Saga,
    SagaStore,
    Schedule,
    Site,
    Step,
    System,
    assumed,
    idempotent,
)
from chaosharness.checkers.property import Finding

EVER = Retry(times=100)
ONCE = Retry(times=1)


class Desk:
    def __init__(self) -> None:
        self.booked: dict[str, str] = {}

    def book(self, order: str) -> Any:
        if order in self.booked:
            return External.unchanged("known")
        self.booked[order] = "booked"
        return None

    def cancel(self, order: str) -> Any:
        if self.booked.get(order) != "booked":
            return External.unchanged("none")
        self.booked[order] = "cancelled"
        return None


def trips(*, refund: str | None = "refund", cancel: str | None = "cancel") -> System:
    """Pays, books a hotel and then a car; what has no action to undo it is never undone."""
    saga = Saga(
        "trip",
        Step("charge", undo=refund, retry=EVER, undo_retry=EVER),
        Step("hotel", undo=cancel, retry=EVER, undo_retry=EVER),
        Step("car", retry=ONCE),
    )
    system = System("trips")
    bank = system.add(Gateway("bank"))
    hotel, car = system.add(External("hotel", Desk)), system.add(External("car", Desk))
    store = system.add(SagaStore("sagas"))

    @system.service("orders")
    def orders(env: Any) -> None:
        def made() -> Orchestrator:
            money, room, wheels = env.client(bank), env.client(hotel), env.client(car)
            calls = {
                "charge": lambda c: money.charge(c.saga, 500, key=c.key) and None,
                "refund": lambda c: money.refund(c.saga, 500, key=c.key) and None,
                "hotel": lambda c: room.book(c.saga),
                "cancel": lambda c: room.cancel(c.saga),
                "car": lambda c: wheels.book(c.saga),
            }
            return Orchestrator(
                saga, env.connect(store), now_ms=env.now_ms, sleep=env.sleep, calls=calls,
                not_happened=(ConnectionError,),
            )  # fmt: skip

        env.serve("order", lambda id: made().start(id, {}))
        env.main(made().run)

    @system.entry(examples=["t1"])
    def place(env: Any, id: str) -> None:
        env.call("orders", "order", id)

    return system


REFUSED = Schedule([ErrorReply(Site("orders.<lambda>/car.book"))])


def found(system: System) -> list[Finding]:
    evidence = system.run(schedule=REFUSED).evidence()
    return [one for claim in assumed(system) for one in claim.findings(evidence)]


@pytest.mark.parametrize(
    ("forgets", "place"), [("refund", "bank.charge"), ("cancel", "hotel.book")]
)
def test_what_stands_where_the_rest_was_taken_back_is_asked_about(forgets: str, place: str) -> None:
    system = trips(refund=None) if forgets == "refund" else trips(cancel=None)
    [finding] = found(system)
    assert finding.question
    assert "item 1 (t1) ends as 'compensated'" in finding.summary
    assert f"may_end=[('{place}', 'compensated')]" in finding.summary


def test_who_says_that_it_may_is_not_asked() -> None:
    system = trips(refund=None)
    system.claim(idempotent(may_end=[("bank.charge", "compensated")]))
    evidence = system.run(schedule=REFUSED).evidence()
    assert [one for claim in system.properties for one in claim.findings(evidence)] == []


def test_what_is_undone_as_a_whole_is_right() -> None:
    assert found(trips()) == []
