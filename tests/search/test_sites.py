"""From a run to the faults worth trying, in the order in which they are tried."""

import pytest

from chaosharness import (
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    Kafka,
    Pause,
    Poison,
    Redeploy,
    Schedule,
    Site,
    System,
)
from chaosharness.faults import FAULTS
from chaosharness.kernel.history import History
from chaosharness.search.marks import Sight
from chaosharness.search.odds import row_of
from chaosharness.search.sites import (
    ATTEMPTS_MAX,
    Catalogue,
    candidates,
    cell_of,
    name_of,
    past_of_outcomes,
)
from chaosharness.strategies.sizes import is_sized, option_of, rank, severity, variants
from tests.search.boxes import boxes, put
from tests.search.planted import EXAMPLES, one


def test_the_candidates_of_two_boxes_are_these():
    found = candidates(boxes("a", "b").run(), kinds=(ErrorReply, Crash))
    assert found == [
        ErrorReply(put("a")),
        ErrorReply(put("b")),
        Crash(put("a", "after")),
        Crash(put("b", "after")),
        Crash(put("a", "after"), down="timeout"),
        Crash(put("b", "after"), down="timeout"),
        Crash(put("a", "after"), down="long"),
        Crash(put("b", "after"), down="long"),
    ]


def test_no_candidate_is_illegal():
    system = one()
    run = system.run()
    found = candidates(run)
    assert len(found) == len(set(found)) > 50
    for fault in found:
        system.run(None, Schedule([fault]))  # raises IllegalFault if it is


def test_a_client_is_outside_and_suffers_what_comes_from_outside_only():
    kinds = {type(one_) for one_ in candidates(one().run()) if one_.site.operation[:7] == "client."}
    assert kinds == {Delay, Duplicate, Poison}


def test_the_first_items_come_first_within_a_kind():
    entities = [f.site.entity for f in candidates(one().run(), kinds=(Crash,)) if not option_of(f)]
    assert entities == sorted(entities)
    assert {1, 2} <= set(entities)


def test_only_a_service_with_a_previous_version_can_be_redeployed():
    assert not any(isinstance(fault, Redeploy) for fault in candidates(one().run()))
    system = System("versions")

    def old(env): ...

    @system.service("worker", previous=old)
    def worker(env): ...

    @system.entry(examples=[1])
    def begin(env, item): ...

    assert Redeploy(Site("worker/start", "before", 0)) in candidates(system.run())


def test_sites_of_the_calm_are_none():
    system = boxes("a", "b")
    crash = Crash(put("a", "after"), down="long")  # until the calm: then it starts anew
    run = system.run(None, Schedule([crash]))
    assert run.reached["worker.work/a.put", 0] == 1
    assert ("worker.work/b.put", 0) not in run.reached
    assert len(list(run.history.of("effect"))) == 3


def test_a_retry_loop_is_cut_off():
    system = System("retries")
    bus = system.add(Kafka("bus", {"orders": 1}))

    @system.service("worker")
    def worker(env):
        def on_order(order):
            raise RuntimeError("always")

        env.consume(bus, "orders", on_order, on_error="dead-letter", retries_max=50)

    @system.entry(examples=["o1"])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order)

    run = system.run()
    assert max(run.reached.values()) > 3 * ATTEMPTS_MAX
    assert max(fault.site.attempt for fault in candidates(run)) == ATTEMPTS_MAX


def test_each_value_of_an_option_is_a_variant_mildest_first():
    site = Site("worker.work/a.put", "after")
    assert variants(Crash, site) == tuple(
        Crash(site, down=how) for how in ("next", "timeout", "long")
    )
    assert variants(ErrorReply, site) == (ErrorReply(site),)
    assert [option_of(fault) for fault in variants(Crash, site)] == [0, 1, 2]
    assert option_of(Crash(site, down=77)) == 3  # written by hand: no value of a search


def test_an_option_weighs_more_than_a_kind():
    site = Site("worker.work/a.put", "after")
    assert severity(Crash(site)) < severity(Pause(site, lasting="timeout"))
    assert severity(Pause(site)) < severity(Crash(site))


