"""Idempotence, and side effects that stay aside: histories by hand, and the exact findings."""

import pytest

from chaosharness.checkers import (
    Finding,
    idempotent,
    side_effects_never_touch_critical_path,
)
from chaosharness.faults import (
    Crash,
    Duplicate,
    ErrorReply,
    FailedCommit,
    LostReply,
    LostRequest,
    PartitionDelay,
    Poison,
    Redeliver,
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
    tale = shop(charges=2)
    assert differs(tale) == [
        Finding(
            "bank did charge(order='o1', cents=500) 2 times, in the calm run once",
            (1, 2),
            1,
            {
                "where": "bank",
                "table": "ledger",
                "more": ["method='charge', order='o1', cents=500"],
                "less": [],
            },
            kind="effect twice",
            place="bank.ledger",
        )
    ]


def test_an_effect_that_never_happened_is_found():
    [finding] = differs(shop(charges=0))
    assert finding.summary.endswith(
        "bank did charge(order='o1', cents=500) never, in the calm run once"
    )


def test_a_row_that_differs_is_explained_by_the_column():
    [finding] = differs(shop(left=8))
    assert finding.summary == "db.stock has left=8 of (sku='tea'), in the calm run left=9"
    assert finding.events == (3,)
    assert finding.data["more"] == ["sku='tea', left=8"]


def holding(rows) -> Tale:
    tale = Tale()
    tale.holds("db", stock=rows)
    tale.end()
    return tale


TEA = {"sku": "tea", "left": 9}
RUM = {"sku": "rum", "left": 4}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([TEA, RUM, TEA], "holds 3 rows, in the calm run 2 rows; one more: (sku='tea', left=9)"),
        ([RUM], "holds 1 row, in the calm run 2 rows; one less: (sku='tea', left=9)"),
        (
            [{"sku": "tea", "left": 8}, RUM, {"sku": "gin", "left": 1}],
            "holds 3 rows, in the calm run 2 rows; one more: (sku='gin', left=1)",
        ),
    ],
)
def test_rows_that_are_there_more_or_less_often_are_explained(rows, words):
    [finding] = judge(IDEMPOTENT, holding(rows), holding([TEA, RUM]), (CRASH,))
    assert finding.summary == f"db.stock {words}"


def test_the_order_of_rows_and_values_that_changed_places_are_no_difference():
    assert judge(IDEMPOTENT, holding([RUM, TEA]), holding([TEA, RUM]), (CRASH,)) == []
    swapped = [{"sku": "tea", "left": 4}, {"sku": "rum", "left": 9}]
    assert judge(IDEMPOTENT, holding(swapped), holding([TEA, RUM]), (CRASH,)) == []


def test_a_key_value_store_is_compared_key_by_key():
    def kept(**items):
        tale = Tale()
        tale.add("state", "kv", entity=0, items=items)
        return tale.end()

    calm = kept(total=500, last_seen_at=7)
    assert judge(IDEMPOTENT, kept(total=500, last_seen_at=9), calm, (CRASH,)) == []
    [finding] = judge(IDEMPOTENT, kept(total=1000, last_seen_at=9), calm, (CRASH,))
    assert finding.summary == "kv has value=1000 of (key='total'), in the calm run value=500"


# ---- when it is judged


def test_a_calm_run_is_its_own_yardstick():
    assert judge(IDEMPOTENT, shop(charges=2), CALM) == []
    assert not is_tested(IDEMPOTENT, shop(), CALM)


BENIGN = [CRASH, Redeliver(CHARGE), Duplicate(CHARGE), LostReply(CHARGE), FailedCommit(CHARGE)]
OTHERS = [ErrorReply(CHARGE), LostRequest(CHARGE), Poison(CHARGE), StoreOutage(CHARGE)]


@pytest.mark.parametrize("fault", BENIGN)
def test_benign_faults_are_judged(fault):
    assert len(differs(shop(charges=2), fault)) == 1


@pytest.mark.parametrize("fault", OTHERS)
def test_one_fault_that_is_not_benign_and_nothing_is_judged(fault):
    assert differs(shop(charges=2), CRASH, fault) == []
    assert not is_tested(IDEMPOTENT, shop(), CALM, (CRASH, fault))


def test_a_lost_acknowledgement_is_benign():
    assert len(differs(shop(charges=2), LostRequest(Site("payments.on_order/bus.commit")))) == 1


def test_the_user_can_say_which_faults_are():
    assert len(differs(shop(charges=0), ErrorReply(CHARGE), under=(ErrorReply,))) == 1
    assert differs(shop(charges=0), under=(ErrorReply,)) == []


