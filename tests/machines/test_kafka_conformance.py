"""The machine of Kafka beside clusters that run: librdkafka's mock, and a broker from a wheel.

By default some sequences, in a few seconds. All of them: python -m benchmarks kafka
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks import kafka as comparison
from benchmarks import kafka_peers
from benchmarks.kafka_connection import Connection
from benchmarks.kafka_groups import Members
from benchmarks.kafka_peers import Peer, packed, subscription
from chaosharness.machines.kafka import KafkaMachine, refusals
from chaosharness.machines.kafka import machine as machine_room
from chaosharness.machines.kafka import operations as op
from chaosharness.machines.kafka.group import Group
from chaosharness.machines.kafka.log import Log
from chaosharness.machines.kafka.transactions import Transactions

pytestmark = pytest.mark.real_broker

LOGS = 60
GROUPS = {"mock": 3, "noida": 12}
FIXED = 200
"""Sequences in which a wrong machine is told apart."""


def port_of(peer: Peer) -> Iterator[int]:
    lacks = kafka_peers.missing(peer)
    if lacks is not None:
        pytest.skip(f"Kafka is not compared with {peer}: {lacks}")
    with kafka_peers.running(peer) as found:
        yield found


@pytest.fixture(scope="module")
def mock() -> Iterator[int]:
    yield from port_of("mock")


@pytest.fixture(scope="module")
def noida() -> Iterator[int]:
    yield from port_of("noida")


@pytest.fixture(params=["mock", "noida"])
def peer(request: pytest.FixtureRequest) -> tuple[Peer, int]:
    return request.param, request.getfixturevalue(request.param)


def test_what_is_missing_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kafka_peers, "missing", lambda peer: "it is not installed")
    comparison.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{one}: not compared: it is not installed" for one in comparison.PEERS]


def test_both_show_the_same_of_logs(peer: tuple[Peer, int]) -> None:
    name, port = peer
    result = comparison.compared(port, name, LOGS, "logs", seed=3)
    assert not result.differences, result.differences[0]
    assert result.sequences == LOGS
    asked = {*comparison.VERBS} - kafka_peers.left_out(name)
    assert asked <= {*result.verbs}


def test_both_show_the_same_of_groups(peer: tuple[Peer, int]) -> None:
    name, port = peer
    result = comparison.compared(port, name, GROUPS[name], "groups", seed=3)
    assert not result.differences, result.differences[0]
    assert {"join", "heartbeat", "leave"} <= {*result.verbs}


def test_a_round_that_the_mock_ended_because_we_were_slow_is_no_difference(
    mock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def takes_long(members: Members, step: Any, compare: Any) -> None:
        time.sleep(0.6)  # the mock ends a round after half a second

    monkeypatch.setattr(Members, "_heartbeat", takes_long)
    in_a_round = [comparison.Step(*one) for one in (("join", 0), ("join", 1), ("heartbeat",))]
    result = comparison.Result()
    real = kafka_peers.Real(mock, "mock")
    try:
        with pytest.raises(comparison.Late):
            comparison.difference(real, KafkaMachine, (*in_a_round,), result.verbs)
        monkeypatch.undo()
        assert not comparison.difference(real, KafkaMachine, (*in_a_round,), result.verbs)
    finally:
        real.close()


def test_each_deviation_of_a_peer_says_where_it_is_known_from() -> None:
    for one in kafka_peers.DEVIATIONS:
        assert one.what and one.source and one.peer in comparison.PEERS
    verbs = {*comparison.VERBS, *comparison.GROUP_VERBS}
    more = {
        *("first gap", "gone", "follower joins again", "commit in a round"),
        *("stranger leaves", "stranger commits", "retain amid a transaction"),
    }
    for name in comparison.PEERS:
        assert kafka_peers.left_out(name) <= verbs | more


# ---- the test of the test: wrong machines are told apart

next_of = Log.next
check_number = Log.check
check_producer = Transactions.check
end_all = Transactions._end
send_offsets = KafkaMachine._send_offsets
fetch = KafkaMachine._fetch
commit = KafkaMachine._commit
leave = KafkaMachine._leave
heartbeat = KafkaMachine._heartbeat
retain = KafkaMachine._delete_before


def shows_aborted(log: Log, offset: int, *, committed_only: bool = False) -> int | None:
    end = log.stable if committed_only else log.end
    at = next_of(log, offset)
    return at if at is not None and at < end else None


def shows_undecided(log: Log, offset: int, *, committed_only: bool = False) -> int | None:
    at = next_of(log, offset)
    while at is not None and committed_only and at in log.marks.aborted:
        at = next_of(log, at + 1)
    return at


def marks_nothing(log: Log, producer: int, *, commit: bool) -> None:
    first = log.marks.open.pop(producer, None)
    if first is not None and not commit:
        writers = log.marks.writers
        log.marks.aborted |= {at for at, whose in writers.items() if whose == producer}


def forgets_numbers(log: Log, producer: int, epoch: int, sequence: int) -> Any:
    found = check_number(log, producer, epoch, sequence)
    return None if isinstance(found, int) else found


def takes_gaps(log: Log, producer: int, epoch: int, sequence: int) -> Any:
    found = check_number(log, producer, epoch, sequence)
    return None if found is refusals.OUT_OF_ORDER else found


def fences_nobody(transactions: Transactions, number: int, epoch: int) -> Any:
    return transactions.by_number.get(number) or check_producer(transactions, number, epoch)


def keeps_offsets(transactions: Transactions, producer: Any, *, commit: bool) -> None:
    groups = [transactions._group(name) for name in producer.groups]
    for group in groups:
        group.committed.update(group.pending.get(producer.number, {}))
    end_all(transactions, producer, commit=commit)


def counts_at_once(machine: KafkaMachine, operation: op.SendOffsets, now: int) -> Any:
    answer = send_offsets(machine, operation, now)
    if answer is None:
        group = machine.group(operation.group)
        group.committed.update(group.pending.pop(operation.producer.number))
    return answer


def reads_on(machine: KafkaMachine, operation: op.Fetch, now: int) -> Any:
    answer = fetch(machine, operation, now)
    return op.Fetched((), operation.offset) if answer is refusals.OUT_OF_RANGE else answer


def only_forward(machine: KafkaMachine, operation: op.Commit, now: int) -> Any:
    group = machine.group(operation.group)
    before = dict(group.committed)
    answer = commit(machine, operation, now)
    for place, offset in before.items():
        group.committed[place] = max(offset, group.committed[place])
    return answer


def deletes_nothing(machine: KafkaMachine, operation: op.DeleteBefore, now: int) -> None:
    """Take no note of it."""


def stays(machine: KafkaMachine, operation: op.Leave, now: int) -> Any:
    known = operation.member in machine.group(operation.group).members
    return None if known else leave(machine, operation, now)


def hears_no_round(machine: KafkaMachine, operation: op.Heartbeat, now: int) -> Any:
    answer = heartbeat(machine, operation, now)
    return None if answer is refusals.REBALANCING else answer


def takes_any_generation(group: Group, id: str, generation: int) -> Any:
    return None if id in group.members else refusals.NO_MEMBER


def ends_at_once(group: Group, now: int) -> bool:
    return False


WRONG: dict[str, tuple[str, Any, Any, Callable[..., Any]]] = {
    "readers of what is committed see what was aborted": ("logs", Log, "next", shows_aborted),
    "readers of what is committed see what is undecided": ("logs", Log, "next", shows_undecided),
    "a mark takes no offset": ("logs", Log, "mark", marks_nothing),
    "a repeat is stored again": ("logs", Log, "check", forgets_numbers),
    "a gap is taken": ("logs", Log, "check", takes_gaps),
    "nobody is fenced": ("logs", Transactions, "check", fences_nobody),
    "offsets of what is aborted count": ("logs", Transactions, "_end", keeps_offsets),
    "offsets count before the end": ("logs", None, op.SendOffsets, counts_at_once),
    "beyond the end there is nothing": ("logs", None, op.Fetch, reads_on),
    "commits go forward only": ("logs", None, op.Commit, only_forward),
    "nothing is deleted": ("logs", None, op.DeleteBefore, deletes_nothing),
    "who leaves stays": ("groups", None, op.Leave, stays),
    "a heartbeat hears of no round": ("groups", None, op.Heartbeat, hears_no_round),
    "any generation commits": ("groups", Group, "_refuse", takes_any_generation),
    "a round waits for nobody": ("groups", Group, "waits_for", ends_at_once),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_machine_is_told_apart(
    noida: int, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind, owner, where, wrong = WRONG[name]
    monkeypatch.setattr(comparison, "TRIES", 1)  # it differs each time: a peer waits long for some
    if owner is None:
        monkeypatch.setitem(machine_room.DO, where, wrong)
    else:
        monkeypatch.setattr(owner, where, wrong)
    result = comparison.compared(
        noida,
        "noida",
        FIXED,
        kind,  # type: ignore[arg-type]
        seed=5,
        shrinking=False,
    )
    assert result.differences


def test_the_mock_refuses_a_member_that_comes_after_its_leader(mock: int) -> None:
    """What differed once on a busy machine: with the requests in this order it always does."""
    from kafka.protocol.consumer import JoinGroupRequest, SyncGroupRequest

    join, sync = JoinGroupRequest[3], SyncGroupRequest[1]
    wish = join.JoinGroupRequestProtocol(name="range", metadata=subscription(("late",)))
    asked = {
        "group_id": "late",
        "session_timeout_ms": 6_000,
        "rebalance_timeout_ms": 20_000,
        "protocol_type": "consumer",
        "protocols": [wish],
    }
    leader, follower = (Connection(mock) for _ in range(2))
    first = leader.ask(join(member_id="", **asked))
    follower.send(join(member_id="", **asked))
    follower.wait_until_read()
    leads = leader.ask(join(member_id=first.member_id, **asked))
    follows = follower.receive()
    assert leads.leader == first.member_id != follows.member_id
    shares = [
        sync.SyncGroupRequestAssignment(member_id=one.member_id, assignment=packed(()))
        for one in (leads, follows)
    ]
    codes = []
    for connection, member, given in ((leader, leads, shares), (follower, follows, [])):
        request = sync(
            group_id="late",
            generation_id=member.generation_id,
            member_id=member.member_id,
            assignments=given,
        )
        codes.append(kafka_peers.code_of(connection.ask(request).error_code))
        connection.close()
    assert codes == ["", "INVALID_REQUEST"]
