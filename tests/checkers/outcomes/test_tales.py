"""Outcomes of histories by hand, of which nothing but the calm run is known: the exact findings.

Here no clean run can be made: times and numbers are known by the names of their columns.
"""

import pytest

from chaosharness.checkers import idempotent
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import (
    ClockSkew,
    Crash,
    Duplicate,
    ErrorReply,
    FailedCommit,
    LostReply,
    LostRequest,
    LostWrites,
    Poison,
    Redeliver,
    Redeploy,
    StoreOutage,
)
from chaosharness.kernel.site import Site
from tests.checkers.tales import Tale, is_tested, judge

CHARGE = Site("payments.on_order/bank.charge", "after")
CRASH = Crash(CHARGE)
IDEMPOTENT = idempotent()


def shop(*, charges=1, left=9, status="paid", says=("paid",), wrote=("stock.on_paid",)) -> Tale:
    tale = Tale()
    for topic in says:
        tale.publish(topic, value=b'{"order":"o1"}', by="payments.on_order")
    for _ in range(charges):
        tale.charge("o1", 500, id=len(tale.raw))
    for place in wrote:
        tale.add("write", "stock#1", f"{place}/db.update stock", store="db", params=("tea",))
    tale.holds(
        "db",
        stock=[{"id": 1, "sku": "tea", "left": left}, {"id": 2, "sku": "rum", "left": 4}],
        orders=[{"id": "o1", "status": status, "seen_at": len(tale.raw)}],
    )
    tale.end()
    return tale


CALM = shop()


def differs(tale, *faults, **options):
    return judge(idempotent(**options), tale, CALM, faults or (CRASH,))


def test_the_same_outcome_is_right():
    assert differs(shop()) == []
    assert is_tested(IDEMPOTENT, shop(), CALM, (CRASH,))


def test_an_effect_that_happened_again_is_found():
    [finding] = differs(shop(charges=2))
    assert finding.summary == (
        "bank did charge(cents=500, order=o1) twice for item 1; without faults, once at most"
    )
    assert (finding.kind, finding.place, finding.entity) == ("effect twice", "bank.charge", 1)
    assert finding.events == (1, 2)
    assert not finding.question


def test_an_effect_that_never_happened_is_found():
    [finding] = differs(shop(charges=0))
    assert finding.summary == (
        "bank did charge(cents=500, order=o1) never for item 1; without faults, once"
    )
    assert finding.kind == "effect lost"


def test_a_row_that_differs_is_explained_by_the_column_and_its_sign():
    [finding] = differs(shop(left=8))
    assert finding.summary == "db.stock has left=8 (sku=tea); without faults, left=9 (sku=tea)"
    assert finding.group == ("row differs", "db.stock.left-")
    assert finding.data["instead"] == "left=9 (sku=tea)"


def holding(rows) -> Tale:
    tale = Tale()
    tale.holds("db", stock=rows)
    tale.end()
    return tale


TEA = {"sku": "tea", "left": 9}
RUM = {"sku": "rum", "left": 4}
GIN = {"sku": "gin", "left": 1}


@pytest.mark.parametrize(
    ("rows", "kind", "words"),
    [
        ([TEA, RUM, TEA], "row too many", "has the row (left=9, sku=tea), which is not there"),
        ([RUM], "row missing", "lacks the row (left=9, sku=tea), which is there"),
        ([TEA, RUM, GIN], "row too many", "has the row (left=1, sku=gin), which is not there"),
    ],
)
def test_rows_that_are_there_more_or_less_often_are_explained(rows, kind, words):
    [finding] = judge(IDEMPOTENT, holding(rows), holding([TEA, RUM]), (CRASH,))
    assert finding.summary == f"db.stock {words} without faults"
    assert finding.group == (kind, "db.stock")