def test_a_run_that_did_not_come_to_rest_is_not_judged():
    tale = shop(charges=2)
    tale.raw[-1][7]["verdict"] = "budget"
    assert differs(tale) == []


def test_what_the_user_lets_differ_may():
    for name in ("bank", "charge", "bank.charge"):
        assert differs(shop(charges=2), ignore=[name]) == []
    for name in ("db", "stock", "left", "stock.left", "db.stock"):
        assert differs(shop(left=8), ignore=[name]) == []
    assert len(differs(shop(left=8, charges=2), ignore=["orders", "status", "mailer"])) == 2


# ---- another decision


@pytest.mark.parametrize(
    "other",
    [
        shop(charges=0, left=10, status="paid", says=("paid", "cancelled")),
        shop(charges=0, left=10, wrote=("stock.on_paid", "orders.on_timeout")),
        shop(charges=1, left=9, status="cancelled"),
    ],
    ids=["publishes something else", "another handler wrote", "says a new word"],
)
def test_another_decision_is_left_alone(other):
    assert differs(other) == []


def test_other_values_in_a_message_are_no_other_decision_and_other_words_are():
    def says(value: bytes) -> Tale:
        tale = Tale()
        tale.publish("done", value=value)
        tale.holds("db", stock=[{"left": 8 if value != b'{"left":9,"is":"ok"}' else 9}])
        tale.end()
        return tale

    calm = says(b'{"left":9,"is":"ok"}')
    assert len(judge(IDEMPOTENT, says(b'{"left":8,"is":"ok"}'), calm, (CRASH,))) == 1
    assert judge(IDEMPOTENT, says(b'{"left":8,"is":"sold out"}'), calm, (CRASH,)) == []


def test_an_item_that_took_another_decision_does_not_excuse_the_others():
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


def test_what_is_left_undone_is_no_other_decision_though_it_says_a_new_word():
    [finding] = differs(shop(status="pending", says=()))
    assert finding.summary == (
        "db.orders has status='pending' of (id='o1'), in the calm run status='paid'"
    )


# ---- the critical path

SIDE = side_effects_never_touch_critical_path(
    critical=["payments", "bank", "db"], side=["mail", "maildb"]
)
IN_MAIL = Crash(Site("mail.on_paid/mailer.send", "after"))
TO_MAIL = Redeliver(Site("bus.paid/deliver to mail"))


@pytest.mark.parametrize("fault", [IN_MAIL, TO_MAIL])
def test_trouble_at_the_side_that_changes_the_critical_path_is_found(fault):
    [finding] = judge(SIDE, shop(charges=2), CALM, (fault,))
    assert finding.summary.startswith("bank did")
    assert judge(SIDE, shop(), CALM, (fault,)) == []
    assert is_tested(SIDE, shop(), CALM, (fault,))


def test_events_of_critical_services_count_and_those_of_others_do_not():
    [finding] = judge(SIDE, shop(says=()), CALM, (IN_MAIL,))
    assert finding.summary == (
        "bus.topic paid holds 0 rows, in the calm run 1 row; "
        "one less: (key='o1', value={order: 'o1'})"
    )
    noisy = shop()
    noisy.publish("mailed", by="mail.on_paid")
    noisy.effect("mailer", "send", by="mail.on_paid", to="ada")
    assert judge(SIDE, noisy, CALM, (IN_MAIL,)) == []


@pytest.mark.parametrize(
    "fault",
    [
        CRASH,
        Poison(Site("mail.on_paid/bus.publish mailed")),
        PartitionDelay(Site("bus.paid/deliver to mail")),
        StoreOutage(Site("mail.on_paid/db.commit")),
        Crash(Site("mailing.on_paid/mailer.send", "after")),
    ],
)
def test_trouble_that_is_not_confined_to_the_side_is_not_judged(fault):
    assert judge(SIDE, shop(charges=2), CALM, (IN_MAIL, fault)) == []
    assert not is_tested(SIDE, shop(), CALM, (fault,))


def test_an_outage_of_a_store_of_the_side_is_judged():
    outage = StoreOutage(Site("mail.on_paid/maildb.commit"))
    assert len(judge(SIDE, shop(charges=2), CALM, (outage,))) == 1


def test_who_publishes_is_no_decision():
    """A join is complete when its last half is there: now the one, now the other."""

    def join(by, cents):
        tale = Tale()
        tale.publish("confirmed", by=by, value=b'{"order": "o1"}')
        tale.add("state", "db", entity=0, tables={"sums": [{"id": "o1", "cents": cents}]})
        return tale.end()

    calm = join("orders.on_paid", 500)
    [finding] = judge(idempotent(), join("orders.on_reserved", 1_000), calm, (CRASH,))
    assert "cents" in finding.summary
