"""A workload of items of two types goes into a file, and to another process, and comes back."""

from dataclasses import dataclass

import pytest

from chaosharness import Kafka, KeyValue, System, explore, replay
from chaosharness.counterexample import Counterexample, items_for, plain_items, types_of
from chaosharness.errors import InvalidSchedule
from chaosharness.reporting.formats.pytest_file import to_pytest
from chaosharness.search.determinism import same_elsewhere

TARGET = f"{__name__}:counter"


@dataclass
class Placed:
    id: str


@dataclass
class Cancelled:
    id: str


@dataclass
class Paid:
    id: str
    cents: int


def counting(*examples) -> System:
    system = System("counter")
    bus = system.add(Kafka("bus", topics={"events": 1}))
    kept = system.add(KeyValue("kept"))

    @system.service("count")
    def count(env):
        store = env.connect(kept)

        def on_event(event: dict):
            store.put(event["id"], store.get(event["id"], 0) + event["n"])

        env.consume(bus, "events", on_event, on_error="dead-letter", retries_max=30)

    @system.entry(examples=list(examples))
    def enter(env, item):
        number = 1 if isinstance(item, Placed) else -1
        env.publisher(bus)("events", {"id": item.id, "n": number}, key=item.id)

    return system


ITEMS = (Placed("a"), Cancelled("b"), Paid("c", 5))
counter = counting(*ITEMS)


def test_a_run_of_items_of_two_types_is_the_same_in_another_process():
    same_elsewhere(TARGET, counter.run(), ["1"])


def test_a_counterexample_keeps_the_type_of_each_item():
    explored = explore(counter, faults_max=1, mode="small-first")
    second = next(one for one in explored.counterexamples if one.items == ({"id": "b"},))
    assert second.types == ("Cancelled",)
    read = Counterexample.decode(second.encode())
    assert read.types == second.types
    assert replay(read, system=counter).same_history
    named = Counterexample.decode(second.encode().replace('"target": ""', f'"target": "{TARGET}"'))
    assert "items_for(system, WORKLOAD, TYPES)" in to_pytest(named)


def test_where_nobody_says_the_type_it_is_the_one_with_just_these_fields():
    assert types_of(counter, ITEMS) == ("Placed", "Cancelled", "Paid")
    assert items_for(counter, plain_items(ITEMS), types_of(counter, ITEMS)) == ITEMS
    assert items_for(counter, [{"id": "c", "cents": 5}, {"id": "a"}]) == (ITEMS[2], ITEMS[0])
    with pytest.raises(InvalidSchedule, match=r"does not fit Placed: .*; .* does not fit Paid"):
        items_for(counter, [{"cents": 5}])


def test_of_one_type_nothing_is_said():
    assert types_of(counting(Placed("a")), [Placed("a")]) == ()
