import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from chaosharness import Crash, Delay, Kafka, Schedule, Site, System, schedules
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import FAULTS
from tests.strategies.shops import CHARGE, deaf, shop

SHOP = shop()
NAMES = {kind.__name__: kind for kind in (*FAULTS, Schedule, Site)}
QUIET = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))


@settings(deadline=None)
@given(schedule=schedules(SHOP, faults_max=3))
def test_a_schedule_runs_and_its_repr_is_code(schedule):
    assert len(schedule) <= 3
    assert eval(repr(schedule), NAMES) == schedule
    SHOP.run(None, schedule)


@settings(deadline=None)
@given(st.text(), schedules(SHOP), st.lists(st.floats()), st.data())
def test_it_goes_with_other_strategies(before, schedule, after, data):
    assert isinstance(schedule, Schedule)
    assert len(data.draw(schedules(SHOP, faults_max=1))) <= 1


def test_what_hypothesis_prints_is_code_too():
    from hypothesis.vendor.pretty import pretty

    crash = Crash(Site(CHARGE, "after", entity=2))
    for faults in ([], [crash], [crash, Delay(Site(CHARGE), lasting="timeout")] * 2):
        schedule = Schedule(faults)
        assert eval(pretty(schedule), NAMES) == schedule
    assert "\n" in pretty(schedule), "one fault a line"


def test_it_shrinks_to_the_mildest_and_earliest():
    found = find(schedules(SHOP), lambda one: len(one) >= 1, settings=QUIET)
    [fault] = found
    assert type(fault) is Delay
    assert fault == Delay(Site(fault.site.operation))


def test_it_shrinks_to_the_needed_fault():
    def bad(schedule):
        return any(type(one) is Crash and one.site.operation == CHARGE for one in schedule)

    found = find(schedules(SHOP), bad, settings=settings(QUIET, max_examples=5_000))
    assert found == Schedule([Crash(Site(CHARGE, "after"))])


def test_the_first_schedule_is_calm():
    seen = []

    @QUIET
    @given(schedules(SHOP))
    def probe(schedule):
        seen.append(schedule)

    probe()
    assert seen[0] == Schedule()


def test_the_system_may_be_completed_after_the_strategy_was_made():
    system = System("late")
    strategy = schedules(system)
    bus = system.add(Kafka("bus", {"orders": 1}))

    @system.service("reader")
    def reader(env):
        env.consume(bus, "orders", lambda order: None)

    @system.entry(examples=[{}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    assert find(strategy, lambda one: len(one) == 1, settings=QUIET)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"faults_max": 0}, "faults_max must be a whole number from 1, not 0"),
        ({"faults_max": True}, "faults_max must be a whole number from 1, not True"),
        ({"items_max": "3"}, "items_max must be a whole number from 1"),
        ({"kinds": Crash}, r"kinds must be several, such as \[Crash\]"),
        ({"kinds": [Crash, "delay"]}, "'delay' is no kind of fault; kinds are: Delay"),
    ],
)
def test_wrong_arguments_are_refused_at_once(words, message):
    with pytest.raises(InvalidDefinition, match=message):
        schedules(SHOP, **words)


def test_something_else_than_a_system_is_refused():
    with pytest.raises(InvalidDefinition, match="not of 'shop'"):
        schedules("shop")


def test_a_system_that_cannot_be_struck_is_refused_when_the_test_starts():
    @given(schedules(deaf()))
    def probe(schedule):
        raise AssertionError("never called")

    with pytest.raises(InvalidDefinition, match="nothing in system 'deaf'"):
        probe()
