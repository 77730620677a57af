"""How outcomes came about: which faults alone would have cut them off."""

from __future__ import annotations

import attrs
import pytest

from chaosharness import Crash, Kafka, LostReply, LostRequest, Schedule, Site, System
from chaosharness.faults import FAULTS
from chaosharness.search.lineage.bits import Bits
from chaosharness.search.lineage.ways import (
    Ways,
    _Reader,
    first_of,
    lesson_of,
    outcomes_of,
    ways_of,
)
from models.protocols.broadcast import classic_broadcast, retry_broadcast
from models.protocols.commit import two_phase


def way(ways: Ways, who: str, what: str, kind: str = "direct"):
    """Return the cuts of the one way to an outcome."""
    [(_, [one])] = [each for each in ways.outcomes if each[0][1:3] == (who, what)]
    mask = getattr(one, kind)
    return {cut for bit, cut in enumerate(ways.cuts) if mask >> bit & 1}


def test_a_word_is_cut_off_on_its_way_and_where_it_comes_from():
    cuts = way(ways_of(retry_broadcast().run()), "c", "delivered")
    assert ("a.broadcast/c.deliver", 1, 1, "is lost") in cuts
    assert ("a.broadcast/c.deliver", 1, 1, "dies before") in cuts
    assert ("c.deliver/handle", 1, 1, "dies before") in cuts
    assert ("a.broadcast/b.deliver", 1, 1, "dies before") in cuts
    assert ("a.broadcast/b.deliver", 1, 1, "is lost") not in cuts


def test_a_decision_depends_on_each_vote_and_its_reply():
    cuts = way(ways_of(two_phase().run()), "d", "decided")
    for agent in ("a", "b", "d"):
        assert (f"coordinator.begin/{agent}.prepare", 1, 1, "is lost") in cuts
        assert (f"coordinator.begin/{agent}.prepare", 1, 1, "answer is lost") in cuts
        assert (f"{agent}.prepare/handle", 1, 1, "dies after") in cuts
    assert ("coordinator.begin/a.conclude", 1, 1, "is lost") not in cuts


def test_an_attempt_that_failed_is_in_no_way():
    lost = LostRequest(Site("a.broadcast/c.deliver"))
    cuts = way(ways_of(retry_broadcast().run(None, Schedule([lost]))), "c", "delivered")
    assert ("a.broadcast/c.deliver", 1, 1, "is lost") not in cuts
    assert ("a.broadcast/c.deliver", 1, 2, "is lost") in cuts


def test_another_way_is_seen_where_the_first_one_was_cut():
    lost = LostRequest(Site("a.broadcast/c.deliver"))
    cuts = way(ways_of(classic_broadcast().run(None, Schedule([lost]))), "c", "delivered")
    assert ("b.deliver/c.deliver", 1, 1, "is lost") in cuts
    assert ("a.broadcast/b.deliver", 1, 1, "is lost") in cuts


def test_what_an_actor_was_told_before_is_remembered_and_no_cause():
    ways = ways_of(two_phase().run())
    own = ("a.prepare/handle", 1, 1, "dies before")
    told = ("d.prepare/handle", 1, 1, "dies before")
    assert told in way(ways, "d", "decided", "memory")
    assert own in way(ways, "d", "decided", "memory")


def test_who_dies_afterwards_has_it_no_more():
    crash = Crash(Site("a.broadcast/c.deliver", "after"))
    run = retry_broadcast().run(None, Schedule([crash]))
    gone = {key[1]: one.gone for key, [one] in ways_of(run).outcomes}
    assert gone == {"a": True, "b": False, "c": False}


def shop() -> System:
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1}))

    @system.service("mail")
    def mail(env):
        def on_order(order: str) -> None:
            env.note("sent", order=order)

        env.consume(bus, "orders", on_order)

    @system.entry(examples=["o1"])
    def place(env, order: str):
        env.publisher(bus)("orders", order)

    return system


def test_a_message_through_a_broker_is_a_way_too():
    cuts = way(ways_of(shop().run()), "mail", "sent")
    assert {operation for operation, *_ in cuts} >= {
        "client.place/bus.publish orders",
        "bus.orders/deliver to mail",
    }


@pytest.mark.parametrize("build", [retry_broadcast, two_phase, shop])
def test_ways_are_a_function_of_the_run(build):
    first, second = ways_of(build().run()), ways_of(build().run())
    assert first == second
    assert len(outcomes_of(build().run().history)) == len(first.outcomes)
    assert attrs.asdict(first) == attrs.asdict(second)


def test_a_reply_that_was_lost_is_not_gone_on_from():
    lost = LostReply(Site("coordinator.begin/a.prepare", "after"))
    cuts = way(ways_of(two_phase().run(None, Schedule([lost]))), "d", "decided")
    assert ("coordinator.begin/a.prepare", 1, 1, "answer is lost") not in cuts
    assert ("coordinator.begin/a.prepare", 1, 2, "answer is lost") in cuts


@pytest.mark.parametrize("build", [two_phase, retry_broadcast, shop])
def test_a_run_is_read_the_same_beside_the_one_that_it_begins_like(build):
    system = build()
    bits, calm = Bits(FAULTS), system.run()
    bits.surfaces.update(calm.surfaces)
    bits.translated(ways_of(calm))
    first = first_of(calm, bits)
    alike = set()
    for fault in bits.of((1 << bits.count) - 1):
        run = system.run(None, Schedule([fault]))
        bits.surfaces.update({**run.surfaces, **bits.surfaces})
        bits.first = None
        alone = lesson_of(run, bits)
        bits.first = first
        assert lesson_of(run, bits) == alone
        alike.add(_Reader(run.history, run.surfaces, bits).alike)
    assert len(alike) > 3
    assert max(alike) > len(calm.history.raw) // 3
