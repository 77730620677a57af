"""Loops that sleep: when one is at rest, and how far one that is not is run on."""

from types import SimpleNamespace

import pytest

from chaosharness.kernel.rest import WAKES_CLOCK, WAKES_COUNTING, WAKES_HOLDING, Loop, Rest, Wait
from chaosharness.kernel.spans import DAY_MS, EPOCH_MS, ahead_in, from_now


def a_world():
    return SimpleNamespace(
        now=0,
        effects=0,
        stirred=0,
        shifted=0,
        unlike=0,
        idled=0,
        raw=[],
        rest=Rest(events_max=1_000),
    )


class Sleeper:
    """A loop that is stepped by hand."""

    def __init__(self, world, *, holds=False, sure=True, spot=None):
        self.world, self.holds, self.sure, self.spot = world, holds, sure, spot
        self.looks = 0
        self.loop = Loop()
        process = SimpleNamespace(shifted=0)
        self.scope = SimpleNamespace(place="w.loop", clock=0, reckons_ms=0, incarnation=process)
        self.state = "here"
        self.sleep()

    def sleep(self):
        self.wait = Wait(
            self.world,
            self.loop,
            self.scope,
            1_000,
            self.look,
            "frame",
            holds=self.holds,
            spot=self.spot,
        )

    def look(self, _):
        self.looks += 1
        return self.state, self.sure

    def round(self, *, asks=False, changes=False, state="here"):
        self.world.now += 1_000
        self.wait.woke()
        self.scope.clock += asks
        self.world.effects += changes
        self.state = state
        self.sleep()
        self.world.rest.notice(self.world)

    @property
    def at_rest(self):
        return self.wait.rest_at == self.world.effects

    def rounds(self, **how):
        """Return after how many more rounds the loop is spent."""
        for number in range(1, 5_000):
            self.round(**{name: f(number) if callable(f) else f for name, f in how.items()})
            if self.wait.holding_out() is not None:
                return number
        raise AssertionError("never spent")


def test_a_loop_is_at_rest_after_one_round_in_which_nothing_was_different():
    one = Sleeper(a_world())
    assert not one.at_rest
    one.round()
    assert one.at_rest


def goes_on(one, rounds, state):
    for number in range(rounds):
        one.round(state=state(number))


def test_a_loop_that_went_on_for_long_enough_is_looked_at_now_and_then_only():
    one = Sleeper(a_world())
    goes_on(one, 4_000, lambda number: ("code", 1, number))
    assert one.looks < WAKES_COUNTING + 8 * 8
    assert one.wait.holding_out().why == "counts"


def test_one_that_cannot_be_compared_too():
    one = Sleeper(a_world(), sure=False)
    goes_on(one, 4_000, lambda _: ("code", 1))
    assert one.looks < WAKES_COUNTING + 8 * 8
    assert one.wait.holding_out().why == "cannot be compared"


def test_what_comes_to_rest_late_is_seen_to_rest():
    one = Sleeper(a_world())
    goes_on(one, 1_100, lambda number: ("code", 1, min(number, 300)))
    assert one.at_rest


def test_an_effect_has_it_looked_at_again():
    one = Sleeper(a_world())
    goes_on(one, 1_000, lambda number: ("code", 1, number))
    one.round(changes=True, state=("code", 1, 0))
    assert one.wait.holding_out() is None
    one.round(state=("code", 1, 0))
    assert one.at_rest


def test_what_is_given_back_is_looked_at_however_late_it_is():
    one = Sleeper(a_world(), holds=True)
    goes_on(one, 1_000, lambda number: ("code", 1, number))
    assert one.looks == 1_001


@pytest.mark.parametrize("spot", [None, lambda _: ("code", 1)])
def test_the_rounds_up_to_a_number_that_code_names_are_counted_all_the_same(spot):
    one = Sleeper(a_world(), spot=spot)
    assert one.rounds(state=lambda number: ("code", 1, 600, number)) == 605
    assert one.looks < (700 if spot is None else 200)


def test_an_effect_of_anybody_wakes_it():
    one = Sleeper(a_world())
    one.round()
    one.world.effects += 1
    assert not one.at_rest
    one.round()
    one.round()
    assert one.at_rest


@pytest.mark.parametrize("how", [{"asks": True}, {"changes": True}, {"state": "there"}])
def test_a_round_in_which_something_was_different_is_no_rest(how):
    one = Sleeper(a_world())
    one.round(**how)
    assert not one.at_rest


