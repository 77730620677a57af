"""Reading a history: what is found out of all events at once is what it is event by event."""

from __future__ import annotations

from random import Random

import pytest

from chaosharness import Crash, Schedule, Site
from chaosharness.checkers.reading import ROOTS, WAITING, WORK, Reading, roots_of
from chaosharness.kernel.history import History, followed
from models.small.cashier import cashier


def test_what_is_followed_goes_as_far_as_it_can():
    assert followed([-1]) == [-1]
    assert followed([-1, 0, 1, 3, 3, 4, -1]) == [-1, -1, -1, 3, 3, 3, -1]
    long = [*range(-1, 999), -1]
    assert followed(long) == [-1] * 1_001
    long[500] = 500
    assert followed(long) == [-1] * 500 + [500] * 500 + [-1]


def test_each_event_belongs_to_where_its_work_began():
    chance = Random(5)
    for _ in range(300):
        raw = []
        for index in range(chance.randrange(1, 30)):
            kind = chance.choice(["deliver", "start", "call", "write", "ack", "arrive"])
            cause = chance.randrange(-1, index)
            raw.append((0, kind, "a#1", "", 1, 0, cause, None))
        roots = []
        for index, event in enumerate(raw):
            begins = event[6] < 0 or event[1] in ROOTS
            roots.append(index if begins else roots[event[6]])
        assert roots_of(History(raw)) == roots


@pytest.mark.parametrize("site", ["cashier.on_sale/bus.commit", "cashier.on_sale/stripe.charge"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_what_a_delivery_did_is_known_when_somebody_asks(site, phase):
    run = cashier().run(None, Schedule([Crash(Site(site, phase))]))
    assert not run.unused
    reading, raw = Reading(run.history), run.history.raw
    work: dict[int, list[str]] = {}
    last: dict[tuple[int, str], str] = {}
    for index, (_, kind, actor, operation, _, _, _, data) in enumerate(raw):
        root = reading.roots[index]
        last[root, actor] = kind
        if kind in WORK and "error" not in (data or ()):
            work.setdefault(root, []).append(operation)
    assert any(one.work for one in reading.handed.values())
    for root, one in reading.handed.items():
        assert list(one.work) == work.get(root, [])
        assert one.waiting == (last.get((root, one.to)) in WAITING)
