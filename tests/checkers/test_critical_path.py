"""Side effects that stay aside: histories by hand, and the exact findings."""

import pytest

from chaosharness.checkers import side_effects_never_touch_critical_path
from chaosharness.faults import Crash, PartitionDelay, Poison, Redeliver, StoreOutage
from chaosharness.kernel.site import Site
from tests.checkers.tales import Tale, is_tested, judge

CRASH = Crash(Site("payments.on_order/bank.charge", "after"))


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


@pytest.mark.parametrize("name", ["bank", "charge", "bank.charge"])
def test_methods_and_third_parties_may_differ(name):
    side = {"critical": ["payments", "bank", "db"], "side": ["mail", "maildb"]}
    ignoring = side_effects_never_touch_critical_path(**side, ignore=[name])
    assert judge(ignoring, shop(charges=2), CALM, (IN_MAIL,)) == []
    assert judge(ignoring, shop(charges=2, left=8), CALM, (IN_MAIL,))


@pytest.mark.parametrize("name", ["bus", "paid", "bus.paid"])
def test_topics_may_differ(name):
    side = {"critical": ["payments", "bank", "db"], "side": ["mail", "maildb"]}
    ignoring = side_effects_never_touch_critical_path(**side, ignore=[name])
    assert judge(ignoring, shop(says=()), CALM, (IN_MAIL,)) == []
