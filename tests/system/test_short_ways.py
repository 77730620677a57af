"""What is done in fewer steps where nothing is the matter comes out as it does the long way."""

import pytest

from chaosharness import Schedule
from chaosharness.handlers import port, recall
from chaosharness.search.sites import candidates
from chaosharness.stores.sqlite.calmly import CalmConnection
from models.order.right import order_flow
from models.saga.right import order_saga
from models.small.wallet import wallet
from tests.system.periodic import SYSTEMS

FAULTS = 12
ALL = {one.name: one for one in (order_flow(), order_saga(), wallet(), *SYSTEMS)}


def digests(system):
    """The calm run, and some of its single faults from all over it."""
    calm = system.run()
    faults = [*candidates(calm)]
    some = faults[:: max(1, len(faults) // FAULTS)]
    return [calm.digest(), *(system.run(None, Schedule([one])).digest() for one in some)]


@pytest.mark.parametrize("system", ALL.values(), ids=ALL)
def test_a_history_is_that_of_the_long_way(system, monkeypatch):
    short = digests(system)
    taken = []

    def not_here(*_):
        taken.append(True)
        return False

    monkeypatch.setattr(CalmConnection, "run_calmly", not_here)
    monkeypatch.setattr(CalmConnection, "commit_calmly", not_here)
    monkeypatch.setattr(port, "park_once", not_here)
    monkeypatch.setattr(recall, "_recalled", lambda frame: recall._looked([frame]))
    assert digests(system) == short
    assert taken or system.name.startswith("batch_of_")  # which only holds what it was handed