def test_states_that_take_turns_are_a_rest_once_each_was_left_before():
    one = Sleeper(a_world())
    one.round(state="there")
    one.round(state="here")
    assert one.at_rest
    one.round(state="there")
    assert one.at_rest


@pytest.mark.parametrize("how", [{"holds": True}, {"sure": False}])
def test_what_holds_messages_or_cannot_be_compared_is_never_at_rest(how):
    one = Sleeper(a_world(), **how)
    for _ in range(10):
        one.round()
        assert not one.at_rest


def test_a_loop_that_counts_is_run_on_for_so_many_rounds():
    one = Sleeper(a_world())
    one.round(changes=True)
    assert one.rounds(state=str) == WAKES_COUNTING


def test_a_loop_that_holds_messages_is_run_on_for_so_many_rounds():
    one = Sleeper(a_world(), holds=True)
    one.round(changes=True)
    assert one.rounds() == WAKES_HOLDING


def test_a_loop_that_asks_for_the_time_is_run_on_past_what_it_has_shown():
    one = Sleeper(a_world())
    one.round(changes=True)
    assert one.rounds(asks=True) == WAKES_HOLDING
    one.world.rest.show(60_000)
    one.round(changes=True)
    assert one.rounds(asks=True) == 62
    one.world.rest.shown_ms = 2_000
    one.round(changes=True)
    assert one.rounds(asks=True) == WAKES_CLOCK


def test_a_duration_of_its_code_is_worth_two_thousand_rounds():
    one = Sleeper(a_world())
    one.scope.reckons_ms = 300_000
    one.round(changes=True)
    assert one.rounds(asks=True) == 302
    one.scope.reckons_ms = 7_200_000
    one.round(changes=True)
    assert one.rounds(asks=True) == 2_000


def test_idle_events_are_bounded():
    one = Sleeper(a_world())
    one.round(changes=True)
    one.world.raw = [None] * 1_001
    assert one.wait.holding_out().why == "wakes too often"


def test_what_a_background_loop_does_starts_no_count_anew():
    one = Sleeper(a_world())
    one.round(changes=True)

    def beat(number):
        one.world.effects += 1
        one.world.rest.by_background += 1
        return str(number)

    assert one.rounds(state=beat) == WAKES_COUNTING


def test_a_task_that_is_made_anew_carries_on_for_its_predecessor():
    parent, ended = Loop(), set()
    first = parent.child("code", 1, ended.__contains__)
    beside = parent.child("code", 2, ended.__contains__)
    ended.add(1)
    assert parent.child("code", 3, ended.__contains__) is first
    assert beside is not first
    assert parent.child("other code", 4, ended.__contains__) not in (first, beside)


# ---- times in data


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        (65_000, 60_000),
        (EPOCH_MS + 65_000, 60_000),
        ((EPOCH_MS + 65_000) / 1000, 60_000),
        ("2030-01-01T00:01:05+00:00", 60_000),
        ("2030-01-01 00:01:05", 60_000),
        ("2029-12-31T23:59:05Z", -60_000),
        (EPOCH_MS + 5_000 + 2 * DAY_MS, 0),
        ("order-2030", 0),
        ("2030-13-45 99:99:99", 0),
        (None, 0),
        (True, 0),
        (float("nan"), 0),
        (float("inf"), 0),
    ],
)
def test_how_far_a_value_lies_from_now(value, expected_ms):
    assert from_now(value, 5_000) == expected_ms


@pytest.mark.parametrize(
    ("kind", "data", "expected_ms"),
    [
        ("publish", {"value": b'{"id": "o1", "deliver_at": 3600000}'}, 3_600_000),
        ("commit", {"value": b'{"until": "2030-01-01T02:00:00+00:00"}'}, 7_200_000),
        ("write", {"params": ("j1", 5_000, 90_000)}, 90_000),
        ("write", {"params": {"at": 70_000}}, 70_000),
        ("write", {"params": ("o1", 500)}, 0),
        ("read", {"params": (90_000,)}, 0),
        ("publish", {"value": b"order-99999"}, 0),
        ("publish", {}, 0),
        ("end", None, 0),
    ],
)
def test_the_latest_moment_that_an_event_has_in_store(kind, data, expected_ms):
    found = ahead_in((0, kind, "a", "o", 1, 1, -1, data))
    assert max(found, default=0) == expected_ms
