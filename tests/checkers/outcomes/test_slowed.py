"""Who comes first may decide why an order is cancelled, for each order by itself."""

import pytest

from chaosharness import Delay, ErrorReply, Schedule, Site
from chaosharness.errors import PropertyViolated
from chaosharness.faults import Fault
from models.order.broken import charge_without_key
from models.order.events import Order
from models.order.right import order_flow

#: The last two are out of stock and too dear: the faster of two services says why.
ORDERS = [Order("o1", "book", 500), Order("o2", "unicorn", 10**6), Order("o3", "unicorn", 10**6)]
RESERVED = Site("inventory.on_order/bus.publish reserved")


@pytest.mark.parametrize("fault", [ErrorReply(RESERVED), Delay(RESERVED, lasting="timeout")])
def test_one_order_is_cancelled_for_another_reason_behind_one_that_is_retried(fault: Fault) -> None:
    order_flow().run(ORDERS, Schedule([fault])).check()


def test_a_double_charge_beside_them_is_named_all_the_same() -> None:
    lost = Delay(Site("payments.on_order/bank.charge"), lasting="timeout")
    with pytest.raises(PropertyViolated, match="o1"):
        charge_without_key().run(ORDERS, Schedule([ErrorReply(RESERVED), lost])).check()
