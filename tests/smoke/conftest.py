"""A shop in an empty folder: what the installed package is tried on."""

from textwrap import dedent

import pytest

SHOP = dedent("""
    import os

    from chaosharness import Gateway, Kafka, System, never_charged_twice

    system = System("smoke")
    bus = system.add(Kafka("bus", topics={"orders": 2}))
    bank = system.add(Gateway("bank"))
    FIXED = "SMOKE_FIXED" in os.environ


    @system.service("payments", replicas=2)
    def payments(env):
        client = env.client(bank)

        def on_order(order: dict):
            client.charge(order["id"], order["cents"], key=order["id"] if FIXED else None)

        env.consume(bus, "orders", on_order)


    @system.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])


    system.claim(never_charged_twice(bank))
""")
TEST = dedent("""
    from chaosharness import chaos_test, schedules
    from hypothesis import given

    from smoke_shop import system


    @chaos_test(system, faults_max=1, runs=100)
    def test_decorated():
        pass


    @given(schedule=schedules(system, faults_max=1))
    def test_given(schedule):
        assert system.run(None, schedule).history
""")


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "smoke_shop.py").write_text(SHOP)
    (tmp_path / "test_smoke_shop.py").write_text(TEST)
    return tmp_path