def test_the_order_of_rows_is_no_difference_and_a_swap_of_their_numbers_is():
    assert judge(IDEMPOTENT, holding([RUM, TEA]), holding([TEA, RUM]), (CRASH,)) == []
    swapped = [{"sku": "tea", "left": 4}, {"sku": "rum", "left": 9}]
    [finding] = judge(IDEMPOTENT, holding(swapped), holding([TEA, RUM]), (CRASH,))
    assert finding.kind == "row differs"


def test_a_key_value_store_is_compared_key_by_key():
    def kept(**items):
        tale = Tale()
        tale.add("state", "kv", entity=0, items=items)
        return tale.end()

    calm = kept(total=500)
    [finding] = judge(IDEMPOTENT, kept(total=1000), calm, (CRASH,))
    assert finding.summary == "kv has value=1000 (key=total); without faults, value=500 (key=total)"


@pytest.mark.parametrize(
    ("value", "said"), [(b'{"order":"o1"}', "(order=o1)"), (b'{"made_at":17}', "anything")]
)
def test_a_message_of_which_nothing_can_be_compared_is_not_spelled_as_one(value, said):
    def told(*topics):
        tale = Tale()
        for topic in topics:
            tale.publish(topic, value=value, by="payments.on_order")
        return tale.end()

    found = judge(IDEMPOTENT, told(), told("paid"), (CRASH,))
    assert f"bus.paid was never told {said} for item 1; " in found[0].summary


def test_a_message_that_was_never_sent_is_found_and_one_sent_twice_is_not():
    assert differs(shop(says=("paid", "paid"))) == []
    [finding] = differs(shop(says=()))
    assert finding.group == ("message lost", "bus.paid")
    assert finding.summary == (
        "bus.paid was never told (order=o1) for item 1; without faults, it is, and a repeat may "
        "not change that"
    )


# ---- when it is judged


@pytest.mark.parametrize(
    "fault",
    [
        CRASH,
        Redeliver(CHARGE),
        Duplicate(CHARGE),
        LostReply(CHARGE),
        FailedCommit(CHARGE),
        ErrorReply(CHARGE),
        LostRequest(CHARGE),
        StoreOutage(CHARGE),
    ],
)
def test_runs_of_these_faults_are_judged(fault):
    assert len(differs(shop(charges=2), fault)) == 1


@pytest.mark.parametrize("kind", [Poison, ClockSkew, Redeploy, LostWrites])
def test_one_fault_that_changes_input_clock_code_or_store_and_nothing_is_judged(kind):
    assert differs(shop(charges=2), CRASH, kind(CHARGE)) == []
    assert not is_tested(IDEMPOTENT, shop(), CALM, (kind(CHARGE),))


def test_of_a_run_that_did_not_come_to_rest_only_what_is_too_much_is_told():
    def unfinished(**words) -> Tale:
        tale = shop(**words)
        tale.raw[-1] = (*tale.raw[-1][:7], {"verdict": "stuck", "reason": "it waits"})
        return tale

    assert differs(unfinished(charges=0)) == []
    assert [one.kind for one in differs(unfinished(charges=2))] == ["effect twice"]


def test_of_a_run_that_spent_its_budget_in_calm_the_outcome_is_judged():
    tale = shop(charges=0)
    end = tale.raw.pop()
    tale.add("phase", "world", entity=0, phase="calm")
    tale.raw.append((*end[:7], {"verdict": "budget", "reason": "it polls"}))
    assert [one.kind for one in differs(tale)] == ["effect lost"]


# ---- what the user says


@pytest.mark.parametrize(
    "ignore", [["stock"], ["left"], ["stock.left"], ["db"], ["db.stock"], ["db.stock.left"]]
)
def test_what_the_user_lets_differ_may(ignore):
    assert differs(shop(left=8), ignore=ignore) == []


