"""Sagas and their compensations: histories by hand, and the exact findings."""

import pytest

from chaosharness.checkers import (
    Finding,
    compensation_complete,
    compensation_in_reverse,
    every_saga_settles,
    never_compensates_what_did_not_happen,
)
from chaosharness.errors import InvalidDefinition
from tests.checkers.tales import Tale, is_tested, judge

MONEY = {"charge": "refund"}
BOTH = {"reserve": "release", "charge": "refund"}


# ---- every saga settles


@pytest.mark.parametrize("end", ["saga completed", "saga compensated", "saga parked"])
def test_a_saga_that_settles_is_right(end):
    tale = Tale()
    tale.note("saga started", saga="o1")
    tale.note(end, saga="o1")
    tale.note(end, saga="o1")  # a handler that runs again says it again
    assert judge(every_saga_settles(), tale.end()) == []
    assert is_tested(every_saga_settles(), tale)


def test_a_saga_that_never_settles_is_found():
    tale = Tale()
    tale.note("saga started", saga="o1")
    tale.note("saga completed", saga="o2", entity=2)
    assert judge(every_saga_settles(), tale.end()) == [
        Finding(
            "saga o1 never settled: the last word is 'saga started'; promised: completed, "
            "compensated, parked",
            (0,),
            1,
            {"saga": "o1", "last": "saga started"},
        )
    ]


def test_a_saga_is_known_by_its_workload_item_where_it_has_no_name():
    tale = Tale()
    tale.note("saga started", entity=3)
    [finding] = judge(every_saga_settles(), tale.end())
    assert finding.summary.startswith("saga of item 3 never settled")


def test_a_saga_completed_and_compensated_is_found():
    tale = Tale()
    tale.note("saga started", order="o1")
    tale.note("saga compensated", order="o1")
    tale.note("saga completed", order="o1")
    [finding] = judge(every_saga_settles(), tale.end())
    assert finding.summary == "saga o1 was both completed and compensated"
    assert finding.events == (0, 1, 2)


def test_a_saga_of_the_calm_run_that_never_began_is_found():
    calm = Tale()
    calm.note("saga started", saga="o1")
    calm.note("saga completed", saga="o1")
    [finding] = judge(every_saga_settles(), Tale().end(), calm.end())
    assert finding == Finding("saga o1 never began, and does without faults", (), 1, {"saga": "o1"})


def test_other_words_can_be_agreed_on():
    tale = Tale()
    tale.note("trip begun", trip="t1")
    one = every_saga_settles(started="trip begun", settled=("trip done",), by="trip")
    assert len(judge(one, tale.end())) == 1
    assert not is_tested(every_saga_settles(), tale)
    done = Tale()
    done.note("trip done", trip="t1")
    assert judge(one, done.end()) == []


def by_status(books):
    return books.column("db", "orders", by="id", of="status")


def test_states_can_be_read_from_the_final_rows():
    one = every_saga_settles(states=by_status, settled=("confirmed", "cancelled"))
    tale = Tale()
    state = tale.holds("db", orders=[{"id": "o1", "status": "pending"}])
    calm = Tale()
    rows = [{"id": "o1", "status": "confirmed"}, {"id": "o2", "status": "cancelled"}]
    calm.holds("db", orders=rows)
    assert judge(one, calm.end(), calm) == []
    assert judge(one, tale.end(), calm) == [
        Finding(
            "saga o1 ended as 'pending'; promised: confirmed, cancelled",
            (state,),
            0,
            {"saga": "o1", "state": "pending"},
        ),
        Finding("saga o2 never began, and does without faults", (state,), 0, {"saga": "o2"}),
    ]
    assert is_tested(one, tale)


def test_a_run_that_did_not_come_to_rest_is_not_judged():
    tale = Tale()
    tale.note("saga started", saga="o1")
    tale.end("budget", "would have gone on")
    assert judge(every_saga_settles(), tale) == []
    assert not is_tested(every_saga_settles(), tale)


# ---- never compensates what did not happen


def test_a_refund_without_a_charge_is_found():
    tale = Tale()
    tale.refund("o1", 500)
    assert judge(never_compensates_what_did_not_happen(MONEY), tale) == [
        Finding(
            "refund of o1 for 500 cents happened, but charge had not",
            (0,),
            1,
            {"saga": "o1", "forward": "charge", "backward": "refund"},
        )
    ]