@pytest.mark.parametrize("kind", FAULTS)
def test_kinds_have_their_names(kind):
    assert name_of(kind) == kind(Site("any")).kind


def test_the_table_says_struck_never_struck_equivalent_and_nothing_of_the_impossible():
    system = boxes("a")
    catalogue = Catalogue(kinds=(ErrorReply, Crash))
    catalogue.learn(Sight(system.run()))
    crash = Crash(put("a", "after"))
    catalogue.learn(Sight(system.run(None, Schedule([crash]))))
    catalogue.learn(Sight(system.run(None, Schedule([Crash(put("a", "after", attempt=9))]))))
    cells, equivalent = catalogue.cells()
    assert cells == {
        ("before", "worker.work/a.put", "error reply"): 0,
        ("after", "worker.work/a.put", "crash"): 1,
    }
    assert cell_of(crash) in cells
    assert equivalent == {
        ("before", "worker.work/a.put", "pause"),
        ("after", "worker.work/a.put", "pause"),
    }


def test_the_past_of_an_outcome_is_what_led_to_it():
    raw = [
        (0, "publish", "client", "client.place/bus.publish", 1, 1, -1, {}),
        (1, "deliver", "bus", "bus.orders/deliver to shop", 1, 1, 0, {}),
        (1, "call", "shop#1", "shop.on_order/bank.charge", 1, 1, 1, {}),
        (2, "effect", "bank", "shop.on_order/bank.charge", 1, 1, 2, {}),
        (3, "ack", "shop#1", "shop.on_order/bus.commit", 1, 1, 2, {}),
    ]
    assert past_of_outcomes(History(raw)) == {
        ("client.place/bus.publish", 1),
        ("bus.orders/deliver to shop", 1),
        ("shop.on_order/bank.charge", 1),
    }


def test_candidates_are_the_same_each_time():
    assert candidates(one().run(EXAMPLES)) == candidates(one().run(EXAMPLES))


def test_faults_are_counted_as_they_would_be_made():
    run = one().run()
    catalogue = Catalogue(kinds=(Crash, Delay, ErrorReply, Pause))
    catalogue.learn(Sight(run))
    for operation, entity, message in run.attempts:
        for attempt in (1, 2, ATTEMPTS_MAX):
            made = catalogue.at(operation, entity, message, attempt)
            counted = catalogue.counts_at(operation, entity, attempt)
            assert sum(count for *_, count in counted) == len(made)
            for kind, phase, count in counted:
                site = (operation, entity, message, attempt)
                some = [catalogue.of_kind(kind, phase, *site, which) for which in range(count)]
                assert some == [
                    one for one in made if type(one) is kind and one.site.phase == phase
                ]


def test_what_faults_are_like_is_known_before_they_are_made():
    run = one().run()
    catalogue = Catalogue(kinds=(Crash, Delay, ErrorReply, Pause))
    catalogue.learn(Sight(run))
    sized = 0
    for operation, entity, message in run.attempts:
        for attempt in (1, 2, ATTEMPTS_MAX):
            made = catalogue.at(operation, entity, message, attempt)
            sorts = catalogue.sorts_at(operation, entity, attempt)
            assert [sort.row for sort in sorts] == [*map(row_of, made)]
            assert [sort.rank for sort in sorts] == [*map(rank, made)]
            assert [sort.kind for sort in sorts] == [one.kind for one in made]
            assert [sort.late for sort in sorts] == [one.site.phase == "after" for one in made]
            assert [sort.sized for sort in sorts] == [*map(is_sized, made)]
            assert [sort.mild for sort in sorts] == [not option_of(one) for one in made]
            sized += sum(sort.sized for sort in sorts)
    assert sized
    assert catalogue.sorts_at("nobody.ever/was.there", 1, 1) == ()


def test_an_operation_that_is_reached_later_has_its_faults_then():
    run = one().run()
    catalogue = Catalogue(kinds=(Crash, Delay))
    assert catalogue.sorts_at("payments.on_order/bank.charge", 1, 1) == ()
    catalogue.learn(Sight(run))
    assert catalogue.sorts_at("payments.on_order/bank.charge", 1, 1)
