"""The order of single faults: grouped as it is kept, the same as when every fault is looked at."""

from chaosharness.search.odds import does, is_a_length, learned, likely_first, row_of
from chaosharness.search.sites import candidates
from models.order.right import order_flow
from models.small.cashier import cashier


def one_by_one(faults, what, odds):
    """Yield all faults: each time the one with the best score, of all that are left."""
    alike, here, around = {}, {}, {}
    left = []
    for at, fault in enumerate(faults):
        doing = what.get(fault.site.operation, "")
        late = 1 + (fault.site.attempt - 1) / 2 + max(0, fault.site.entity - 1) / 5
        likely = odds.of(fault, doing) / late / (3 if is_a_length(fault) else 1)
        place = (fault.kind, fault.site.operation)
        left.append((fault, likely, (row_of(fault), doing), place, at))

    def score(one):
        _, likely, cell, place, at = one
        now = -likely / (1 + 2 * alike.get(cell, 0)) / (1 + here.get(place, 0))
        return now / (1 + around.get(place[1], 0) / 2), at

    while left:
        best = min(left, key=score)
        left.remove(best)
        fault, _, cell, place, _ = best
        alike[cell] = alike.get(cell, 0) + 1
        here[place] = here.get(place, 0) + 1
        around[place[1]] = around.get(place[1], 0) + 1
        yield fault


def test_groups_change_nothing():
    for system in (order_flow(), cashier()):
        run = system.run()
        faults = candidates(run)
        what = does(run.history)
        found = list(likely_first(faults, what, learned()))
        assert found == list(one_by_one(faults, what, learned()))
        assert found != faults
