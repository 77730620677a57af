"""The machine of a stream: shards, readers, checkpoints, a day."""

from chaosharness.machines.dynamodb.stream import (
    KEPT_MS,
    Append,
    Checkpoint,
    StreamMachine,
    Subscribe,
    Take,
)
from chaosharness.machines.machine import Buried, HandedOut, Settled, Stored


def read(machine, now=0, most=10, shard=0):
    return [one.message for one in machine.apply(Take("r", shard, most, "h"), now)]


def filled(*messages, shards=1):
    machine = StreamMachine("orders", shards)
    machine.apply(Subscribe("r"), 0)
    for number, message in enumerate(messages):
        machine.apply(Append(message[0], message), number)
    return machine


def test_what_is_not_checkpointed_is_read_again():
    machine = filled("a1", "b1", "a2")
    assert read(machine) == read(machine) == ["a1", "b1", "a2"]
    machine.apply(Checkpoint("r", 0, 2, "h"), 0)
    assert read(machine) == ["a2"]
    machine.apply(Checkpoint("r", 0, 1, "h"), 0)  # an old one takes nothing back
    assert read(machine) == ["a2"]
    times = [fact.times for fact in machine.take() if isinstance(fact, HandedOut)]
    assert times == [1, 1, 1, 2, 2, 2, 3, 4]


def test_facts_say_who_reads_what():
    machine = filled("a1")
    read(machine)
    machine.apply(Checkpoint("r", 0, 1, "h"), 0)
    stored, handed, settled = machine.take()
    assert (type(stored), stored.places) == (Stored, ("r",))
    assert (handed.place, settled.place, type(settled)) == ("r", "r", Settled)


def test_an_item_stays_in_its_shard():
    machine = filled("a1", "b1", "a2", "b2", "c1", "c2", shards=3)
    read_all = [read(machine, shard=shard) for shard in range(3)]
    assert sorted(one for some in read_all for one in some) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    for some in read_all:
        for name in {one[0] for one in some}:
            assert [one for one in some if one[0] == name] == [f"{name}1", f"{name}2"]


def test_a_reader_begins_with_what_comes_after_it():
    machine = filled("a1")
    machine.apply(Subscribe("late"), 5)
    machine.apply(Append("a", "a2"), 6)
    assert [one.message for one in machine.apply(Take("late", 0, 10, "h"), 7)] == ["a2"]


def test_after_a_day_it_is_gone_read_or_not():
    machine = filled("a1", "a2")
    assert read(machine, KEPT_MS - 1) == ["a1", "a2"]
    machine.take()
    assert read(machine, KEPT_MS) == ["a2"]
    [buried] = [fact for fact in machine.take() if isinstance(fact, Buried)]
    assert (buried.message, buried.place, buried.to, buried.reason) == ("a1", "r", None, "expired")


def test_what_is_given_up_is_buried():
    machine = filled("a1", "a2")
    read(machine, most=1)
    machine.take()
    machine.apply(Checkpoint("r", 0, 1, given_up="retries are over", to="lost"), 0)
    [buried] = machine.take()
    assert (buried.to, buried.times) == ("lost", 1)
    assert read(machine) == ["a2"]
