"""Whole systems, right and broken, judged with nothing claimed."""

import pytest

from chaosharness import Crash, FailedCommit, LostReply, Rebalance, Redeliver
from tests.checkers.outcomes import shops
from tests.checkers.outcomes.sweep import groups, sweep

REPEATS = (Crash, FailedCommit, LostReply, Rebalance, Redeliver)

RIGHT = [
    shops.totals(inbox=True),
    shops.invoices(outbox=True),
    shops.quotes(one_reference=True),
    shops.points(offsets=True),
    shops.running_total(inbox=True),
    shops.trips(refunds=True),
    shops.api(keys=True),
    shops.late_money(refunds=True),
    shops.contention(inbox=True),
    shops.desk(gives_back=True),
]


@pytest.mark.parametrize("system", RIGHT, ids=lambda system: system.name)
def test_a_right_system_is_neither_accused_nor_asked_about(system):
    assert sweep(system) == []


BROKEN = [
    (shops.totals(inbox=False), ("row differs", "db.totals.cents+,sold+")),
    (shops.invoices(outbox=False), ("row missing", "mailbox.mails")),
    (shops.quotes(one_reference=False), ("effect twice", "mail.send")),
    (shops.points(offsets=False), ("row differs", "db.sums.n+")),
    (shops.running_total(inbox=False), ("row differs", "db.balances.amount+")),
    (shops.trips(refunds=False), ("half done", "bank.charge")),
    (shops.api(keys=False), ("row too many", "db.orders")),
    (shops.late_money(refunds=False), ("swallowed", "bus.paid")),
    (shops.contention(inbox=False), ("row differs", "db.stock.free-")),
    (shops.desk(gives_back=False), ("row differs", "db.left_over.n+")),
]


@pytest.mark.parametrize(("system", "group"), BROKEN, ids=lambda one: getattr(one, "name", ""))
def test_its_broken_twin_is_named_for_the_bug(system, group):
    assert group in groups(sweep(system))
