"""Steps without an amount that are taken back: what was never done, and what is left of them."""

from __future__ import annotations

import time

import pytest

from chaosharness import External, Kafka, Poison, RemoteError, System, explore
from chaosharness.faults import FAULTS

TROUBLE = (TimeoutError, ConnectionError, RemoteError, ValueError)
KINDS = tuple(kind for kind in FAULTS if kind is not Poison)


class Desk:
    """Books, and knows what was cancelled: a request that comes late is refused."""

    def __init__(self):
        self.booked = set()
        self.off = set()

    def book(self, trip):
        if trip in self.off:
            raise ValueError("cancelled before")
        self.booked.add(trip)

    def cancel(self, trip):
        self.booked.discard(trip)
        self.off.add(trip)


class Forgetful(Desk):
    """Takes a request that comes late, after it was cancelled."""

    def book(self, trip):
        self.booked.add(trip)


class Mails:
    def __init__(self):
        self.sent = []

    def send(self, trip, text):
        if (trip, text) not in self.sent:
            self.sent.append((trip, text))


def trips(on_trip, *, desk=Desk, mails=Mails):
    """An agent that books flight, hotel and car at three desks."""
    system = System("trips")
    bus = system.add(Kafka("bus", topics={"trips": 1}))
    parties = {name: system.add(External(name, desk)) for name in ("flight", "hotel", "car")}
    parties["mails"] = system.add(External("mails", mails))

    @system.service("agent")
    def agent(env):
        clients = {name: env.client(party) for name, party in parties.items()}
        env.consume(bus, "trips", lambda trip: on_trip(clients, trip["id"]))

    @system.entry(examples=[{"id": "t1"}])
    def enter(env, trip):
        env.publisher(bus)("trips", trip, key=trip["id"])

    return system


def surely(call, *arguments):
    """Ask until it is answered."""
    while True:
        try:
            return call(*arguments)
        except (TimeoutError, ConnectionError):
            time.sleep(5)


def saga(*, forgets="", told=False):
    """Books all three, or takes back each that may have been booked, whether it was or not."""

    def on_trip(desks, trip):
        begun = []
        try:
            if told:
                surely(desks["mails"].send, trip, "received")
            for name in ("flight", "hotel", "car"):
                begun.append(name)
                desks[name].book(trip)
        except TROUBLE:
            for name in reversed(begun):
                if name != forgets:
                    surely(desks[name].cancel, trip)
            surely(desks["mails"].send, trip, "it cannot be had")

    return on_trip


def by_another(desks, trip):
    """Books a flight; where that fails, a car."""
    try:
        desks["flight"].book(trip)
    except TROUBLE:
        surely(desks["flight"].cancel, trip)
        surely(desks["car"].book, trip)


class Letters:
    """Tells people what became of a trip."""

    def __init__(self):
        self.sent = set()

    def confirm(self, trip):
        self.sent.add(("confirm", trip))

    def reject(self, trip):
        self.sent.add(("reject", trip))


def told_both(desks, trip):
    """Tells the customer that it cannot be had, and tries again."""
    try:
        desks["flight"].book(trip)
    except TROUBLE:
        surely(desks["mails"].reject, trip)
        raise
    surely(desks["mails"].confirm, trip)


def told_once(desks, trip):
    """Tells the customer once it is settled."""
    desks["flight"].book(trip)
    surely(desks["mails"].confirm, trip)


def summaries(system):
    found = explore(system, faults_max=1, runs_max=600, kinds=KINDS)
    return [one.findings[0].summary for one in found.counterexamples]


@pytest.mark.parametrize("on_trip", [saga(), saga(told=True), by_another])
def test_whoever_takes_back_what_may_have_been_done_is_right(on_trip):
    assert summaries(trips(on_trip)) == []


@pytest.mark.parametrize("told", [False, True])
def test_one_that_is_left_is_told(told):
    (only,) = summaries(trips(saga(forgets="hotel", told=told)))
    assert only.startswith("item 1 (t1) was taken back by ")
    assert only.endswith("flight.cancel, and yet hotel.book(trip=t1) stands")


def test_what_comes_after_it_was_taken_back_is_told():
    found = summaries(trips(saga(), desk=Forgetful))
    late = "item 1 (t1) ends as if it had never come, and yet {}.book(trip=t1) stands"
    assert {late.format(name) for name in ("flight", "hotel", "car")} <= {*found}


def test_what_tells_the_opposite_undoes_nothing():
    """Where it comes first: a customer who was turned away, and is welcome after all."""
    assert summaries(trips(told_once, mails=Letters)) == []
    found = summaries(trips(told_both, mails=Letters))
    assert any("mails.reject" in one or "mails did reject" in one for one in found)
