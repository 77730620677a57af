"""Fingerprints that are remembered are those that would be taken anew."""

import gc
import sys
import weakref

import attrs
import pytest

from chaosharness.handlers import recall
from chaosharness.handlers.fingerprint import Look

LIMIT = 3


class Desk:
    """All it knows lies in one dict."""

    def __init__(self, **known):
        vars(self).update(known)

    def ask(self):
        """Use a global of this module."""
        return LIMIT


@attrs.define
class Slotted:
    """No dictionary."""

    value: object = 0


def looked(frame):
    look = Look()
    look.frame(frame)
    return look.state()


def told(frame):
    """Return the fingerprint as a run takes it: nothing of the tests beneath it."""
    return recall._recalled(frame)


def at_rest(held):
    """Stand still, and be looked at from outside."""
    return sys._getframe(), held.ask


def state_of(held):
    frame, _ = at_rest(held)
    return told(frame), looked(frame)


def circle():
    one = Desk(name="a")
    one.other = Desk(back=one)
    return one


def twice():
    one = Desk(n=1)
    return Desk(a=one, b=one)


HELD = [
    lambda: Desk(n=1),
    lambda: Desk(n=2),
    lambda: Desk(n=True),
    lambda: Desk(m=1),
    lambda: Desk(a="b", x="y", c="z"),
    lambda: Desk(a=Desk(x="y"), c="z"),
    lambda: Desk(a=Desk(), x="y", c="z"),
    lambda: Desk(a=Desk(b="x"), c=Desk()),
    lambda: Desk(a=Desk(), c=Desk(b="x")),
    lambda: Desk(inner=Desk(n=None)),
    lambda: Desk(inner=Desk(n=1.5), also=Desk(n=1.5)),
    lambda: Desk(text="long" * recall.TEXT_MAX),
    lambda: Desk(waiting=[1, 2]),
    lambda: Desk(waiting=[2, 1]),
    lambda: Desk(slotted=Slotted(5)),
    lambda: Desk(slotted=Slotted(6)),
    lambda: Desk(ask=looked),
    lambda: Desk(ask=sys.exit),
    circle,
    twice,
]


def test_what_is_remembered_is_what_would_be_found():
    for _ in range(3):
        for make in HELD:
            recalled, anew = state_of(make())
            assert recalled == anew


def test_other_states_are_others():
    found = [state_of(make())[0][0] for make in HELD for _ in range(2)]
    assert len(set(found)) == len(HELD) - 1  # True is 1, as everywhere


def test_a_state_is_looked_at_once(monkeypatch):
    state_of(Desk(n=1))
    monkeypatch.setattr(recall, "_looked", lambda frames: pytest.fail("looked at once more"))
    told(at_rest(Desk(n=1))[0])
    with pytest.raises(pytest.fail.Exception, match="once more"):
        told(at_rest(Desk(n="never"))[0])


def test_a_global_that_changes_is_another_state(monkeypatch):
    before, _ = state_of(Desk(n=1))
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", 4)
    after, _ = state_of(Desk(n=1))
    assert before != after


def test_a_loop_that_counts_is_given_up():
    def place(held):
        return sys._getframe()

    states = {told(place(Desk(n=number))) for number in range(recall.STATES_MAX + 5)}
    assert len(states) == recall.STATES_MAX + 5
    kept = [step.states for step in steps_of(place) if step.states is not None]
    assert kept == [{}]


def steps_of(function):
    left = [one for (code, _), one in recall._BEGINNINGS.items() if code is function.__code__]
    while left:
        step = left.pop()
        yield step
        left.extend(step.next.values())


def test_nothing_of_the_user_is_kept_alive():
    held = Desk(inner=Desk(n=1))
    gone = [weakref.ref(held), weakref.ref(held.inner)]
    state_of(held)
    state_of(held)
    del held
    gc.collect()  # frames that know each other
    assert [one() for one in gone] == [None, None]


def test_the_spot_is_what_a_fingerprint_begins_with():
    def sleeps():
        return sys._getframe()

    frame = sleeps()
    state, _ = recall.of_stack(frame)
    assert recall.spot_of(frame) == state[:2] != ()
    assert recall.spot_of(None) == recall.of_stack(None)[0][:2] == ()
