"""The Redis machine beside a running redis-server: the same operations, the same answers.

By default some hundred fixed sequences, in a few seconds. For more, and other ones each time:
CHAOSHARNESS_CONFORMANCE=2000 pytest tests/machines/test_redis_conformance.py -k answers
"""

import os
from contextlib import suppress

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chaosharness.machines.redis import RedisMachine, ids, looking
from chaosharness.machines.redis import machine as machine_room
from chaosharness.machines.redis import operations as op
from chaosharness.machines.redis.stream import Stream
from tests.machines.redis_sides import ABSENT, SERVER, STEP_MS, Model, Real, redis, server

pytestmark = pytest.mark.real_broker

EXAMPLES = int(os.environ.get("CHAOSHARNESS_CONFORMANCE", "0"))
STREAM = "orders"
GROUPS = ("left", "right")
HALF_MS = STEP_MS // 2
LOOKS = (
    op.Length(STREAM),
    op.Range(STREAM),
    op.Streams(STREAM),
    op.Groups(STREAM),
    *(op.PendingSummary(STREAM, group) for group in GROUPS),
    *(op.PendingRange(STREAM, group, 100) for group in GROUPS),
)

some = st.sampled_from
group = some(GROUPS)
consumer = some(["ann", "bob"])
KNOWN = [f"1-{number}" for number in range(8)]
one_id = some([*KNOWN, "1", "0", "2-1"])
any_id = some([*KNOWN, *KNOWN, "2-0", "2-1", "3", "x-1"])
several = st.lists(any_id, min_size=1, max_size=4).map(tuple)
count = st.none() | st.integers(1, 4)
idle_ms = st.integers(0, 4).map(lambda step: step * STEP_MS)
min_idle_ms = st.just(0) | st.integers(0, 3).map(lambda step: step * STEP_MS + HALF_MS)
cuts = st.builds(
    op.Cut,
    st.just("MAXLEN"),
    st.integers(-1, 8),
    st.booleans(),
    st.none() | st.integers(0, 6),
) | st.builds(op.Cut, st.just("MINID"), one_id, st.booleans(), st.none() | st.integers(0, 6))
bound = some([*KNOWN, "1", "0", "(1-1", "(1-3", "(1", "(0", "x", "(x", "(+"])
low = st.just("-") | st.just("+") | bound
high = st.just("+") | st.just("-") | bound
reads = some([None] * 4 + [-2, -1, 0, 3])
new_id = some(["1-*", "1-*", "1-*", "1-4", "2-*", "2-1", "0-0", "0", "3", "bad", "1-0"])

ADD = st.builds(
    op.Add,
    st.just(STREAM),
    st.integers(0, 9).map(str),
    st.just("1-*"),
)
ADD_ODDLY = st.builds(
    op.Add, st.just(STREAM), st.just("a"), new_id, st.none() | cuts, st.booleans()
)
READ = st.builds(
    op.ReadGroup, st.just(STREAM), group, consumer, st.just(">"), count, some([False] * 5 + [True])
)
READ_AGAIN = st.builds(
    op.ReadGroup,
    st.just(STREAM),
    group,
    consumer,
    some(["0", "0", "0", "1-2", "3", "$", "x"]),
    count,
)
ACK = st.builds(op.Ack, st.just(STREAM), group, several)
CLAIM = st.builds(
    op.Claim,
    st.just(STREAM),
    group,
    consumer,
    min_idle_ms,
    st.lists(one_id, min_size=1, max_size=4).map(tuple),  # what is no id is read as an option
    st.none() | idle_ms,
    st.none() | st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    last=some([None] * 6 + ["1-3", "2-0"]),
)
AUTO_CLAIM = st.builds(
    op.AutoClaim,
    st.just(STREAM),
    group,
    consumer,
    min_idle_ms,
    some(["0-0", "0", "1-1", "1-3", "x"]),
    st.integers(0, 3),
    st.booleans(),
)
DELETE = st.builds(op.Delete, st.just(STREAM), several)
TRIM = st.builds(op.Trim, st.just(STREAM), cuts)
RARE = (
    ADD_ODDLY
    | st.just(op.DeleteStream(STREAM))
    | st.builds(
        op.CreateGroup, st.just(STREAM), group, some(["$", "0", "1-2", "x"]), st.booleans(), reads
    )
    | st.builds(op.SetId, st.just(STREAM), group, some(["$", "0", "1-2", "x"]), reads)
    | st.builds(op.DestroyGroup, st.just(STREAM), group)
    | st.builds(op.CreateConsumer, st.just(STREAM), group, consumer)
    | st.builds(op.DeleteConsumer, st.just(STREAM), group, consumer)
    | st.builds(
        op.PendingRange,
        st.just(STREAM),
        group,
        st.integers(1, 3),
        st.none() | consumer,
        min_idle_ms,
        low,
        high,
    )
    | st.builds(op.Range, st.just(STREAM), low, high, count, st.booleans())
    | st.builds(op.Read, st.just(STREAM), some([*KNOWN, "$", "0", "x"]), count)
    | st.builds(op.Streams, st.just(STREAM), st.just(True), st.integers(-1, 3))
    | st.builds(op.Consumers, st.just(STREAM), some([*GROUPS, "nobody"]))
)
OFTEN = (*[ADD] * 5, *[READ] * 5, *[READ_AGAIN] * 3, ACK, ACK, CLAIM, CLAIM, CLAIM)
STEPS = st.lists(
    some((*OFTEN, *[AUTO_CLAIM] * 3, DELETE, DELETE, TRIM, RARE, RARE)).flatmap(lambda one: one),
    min_size=15,
    max_size=40,
)
BEGINNINGS = [op.CreateGroup(STREAM, name, "0", make=True) for name in GROUPS]