@pytest.mark.parametrize("optional", [["bank"], ["charge"], ["bank.charge"]])
def test_what_is_optional_may_be_missing_and_may_not_come_twice(optional):
    assert differs(shop(charges=0), optional=optional) == []
    assert len(differs(shop(charges=2), optional=optional)) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"item_id": "id"}, "item_id must be a function of an item, not 'id'"),
        ({"subject": 3}, "subject must be a function of an item, not 3"),
        ({"may_end": ["expired"]}, "may_end must be pairs of a table and a word"),
    ],
)
def test_an_option_that_is_not_of_its_kind_is_refused(options, words):
    with pytest.raises(InvalidDefinition, match=words):
        idempotent(**options)


# ---- nothing is excused by the item beside it, or by a word in between


def test_an_item_that_noted_something_does_not_excuse_the_others():
    def two(*, again: int) -> Tale:
        tale = Tale()
        tale.charge("o1", entity=1)
        for _ in range(again):
            tale.charge("o2", entity=2)
        return tale

    calm = two(again=1)
    calm.end()
    tale = two(again=2)
    tale.note("saga parked", entity=1)
    tale.end()
    [finding] = judge(IDEMPOTENT, tale, calm, (CRASH,))
    assert finding.entity == 2


@pytest.mark.parametrize(
    ("notes", "kinds"),
    [
        ((), ["effect lost"]),
        (("saga parked",), []),
        (("saga parked", "saga completed"), ["effect lost"]),
    ],
)
def test_a_saga_that_is_left_parked_is_a_persons_now(notes, kinds):
    def shipped(*, times: int, notes=()) -> Tale:
        tale = Tale()
        tale.charge("o1", entity=1)
        tale.charge("o2", entity=1)
        for _ in range(times):
            tale.charge("o3", entity=1)
        for what in notes:
            tale.note(what, saga="o1", entity=1)
        tale.end()
        return tale

    found = judge(IDEMPOTENT, shipped(times=0, notes=notes), shipped(times=1), (CRASH,))
    assert [one.kind for one in found] == kinds
    twice = judge(IDEMPOTENT, shipped(times=2, notes=notes), shipped(times=1), (CRASH,))
    assert len(twice) == 1  # a repeat is excused by nothing
    usual = shipped(times=1, notes=("saga parked",))
    assert judge(IDEMPOTENT, shipped(times=0, notes=("saga parked",)), usual, (CRASH,)) != []


def test_what_is_left_undone_is_no_decision_though_it_says_a_new_word():
    found = differs(shop(status="pending", says=()))
    assert [one.group for one in found] == [
        ("row differs", "db.orders.status"),
        ("message lost", "bus.paid"),
    ]


def test_who_publishes_is_no_decision():
    """A join is complete when its last half is there: now the one, now the other."""

    def join(by, cents):
        tale = Tale()
        tale.publish("confirmed", by=by, value=b'{"order": "o1"}')
        tale.add("state", "db", entity=0, tables={"sums": [{"id": "o1", "cents": cents}]})
        return tale.end()

    calm = join("orders.on_paid", 500)
    [finding] = judge(IDEMPOTENT, join("orders.on_reserved", 1_000), calm, (CRASH,))
    assert finding.place == "db.sums.cents+"


def paid(*cents: int) -> Tale:
    tale = Tale()
    for index, one in enumerate(cents, 1):
        tale.charge(f"o{index}", one, id=index)
    return tale.end()


def test_another_amount_is_told_as_that_and_not_as_a_charge_that_never_was():
    found = judge(idempotent(), paid(500, 340), paid(500, 330), (CRASH,))
    assert (found[0].kind, found[0].place) == ("effect lost", "bank.charge")
    assert "bank did charge(cents=340" in found[0].summary
    assert "; without faults, charge(cents=330" in found[0].summary


def test_a_charge_too_many_of_several_that_differ_is_counted_with_the_others():
    found = judge(idempotent(), paid(500, 330, 170), paid(500, 330), (CRASH,))
    assert found[0].kind == "effect twice"
    assert "bank did charge 3 times" in found[0].summary
    assert "charge(cents=170" in found[0].summary
    assert "among them; without faults, 2 times at most" in found[0].summary