def test_a_compensation_that_overtakes_its_step_is_found():
    tale = Tale()
    tale.effect("stock", "release", order="o1")
    tale.effect("stock", "reserve", order="o1")
    [finding] = judge(never_compensates_what_did_not_happen(BOTH), tale)
    assert finding.summary == "release of o1 happened, but reserve had not"


def test_a_double_refund_is_found():
    tale = Tale()
    tale.charge("o1", 500)
    tale.refund("o1", 500)
    tale.refund("o1", 500)
    [finding] = judge(never_compensates_what_did_not_happen(MONEY), tale)
    assert finding.summary == "refund of o1 happened 2 times, but charge once"
    assert finding.events == (0, 1, 2)


def test_a_refund_of_too_much_is_found():
    tale = Tale()
    tale.charge("o1", 500)
    tale.refund("o1", 600)
    [finding] = judge(never_compensates_what_did_not_happen(MONEY), tale)
    assert finding.summary == "refund of o1 gave back 600 cents, but charge took 500"


def test_refunds_in_parts_charges_again_and_other_orders_are_right():
    tale = Tale()
    tale.charge("o1", 500)
    tale.refund("o1", 200)
    tale.refund("o1", 300)
    tale.charge("o1", 500)
    tale.refund("o1", 500, entity=2)  # the customer cancels: another item, the same order
    tale.effect("stock", "reserve", sku="tea", entity=7)
    tale.effect("stock", "release", sku="tea", entity=7)
    assert judge(never_compensates_what_did_not_happen(BOTH), tale) == []
    assert is_tested(never_compensates_what_did_not_happen(BOTH), tale)


def test_steps_can_be_notes_and_a_note_said_again_counts_once():
    pairs = {"seat held": "seat freed"}
    tale = Tale()
    tale.note("seat held", saga="t1")
    tale.note("seat freed", saga="t1")
    tale.note("seat freed", saga="t1")
    assert judge(never_compensates_what_did_not_happen(pairs), tale) == []
    tale.note("seat freed", saga="t2")
    [finding] = judge(never_compensates_what_did_not_happen(pairs), tale)
    assert finding.summary == "seat freed of t2 happened, but seat held had not"


def test_a_step_noted_again_after_it_was_undone_was_not_done_again():
    pairs = {"seat held": "seat freed"}
    tale = Tale()
    for what in ("seat held", "seat freed", "seat held"):
        tale.note(what, saga="t1")
    assert judge(compensation_complete(pairs), tale.end()) == []
    late = Tale()
    late.note("seat freed", saga="t1")
    late.note("seat held", saga="t1")
    assert len(judge(compensation_complete(pairs), late.end())) == 1


def test_a_method_can_be_named_with_its_third_party():
    tale = Tale()
    tale.effect("hotel", "cancel", trip="t1")
    tale.effect("car", "cancel", trip="t1")
    one = never_compensates_what_did_not_happen({"hotel.book": "hotel.cancel"}, by="trip")
    assert [finding.events for finding in judge(one, tale)] == [(0,)]


def test_without_a_compensation_it_is_not_tested():
    tale = Tale()
    tale.charge("o1")
    assert not is_tested(never_compensates_what_did_not_happen(MONEY), tale)


@pytest.mark.parametrize("pairs", [{}, {"a": "b", "b": "c"}])
def test_pairs_must_make_sense(pairs):
    with pytest.raises(InvalidDefinition):
        compensation_complete(pairs)


# ---- complete


def test_a_saga_undone_in_part_is_found():
    tale = Tale()
    tale.effect("stock", "reserve", order="o1")
    tale.charge("o1", 500)
    tale.effect("stock", "release", order="o1")
    assert judge(compensation_complete(BOTH), tale.end()) == [
        Finding(
            "o1 is being undone (release), but charge happened once and was never undone",
            (1, 2),
            1,
            {"saga": "o1", "forward": "charge", "cents": 500},
        )
    ]
    assert is_tested(compensation_complete(BOTH), tale)


