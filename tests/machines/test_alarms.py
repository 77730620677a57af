"""When time is next: what machines remember of it, held against all that they keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosharness.machines.lease import Alarm, Leases, LeaseSettings
from chaosharness.machines.machine import HandedOut, Refusal
from chaosharness.machines.nats import ConsumerSettings, NatsMachine, StreamSettings
from chaosharness.machines.nats import operations as jetstream
from chaosharness.machines.sqs import QueueSettings, SqsMachine
from chaosharness.machines.sqs import operations as sqs

MOMENTS = st.integers(0, 6)
STEP = st.tuples(st.integers(0, 6), MOMENTS, MOMENTS)
STEPS = st.lists(STEP, max_size=40)
Steps = list[tuple[int, int, int]]


# ---- leases, held against a plain dict of who holds what until when


def leases_go_wrong(steps: Steps) -> str:
    """Return what leases say otherwise than a plain dict does; empty if nothing."""
    alarm = Alarm()
    leases, plain, now = Leases(LeaseSettings(), alarm), dict[int, int](), 0
    for what, key, ms in steps:
        due, moves = leases.due(), alarm.moves
        if what <= 1:
            leases.hold(key, "me", now, now + ms)
            plain[key] = now + ms
        elif what == 2 and leases.extend(key, now + ms):
            plain[key] = now + ms
        elif what == 3:
            leases.release(key)
            plain.pop(key, None)
        elif what == 4:
            leases.forget(key)
            plain.pop(key, None)
        elif what >= 5:
            now += ms
            over = sorted((until, one) for one, until in plain.items() if until <= now)
            plain = {one: until for one, until in plain.items() if until > now}
            if [one for one, _ in leases.expired(now)] != [one for _, one in over]:
                return "what is over"
        if {one: lease.until for one, lease in leases.held.items()} != plain:
            return "what is held"
        if leases.due() != min(plain.values(), default=None):
            return "what is due"
        if leases.due() != due and alarm.moves == moves:
            return "it moved, and the alarm does not say so"
        if (inf if leases.due() is None else leases.due()) < alarm.not_before:
            return "the alarm is too late"
    return ""


@given(STEPS)
def test_leases_are_what_a_plain_dict_is(steps: Steps) -> None:
    assert leases_go_wrong(steps) == ""


def test_leases_that_do_not_say_what_is_over_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Leases._is_over

    def silent(leases: Leases, until: int) -> None:
        moves = leases._alarm.moves
        right(leases, until)
        leases._alarm.moves = moves

    monkeypatch.setattr(Leases, "_is_over", silent)
    assert leases_go_wrong([(0, 1, 5), (3, 1, 0)]) == "it moved, and the alarm does not say so"


# ---- machines: what they remember is what they would find


def of_sqs(steps: Steps) -> Iterator[tuple[SqsMachine, int]]:
    """Yield a machine after each operation, and the time."""
    machine, now, handles = SqsMachine(), 0, list[sqs.Handle]()
    aside = QueueSettings(dead_letter="aside", receives_max=2, visibility_ms=4)
    machine.apply(sqs.Configure("q", aside), 0)
    machine.apply(sqs.Configure("aside", QueueSettings(retention_ms=60_000)), 0)
    for what, one, ms in steps:
        handle = handles[one % len(handles)] if handles else None
        number = 0 if handle is None else handle.number
        if what <= 1:
            machine.apply(sqs.Send("q", "a", delay_ms=ms or None), now)
        elif what == 2:
            answer = machine.apply(sqs.Receive("q", "me", one + 1, ms or None), now)
            handles += [received.handle for received in answer]
        elif what == 3 and handle is not None:
            machine.apply(sqs.Delete("q", handle), now)
        elif what == 4 and handle is not None:
            machine.apply(sqs.ChangeVisibility("q", handle, ms), now)
        elif what == 5 and number in machine.queues["q"].records:
            machine.apply(sqs.Withhold("q", number, now + ms), now)
        elif what == 6:
            now += ms if one else 60_000
            machine.tick(now)
        yield machine, now


def of_jetstream(steps: Steps) -> Iterator[tuple[NatsMachine, int]]:
    """Yield a machine after each operation, and the time."""
    machine, now, handles = NatsMachine(), 0, list[jetstream.Handle]()
    kept = StreamSettings(subjects=("a",), age_ms_max=100, msgs_max=5)
    machine.apply(jetstream.CreateStream("S", kept), 0)
    patient = ConsumerSettings(ack_wait_ms=5, deliver_max=3)
    machine.apply(jetstream.CreateConsumer("S", "one", patient), 0)
    backoff = ConsumerSettings(backoff_ms=(2, 4), ack_pending_max=2)
    machine.apply(jetstream.CreateConsumer("S", "two", backoff), 0)
    for what, one, ms in steps:
        handle = handles[one % len(handles)] if handles else None
        if what <= 1:
            machine.apply(jetstream.Publish("a", b"a"), now)
        elif what == 2:
            fetch = jetstream.Fetch("S", ("one", "two")[ms % 2], "me", one + 1)
            handles += [fetched.handle for fetched in machine.apply(fetch, now)]
        elif what == 3 and handle is not None:
            machine.apply(jetstream.Ack(handle), now)
        elif what == 4 and handle is not None:
            machine.apply(jetstream.Nak(handle, ms), now)
        elif what == 5 and handle is not None:
            machine.apply(jetstream.InProgress(handle), now)
        elif what == 6:
            now += ms if one else 50
            machine.tick(now)
        yield machine, now


KINDS = {"SQS": of_sqs, "JetStream": of_jetstream}


def forgets_a_moment(kind: str, steps: Steps) -> bool:
    """Say whether a machine remembers another moment than it would find, or wakes too late."""
    for machine, _ in KINDS[kind](steps):
        found = machine._soonest()
        if machine.due() != found or (found is not None and found < machine.alarm.not_before):
            return True
    return False


@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS)
def test_a_machine_remembers_when_time_is_next(kind: str, steps: Steps) -> None:
    assert not forgets_a_moment(kind, steps)


SETTLED: Steps = [(0, 0, 0), (2, 0, 3), (3, 0, 0)]
"""A message that is handed out, and settled."""


def deaf(alarm: Alarm, moment_ms: int) -> None:
    """Do not take note of a moment."""


def test_a_machine_that_forgets_one_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Alarm, "at", deaf)
    assert all(forgets_a_moment(kind, SETTLED) for kind in KINDS)


# ---- answers, and facts of what was handed out


Fetches = tuple[Any, Callable[[], Any]]


@given(STEPS)
def test_an_answer_of_sqs_is_in_the_order_of_its_facts(steps: Steps) -> None:
    for machine, now in of_sqs(steps):
        machine.take()
        in_order(machine, machine.apply(sqs.Receive("q", "me", 10), now))


@given(STEPS)
def test_an_answer_of_jetstream_is_in_the_order_of_its_facts(steps: Steps) -> None:
    for machine, now in of_jetstream(steps):
        machine.take()
        in_order(machine, machine.apply(jetstream.Fetch("S", "one", "me", 10), now))


def in_order(machine: SqsMachine | NatsMachine, answer: Any) -> None:
    """See that what is answered, and what is told, are the same things in the same order."""
    assert not isinstance(answer, Refusal)
    told = [one.receipt for one in machine.take() if isinstance(one, HandedOut)]
    assert [one.handle for one in answer] == told