class Differs(AssertionError):
    """The machine and the real Redis answer different things."""


def difference(client, steps):
    """Return what differs after these steps, in words, or None."""
    steps = [*BEGINNINGS, *steps]
    asked = [one for step in steps for one in (step, *LOOKS)]
    expected, seen = Model().do_all(asked), Real(client).do_all(asked)
    for at, (one, ours, theirs) in enumerate(zip(asked, expected, seen, strict=True)):
        if ours != theirs:
            words = "\n  ".join(str(step) for step in steps[: at // (len(LOOKS) + 1) + 1])
            return f"{one}: the machine says {ours}, Redis {theirs}, after\n  {words}"
    return None


def shortest(client, steps):
    """Return the steps of a difference without those that it does not need."""
    at = len(steps)
    while at:
        at -= 1
        fewer = [*steps[:at], *steps[at + 1 :]]
        if difference(client, fewer) is not None:
            steps = fewer
    return steps


def compared(client, examples):
    """Compare many sequences; return the shortest steps of the first difference, or None."""
    found = []

    @settings(
        max_examples=examples,
        derandomize=not EXAMPLES,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def run(steps):
        if difference(client, steps) is not None:
            found.append(steps)
            raise Differs

    with suppress(Differs):
        run()
    return shortest(client, found[0]) if found else None


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    if SERVER is None or redis is None:
        pytest.skip(ABSENT)
    with server(tmp_path_factory.mktemp("redis")) as found:
        yield found


def test_the_machine_answers_as_redis_does(client):
    steps = compared(client, EXAMPLES or 60)
    assert steps is None, difference(client, steps)


# ---- the test of the test: wrong machines must be told apart


def counts_deleted(machine, operation, group, start, now):
    found = read_again(machine, operation, group, start, now)
    for entry in found:
        if entry.fields is None:
            group.pending[entry.id].times += 1
    return found


def forgets_to_count(machine, operation, group, start, now):
    found = read_again(machine, operation, group, start, now)
    for entry in found:
        group.pending[entry.id].times -= entry.fields is not None
    return found


def keeps_its_idle_time(machine, operation, group, start, now):
    before = {one.id: one.since_ms for one in group.pending.values()}
    found = read_again(machine, operation, group, start, now)
    for entry in found:
        group.pending[entry.id].since_ms = before[entry.id]
    return found


def only_its_own(machine, operation, now):
    group = machine._group(operation.stream, operation.group)
    mine = () if group is None else {ids.text(one.id) for one in group.of("ann")}
    acked = tuple(one for one in operation.ids if one in mine)
    return acknowledge(machine, op.Ack(operation.stream, operation.group, acked), now)


def keeps_what_was_pending(machine, operation, now):
    group = machine._group(operation.stream, operation.group)
    before = {} if group is None else dict(group.pending)
    found = delete_consumer(machine, operation, now)
    if group is not None:
        group.pending.update(before)
    return found


def is_never_idle_enough(machine, operation, now):
    return claim(machine, attrs.evolve(operation, min_idle_ms=operation.min_idle_ms + 1), now)


def always_counts(machine, operation, now):
    return auto_claim(machine, attrs.evolve(operation, just_id=False), now)


def deleted_are_free(machine, operation, now):
    more = operation.count + 1 if operation.count else 0
    return auto_claim(machine, attrs.evolve(operation, count=more), now)


def trims_exactly(stream, *, length, first, about, limit):
    return trim(stream, length=length, first=first, about=False, limit=0)


def trims_pending(machine, operation, now):
    gone = delete(machine, operation, now)
    stream = machine.streams.get(operation.stream)
    for group in stream.groups.values() if stream else ():
        for one in [one for one in group.pending if stream.get(one) is None]:
            del group.pending[one]
    return gone


def always_creates(machine, operation, now):
    group = machine._group(operation.stream, operation.group)
    if group is not None:
        group.seen(operation.consumer, now)
    return read_group(machine, operation, now)


def goes_on_as_it_was(machine, operation, now):
    group = machine._group(operation.stream, operation.group)
    before = None if group is None else group.last
    found = set_id(machine, operation, now)
    if group is not None and before is not None:
        group.last = max(before, group.last)
    return found


def pending_for_all(machine, operation, now):
    return read_group(machine, attrs.evolve(operation, no_ack=False), now)


def leaves_a_hole(stream, node, one):
    stream.deleted = max(stream.deleted, one)
    return drop(stream, node, one)


def claims_alone(machine, operation, now):
    return claim(machine, attrs.evolve(operation, last=None), now)


drop = Stream._drop
read_again = RedisMachine._read_again
acknowledge = RedisMachine._ack
delete_consumer = RedisMachine._delete_consumer
claim = RedisMachine._claim
auto_claim = RedisMachine._auto_claim
delete = RedisMachine._delete
read_group = RedisMachine._read_group
set_id = RedisMachine._set_id
trim = Stream.trim
DO = machine_room.DO

WRONG = {
    "reading again counts what was deleted": (RedisMachine, "_read_again", counts_deleted),
    "reading again counts nothing": (RedisMachine, "_read_again", forgets_to_count),
    "XACK for one consumer only": (DO, op.Ack, only_its_own),
    "XCLAIM: idle for longer than asked": (DO, op.Claim, is_never_idle_enough),
    "XAUTOCLAIM: JUSTID counts": (DO, op.AutoClaim, always_counts),
    "XAUTOCLAIM: COUNT off by one": (DO, op.AutoClaim, deleted_are_free),
    "XDEL takes what is pending": (DO, op.Delete, trims_pending),
    "who reads nothing is a consumer": (DO, op.ReadGroup, always_creates),
    "NOACK is ignored": (DO, op.ReadGroup, pending_for_all),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_machine_is_told_apart(client, monkeypatch, name):
    owner, where, wrong = WRONG[name]
    if owner is DO:
        monkeypatch.setitem(owner, where, wrong)
    else:
        monkeypatch.setattr(owner, where, wrong)
    steps = compared(client, 300)
    assert steps is not None
    assert len(steps) <= 15


ADDED = op.Add(STREAM, "a", "1-*")
ANN = op.ReadGroup(STREAM, "left", "ann")
DELETED = [ADDED, ADDED, ANN, ADDED, op.Delete(STREAM, ("1-1",))]
RARELY_SEEN = {
    "DELCONSUMER keeps its pending entries": (
        (DO, op.DeleteConsumer, keeps_what_was_pending),
        [ADDED, ANN, op.DeleteConsumer(STREAM, "left", "ann")],
    ),
    "a lag that knows of no holes": (
        (Stream, "has_hole_behind", lambda stream, one: False),
        [*DELETED, op.SetId(STREAM, "left", "1-1", 1)],
    ),
    "a lag that is never counted anew": (
        (Stream, "counted", lambda stream, one: None),
        [ADDED, ANN],
    ),
    "what is trimmed is a hole": (
        (Stream, "_drop", leaves_a_hole),
        [ADDED, ADDED, ANN, ADDED, op.Trim(STREAM, op.Cut("MAXLEN", 1))],
    ),
    "the tree has a node for each key": (
        (looking, "_nodes", len),
        [*[ADDED] * 4],
    ),
    "LASTID is ignored": (
        (DO, op.Claim, claims_alone),
        [ADDED, ADDED, op.Claim(STREAM, "left", "ann", 0, ("1-0",), last="1-1")],
    ),
    "SETID never goes back": (
        (DO, op.SetId, goes_on_as_it_was),
        [ADDED, ANN, op.SetId(STREAM, "left", "0"), ANN],
    ),
    "reading again leaves the idle time": (
        (RedisMachine, "_read_again", keeps_its_idle_time),
        [
            ADDED,
            ANN,
            op.Claim(STREAM, "left", "ann", 0, ("1-0",), 2 * STEP_MS),
            op.ReadGroup(STREAM, "left", "ann", "0"),
        ],
    ),
    "trimming about is exact": (
        (Stream, "trim", trims_exactly),
        [*[ADDED] * 7, op.Trim(STREAM, op.Cut("MAXLEN", 2, True))],
    ),
    "scans without end": (
        (machine_room, "SCANNED", 1_000),
        [
            *[ADDED] * 30,
            ANN,
            op.Claim(STREAM, "left", "ann", 0, ("1-25",), STEP_MS),
            op.AutoClaim(STREAM, "left", "bob", HALF_MS, "0", 2),
            op.AutoClaim(STREAM, "left", "bob", HALF_MS, "0", 3),
        ],
    ),
}


@pytest.mark.parametrize("name", RARELY_SEEN)
def test_a_rule_that_is_rarely_seen(client, monkeypatch, name):
    (owner, where, wrong), steps = RARELY_SEEN[name]
    assert difference(client, steps) is None
    if owner is DO:
        monkeypatch.setitem(owner, where, wrong)
    else:
        monkeypatch.setattr(owner, where, wrong)
    assert difference(client, steps) is not None
