"""What outlives a run and is in no module makes the calm run another one: every door says so."""

import warnings

import pytest
from hypothesis import given, settings

from chaosharness import (
    Crash,
    Gateway,
    Kafka,
    System,
    certify,
    chaos_settings,
    chaos_test,
    check,
    explore,
    never_charged_twice,
    smallest,
)
from chaosharness.errors import Nondeterminism
from chaosharness.strategies.schedules import schedules
from chaosharness.system.twice import Watch


def shop(*, keeps="seen", spy=None):
    """Charge without a key, behind a set that the function around the service holds."""
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank = system.add(Gateway("bank"))
    seen, active = set(), set()

    @system.service("pay")
    def pay(env):
        client = env.client(bank)
        own = set()

        def by_seen(order: dict):
            if order["id"] not in seen:
                client.charge(order["id"], 500)
                seen.add(order["id"])

        def by_active(order: dict):
            if order["id"] in active:
                return
            active.add(order["id"])
            client.charge(order["id"], 500, key=order["id"])
            active.discard(order["id"])

        def by_own(order: dict):
            if spy is not None:
                spy.append(order["id"])
            if order["id"] not in own:
                client.charge(order["id"], 500, key=order["id"])
                own.add(order["id"])

        handlers = {"seen": by_seen, "active": by_active, "own": by_own}
        env.consume(bus, "orders", handlers[keeps], on_error="dead-letter")

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    system.claim(never_charged_twice(bank))
    return system


def decorated(system):
    @chaos_test(system, faults_max=1, runs=60)
    def test(run): ...

    test()


def planned(system):
    @chaos_settings(max_examples=60)
    @given(schedule=schedules(system, faults_max=1))
    def test(schedule):
        system.run(None, schedule).check()

    test()


def drawn(system):
    @settings(max_examples=60, deadline=None)
    @given(schedule=schedules(system, faults_max=1))
    def test(schedule):
        system.run(None, schedule).check()

    test()


DOORS = {
    "explore": lambda system: explore(system, faults_max=1),
    "certify": lambda system: certify(system, faults=1),
    "smallest": lambda system: smallest(system, faults_max=1),
    "check": lambda system: check(system, faults_max=1),
    "chaos_test": decorated,
    "given, planned": planned,
    "given": drawn,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("keeps", ["seen", "active"])
def test_every_door_says_what_survives(door, keeps):
    with warnings.catch_warnings(), pytest.raises(Nondeterminism) as caught:
        warnings.simplefilter("ignore")
        DOORS[door](shop(keeps=keeps))
    assert f"{keeps!r} around tests.system.test_twice.shop.<locals>.pay" in str(caught.value)
    assert "inside the\nfunction that builds the service" in str(caught.value)


@pytest.mark.parametrize("door", DOORS)
def test_no_door_says_so_of_a_list_that_is_only_written(door):
    spy = []
    DOORS[door](shop(keeps="own", spy=spy))
    assert spy


def test_it_is_found_after_one_crash_only():
    system = shop(keeps="active")
    watch = Watch(system)
    watch.begin()
    watch.end()
    campaign = explore(shop(keeps="own"), kinds=[Crash], faults_max=1)
    assert campaign.result == "holds"
    with pytest.raises(Nondeterminism, match="the first one and one after all others"):
        explore(system, kinds=[Crash], faults_max=1)


def counted(path):
    system = System("counted")
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("counter")
    def counter(env):
        def on_order(order: dict):
            count = int(path.read_text()) if path.exists() else 0
            path.write_text(str(count + 1))
            env.note("counted", count=count + 1)

        env.consume(bus, "orders", on_order, on_unreadable="skip")

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def test_a_file_that_code_writes_is_named_with_its_line(tmp_path):
    path = tmp_path / "count.txt"
    with pytest.raises(Nondeterminism) as caught:
        explore(counted(path))
    said = str(caught.value)
    assert f"Code of a service writes files: {path} at " in said
    assert "test_twice.py:" in said
    assert "sys.modules" not in said  # what a run happens to import is not the reason
