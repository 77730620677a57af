"""Modules of the user's that a handler is the first to import: their state is of a process too."""

import sys

import pytest

from chaosharness import Crash, Delay, External, Kafka, Schedule, Site, System

FILES = {
    "late_seen.py": "SEEN = set()\n",
    "late_table.py": "HANDLERS = {}\n",
    "late_pay.py": """
        from late_seen import SEEN
        from late_table import HANDLERS

        COUNT = 0

        def pay(order):
            global COUNT
            COUNT += 1
            first = order not in SEEN
            SEEN.add(order)
            return f"{first} {COUNT}"

        HANDLERS["pay"] = pay
        """,
    "late_desk.py": """
        def seen(order):
            from late_seen import SEEN

            first = order not in SEEN
            SEEN.add(order)
            return str(first)

        def entered(order):
            import late_pay
            from late_table import HANDLERS

            return HANDLERS["pay"](order)

        def by_name(order):
            from importlib import import_module

            return import_module("late_pay").pay(order)

        def after_trouble(order, trouble=False):
            return by_name(order) if trouble else "calm"
        """,
}


class Desk:
    def told(self, word): ...


@pytest.fixture
def desk(tmp_path, monkeypatch):
    for name, text in FILES.items():
        lines = text.split("\n")
        (tmp_path / name).write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda: __import__("late_desk")
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def system_of(answer):
    system = System("shop")
    bus, desk = system.add(Kafka("bus", {"orders": 2})), system.add(External("desk", Desk))

    @system.service("pay", replicas=2)
    def pay(env):
        client = env.client(desk)
        env.consume(bus, "orders", lambda order: client.told(answer(order["id"])), read_as=dict)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def told(run):
    return [event.data["word"] for event in run.history.of("effect")]


@pytest.mark.parametrize(
    ("name", "words"),
    [("seen", ["True"]), ("entered", ["True 1"]), ("by_name", ["True 1"])],
)
def test_each_process_and_each_run_begins_with_what_was_imported(desk, name, words):
    system = system_of(getattr(desk(), name))
    after = Schedule([Crash(Site("pay.<lambda>/desk.told", "after"))])
    for _ in range(2):
        assert told(system.run()) == 2 * words
        assert told(system.run(schedule=after)) == 3 * words


def test_what_is_imported_under_a_fault_only_is_met_then(desk):
    module = desk()

    system = System("shop")
    bus, third = system.add(Kafka("bus", {"orders": 1})), system.add(External("desk", Desk))

    @system.service("pay")
    def pay(env):
        client = env.client(third)

        def on_order(order: dict):
            try:
                client.told(module.after_trouble(order["id"]))
            except TimeoutError:
                client.told(module.after_trouble(order["id"], trouble=True))

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    late = Schedule([Delay(Site("pay.on_order/desk.told"), lasting="timeout")])
    assert told(system.run()) == ["calm"]
    for _ in range(3):
        assert told(system.run(schedule=late)) == ["True 1", "calm"]  # the first is late


def test_a_module_that_each_run_imports_anew_is_not_waited_for(desk):
    runs = []

    def anew(order):
        sys.modules.pop("late_seen", None)
        from late_seen import SEEN

        runs.append(order)
        return str(order not in SEEN)

    system = system_of(anew)
    for _ in range(3):
        assert told(system.run()) == ["True", "True"]
    assert len(runs) <= 2 * 4  # the first run twice, and no other
