"""The machine of JetStream beside the running nats-server, and wrong machines that it catches.

Here a few sequences; two thousand and more: python -m benchmarks nats
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks import nats as comparison
from benchmarks import nats_server
from chaosharness.machines.nats import NatsMachine
from chaosharness.machines.nats import machine as machine_room
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats.consumer import Consumer
from chaosharness.machines.nats.stream import Stream

pytestmark = pytest.mark.real_broker

UNTIMED = 80
TIMED = 40
SOME = 400


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    lacks = nats_server.missing()
    if lacks is not None:
        pytest.skip(f"JetStream is not compared: {lacks}")
    with nats_server.running() as found:
        yield found


def test_what_is_missing_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nats_server, "executable", lambda: None)
    comparison.main()
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("not compared: ")


def test_a_server_with_other_rules_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_server, "executable", lambda: "nats-server")
    monkeypatch.setattr(nats_server, "version_of", lambda program: "2.9.10")
    assert nats_server.missing() in (
        "the machine has the rules of nats-server 2.15.x, and nats-server is 2.9.10",
        "nats-py is not installed: pip install 'chaosharness[test]'",
    )


def test_both_show_the_same(port: int) -> None:
    result = comparison.compared(port, UNTIMED, "untimed", seed=3)
    assert not result.differences, result.differences[0]
    assert result.sequences == UNTIMED
    assert {*comparison.VERBS} <= {*result.verbs}


@pytest.mark.slow
def test_both_show_the_same_while_time_passes(port: int) -> None:
    result = comparison.compared(port, TIMED, "timed", seed=3)
    assert not result.differences, result.differences[0]
    assert result.sequences > TIMED // 4, f"{result.left_out} were too close to say"
    assert {*comparison.TIMED_VERBS} <= {*result.verbs}


# ---- the test of the test

next_of = NatsMachine._next
nak = NatsMachine._nak
give_up = Consumer.give_up


def new_ones_first(machine: NatsMachine, consumer: Consumer, now: int) -> Any:
    back, consumer.back = consumer.back, []
    found = next_of(machine, consumer, now)
    consumer.back = back
    return found or next_of(machine, consumer, now)


def newest_back_first(machine: NatsMachine, operation: Any, now: int) -> Any:
    answer = nak(machine, operation, now)
    consumer = machine.consumers[operation.handle.stream, operation.handle.consumer]
    consumer.back.sort()
    return answer


def kept_after_settling(machine: NatsMachine, stream: Stream, record: Any) -> None:
    """Keep what a work queue, or a stream of interest, lets go of."""


def given_back(machine: NatsMachine, operation: Any, now: int) -> Any:
    return nak(machine, op.Nak(operation.handle), now)


def still_in_hands(consumer: Consumer, sequence: int) -> None:
    """Do not count what is given up for good as given up."""


def settled_alone(consumer: Consumer, sequence: int, delivery: int) -> Any:
    """Settle one message where all before it are settled too."""
    if not consumer.release(sequence):
        return None
    return [(sequence, None)]


def floor_of_all(consumer: Consumer, sequence: int) -> None:
    """Move the floor that is told of over what is given up."""
    give_up(consumer, sequence)
    if consumer.acks_all:
        consumer.told = consumer.floor


OPERATIONS = ("_nak", "_term", "_in_progress")
"""They are looked up in a table."""
WRONG: dict[str, tuple[str, type, str, Callable[..., Any]]] = {
    "what comes back comes last": ("untimed", NatsMachine, "_next", new_ones_first),
    "naks come back in order": (
        "untimed",
        NatsMachine,
        "_nak",
        newest_back_first,
    ),
    "a work queue keeps what is done": (
        "untimed",
        NatsMachine,
        "drop_if_done",
        kept_after_settling,
    ),
    "ids are forgotten": ("untimed", Stream, "recognise", lambda stream, id, now: None),
    "ids are known for ever": ("timed", Stream, "_forget", lambda stream, now: None),
    "no limit of what is in hands": ("untimed", Consumer, "is_full", lambda consumer: False),
    "what is given up is in hands": ("untimed", Consumer, "give_up", still_in_hands),
    "a filter is a beginning": (
        "untimed",
        Consumer,
        "wants",
        lambda consumer, subject: True,
    ),
    "backoff is AckWait": (
        "timed",
        Consumer,
        "wait_ms",
        lambda consumer, sequence: consumer.settings.wait_ms,
    ),
    "in progress is nothing": ("timed", NatsMachine, "_in_progress", lambda *_: None),
    "all is one": ("untimed", Consumer, "settle_up_to", settled_alone),
    "what is given up is told of": ("untimed", Consumer, "give_up", floor_of_all),
    "term is nak": ("untimed", NatsMachine, "_term", given_back),
    "a full stream takes all": ("untimed", Stream, "is_full", lambda stream, subject: False),
}


RARE = ("no limit of what is in hands", "what is given up is in hands")
"""What few sequences tell apart."""
DEAR = [wrong for wrong in WRONG if wrong in RARE or WRONG[wrong][0] == "timed"]
SLOW = [pytest.param(wrong, marks=pytest.mark.slow) for wrong in DEAR]
FAST = [wrong for wrong in WRONG if wrong not in DEAR]


@pytest.mark.parametrize("wrong", [*FAST, *SLOW])
def test_a_wrong_machine_is_caught(port: int, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    kind, owner, name, instead = WRONG[wrong]
    table = machine_room.DO
    if owner is NatsMachine and name in OPERATIONS:
        operation = next(one for one, do in table.items() if do is getattr(owner, name))
        monkeypatch.setitem(table, operation, instead)
    else:
        monkeypatch.setattr(owner, name, instead)
    result = comparison.compared(port, SOME, kind, seed=5, shrinking=False)  # type: ignore[arg-type]
    assert result.differences