def test_a_saga_undone_altogether_is_right():
    tale = Tale()
    tale.effect("stock", "reserve", order="o1")
    tale.charge("o1", 500)
    tale.refund("o1", 100)
    tale.refund("o1", 400)
    tale.effect("stock", "release", order="o1")
    assert judge(compensation_complete(BOTH), tale.end()) == []


def test_a_charge_that_comes_after_its_refund_is_found():
    tale = Tale()
    tale.charge("o1", 500)
    tale.refund("o1", 500)
    tale.charge("o1", 500)
    [finding] = judge(compensation_complete(MONEY), tale.end())
    assert finding.summary == (
        "o1 is being undone (refund), but charge happened 2 times and was undone once"
    )


def test_a_saga_said_to_fail_must_be_undone():
    tale = Tale()
    tale.charge("o1", 500)
    tale.note("saga failed", saga="o1")
    [finding] = judge(compensation_complete(MONEY), tale.end())
    assert finding.events == (0, 1)


def test_any_event_can_mean_failure():
    tale = Tale()
    tale.charge("o1", 500)
    tale.charge("o2", 500, entity=2)
    tale.publish("stock-rejected", "o1")
    rejected = compensation_complete(
        MONEY, when=lambda e: e.kind == "publish" and e.data["topic"] == "stock-rejected"
    )
    assert judge(compensation_complete(MONEY), tale.end()) == []
    [finding] = judge(rejected, tale)
    assert finding.summary.startswith("o1 is being undone (a message to stock-rejected says so)")


@pytest.mark.parametrize("end", ["saga parked", "saga completed"])
def test_a_saga_that_is_parked_or_completed_after_all_is_not_judged(end):
    tale = Tale()
    tale.charge("o1", 500)
    tale.note("saga failed", saga="o1")
    tale.note(end, saga="o1")
    assert judge(compensation_complete(MONEY), tale.end()) == []
    assert not is_tested(compensation_complete(MONEY), tale)


# ---- in reverse


def test_undoing_in_the_order_of_doing_is_found():
    tale = Tale()
    for method in ("reserve", "charge", "release", "refund"):
        tale.effect("shop", method, order="o1")
    assert judge(compensation_in_reverse(BOTH), tale) == [
        Finding(
            "o1 did reserve before charge, and undid reserve first, too; promised: in reverse",
            (0, 1, 2, 3),
            1,
            {"saga": "o1", "first": "reserve", "second": "charge"},
        )
    ]


def test_undoing_in_reverse_is_right():
    tale = Tale()
    for method in ("reserve", "charge", "refund", "release"):
        tale.effect("shop", method, order="o1")
    assert judge(compensation_in_reverse(BOTH), tale) == []
    assert is_tested(compensation_in_reverse(BOTH), tale)


def test_one_step_has_no_order():
    tale = Tale()
    for method in ("reserve", "charge", "refund"):
        tale.effect("shop", method, order="o1")
    assert not is_tested(compensation_in_reverse(BOTH), tale)


# ---- dead letters


def put_aside(tale: Tale, message: int) -> None:
    tale.then("dead", tale.deliver(message, "orders"), message=message, to="orders.DLT")


def test_a_saga_whose_message_was_put_aside_is_parked():
    tale = Tale()
    tale.add("arrive", "client", item={"id": "o1"})
    put_aside(tale, tale.publish("orders", "o2", entity=2))
    put_aside(tale, tale.publish("orders", None))
    for saga in ("o1", "o2", "o3"):
        tale.note("saga started", saga=saga)
    tale.holds("db", orders=[{"id": saga, "status": "pending"} for saga in ("o1", "o2", "o3")])
    tale.end()
    assert [finding.data["saga"] for finding in judge(every_saga_settles(), tale)] == ["o3"]
    rows = every_saga_settles(states=by_status, settled="confirmed")
    assert [finding.data["saga"] for finding in judge(rows, tale)] == ["o3"]


def test_a_compensation_that_was_put_aside_is_parked():
    tale = Tale()
    tale.effect("stock", "reserve", order="o1")
    tale.charge("o1", 500)
    tale.refund("o1", 500)
    assert len(judge(compensation_complete(BOTH), tale.end())) == 1
    put_aside(tale, tale.publish("cancelled", "o1"))
    assert judge(compensation_complete(BOTH), tale) == []
