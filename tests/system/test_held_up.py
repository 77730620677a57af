"""A message that is tried again and again waits for one that a fault holds up, and then is done."""

import pytest

from chaosharness import SQS, Budget, Crash, KeyValue, Schedule, Site, SQSQueue, System, assumed


class NotPaid(Exception):
    """It is tried again later."""


def desk(*, pays=True):
    """Return one service that pays, and ships what is paid: it tries that each five seconds."""
    system = System("desk", budget=Budget(deliveries_max=100))
    queues = {"orders": SQSQueue(visibility_ms=600_000), "parcels": SQSQueue(visibility_ms=5_000)}
    bus = system.add(SQS("bus", queues))
    store = system.add(KeyValue("store"))

    @system.service("desk")
    def serve(env):
        books = env.connect(store)

        def on_order(order: str):
            if pays or "begun" not in books:
                books.put("begun", True)
                books.put(order, "paid")

        def on_parcel(order: str):
            if order not in books:
                raise NotPaid(order)
            books.put(f"{order} shipped", True)

        env.consume(bus, "orders", on_order)
        env.consume(bus, "parcels", on_parcel)

    @system.entry(examples=["o1"])
    def place(env, order):
        publish = env.publisher(bus)
        publish("orders", order)
        publish("parcels", order)

    return system


def dies(where):
    return Schedule([Crash(Site(where))])


def test_the_lease_of_who_is_dead_lasts_longer_than_so_many_tries():
    system = desk()
    run = system.run(schedule=dies("desk.on_order/handle"))
    tries = [event for event in run.history.of("deliver") if event.data["topic"] == "parcels"]
    assert len(tries) > 100
    assert run.ending.verdict == "quiet"
    assert [one for claim in assumed(system) for one in claim.findings(run.evidence())] == []


@pytest.mark.parametrize("where", ["desk.on_order/store.put"])
def test_what_waits_for_ever_is_called_off_still(where):
    run = desk(pays=False).run(schedule=Schedule([Crash(Site(where, attempt=2))]))
    assert run.ending.verdict == "budget"
    assert "parcels" in run.ending.reason
