"""The machine of Kafka beside running clusters: same operations, same observations.

python -m benchmarks kafka             2,000 sequences on logs and on groups, for each peer: 40 min
python -m benchmarks.kafka 200 40 7    so many of each, from another seed

On logs: producers with and without a number, repeats and gaps, transactions, fencing, offsets of
groups, what readers of either isolation see, deleted beginnings. On groups: joining, heartbeats,
leaving, commits, of members and of those who are none any more. After each operation its answer is
compared, and all that can be read. A difference is made as short as it can be by leaving out
steps. What is known of a peer is not asked of it (`kafka_peers.DEVIATIONS`), and printed.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from random import Random
from typing import Any, Final, Literal

import attrs

from benchmarks import kafka_peers
from benchmarks.kafka_groups import Members
from benchmarks.kafka_peers import DEVIATIONS, FENCED, LOG_PARTITIONS, Peer, Real
from chaosharness.machines.kafka import ClusterSettings, KafkaMachine
from chaosharness.machines.kafka import operations as op
from chaosharness.machines.machine import Refusal

SEQUENCES: Final = 2_000
OF_GROUPS: Final = 2_000
STEPS: Final = 20
TRIES: Final = 4
APART_S: Final = 1.0
NAMES: Final = count(1)
PEERS: Final[tuple[Peer, ...]] = ("mock", "noida")

Kind = Literal["logs", "groups"]
Machines = Callable[[ClusterSettings], KafkaMachine]


@attrs.frozen
class Step:
    """One operation. `number` and `other` say which log partition, producer, member or offset."""

    verb: str
    number: int = 0
    other: int = 0


VERBS: Final = (
    *("put",) * 4,
    *("number", "named", "named"),
    *("send",) * 8,
    *("again",) * 2,
    "gap",
    *("end",) * 5,
    *("offsets",) * 3,
    *("commit", "committed", "committed", "retain", "beyond", "nowhere"),
)
GROUP_VERBS: Final = (
    *("join",) * 6,
    *("heartbeat",) * 3,
    *("leave",) * 2,
    *("late heartbeat", "member commit", "member commit", "late commit", "bare commit"),
    *("committed", "fenced offsets", "stranger"),
)
TRANSACTIONAL: Final = ("named", "end", "offsets", "fenced offsets")


def steps_of(chance: Random, kind: Kind) -> tuple[Step, ...]:
    """Draw a sequence."""
    verbs = VERBS if kind == "logs" else GROUP_VERBS
    length = STEPS if kind == "logs" else STEPS // 2
    return tuple(
        Step(chance.choice(verbs), chance.randrange(8), chance.randrange(8)) for _ in range(length)
    )


# ---- one case, on both sides


class Differs(AssertionError):
    """The machine and the cluster show different things."""


class Late(Exception):
    """They do, and the cluster had lost its patience with us before: that proves nothing."""


@attrs.define(eq=False)
class Sender:
    """A numbered producer, on both sides, and how far it has counted in each log partition."""

    ours: op.Numbered
    theirs: op.Numbered
    name: str | None
    next: dict[int, int] = attrs.field(factory=dict)
    open: set[int] = attrs.field(factory=set)


class Pair:
    """Both sides of a case."""

    def __init__(self, real: Real, make: Machines, verbs: Counter[str]) -> None:
        self.real = real
        self.verbs = verbs
        number = next(NAMES)
        self.topic = f"c{number}-a"
        self.prefix = f"c{number}-"
        self.machine = make(ClusterSettings(topics={self.topic: LOG_PARTITIONS}))
        self.real.make_topic(self.topic)
        self.senders: list[Sender] = []
        self.leaves_out = kafka_peers.left_out(real.peer)
        self.members = Members(self.machine, real, f"{self.prefix}g", self.topic)
        self.written = 0

    def close(self) -> None:
        """Let go of the connections of this case."""
        self.members.close()

    # ---- asking

    def both(self, ours: Any, theirs: Any = None) -> Any:
        """Do something on both sides, and compare the answers; return the machine's."""
        expected = self.machine.apply(ours, 0)
        self.machine.take()
        seen = self.real.apply(ours if theirs is None else theirs)
        wanted = seen_of(expected)
        if not kafka_peers.told_otherwise(self.real.peer, ours, wanted, seen):
            self.compare(str(ours), wanted, seen)
        return expected

    def compare(self, what: str, expected: Any, seen: Any) -> None:
        """Raise where the two sides differ."""
        if expected != seen:
            raise Differs(f"{what}\n    machine: {expected}\n    {self.real.peer}: {seen}")

    def take(self, step: Step) -> None:
        """Do one step, where it makes sense; then compare all that can be read."""
        if step.verb in self.leaves_out:
            return
        done = getattr(self, f"_{step.verb.replace(' ', '_')}", None)
        did = self.members.take(step, self.compare) if done is None else done(step)
        if did is not False:
            self.verbs[step.verb] += 1

    def place(self, number: int) -> tuple[str, int]:
        """Return one of two log partitions, of which sequences make use."""
        return self.topic, number % 2

    def look(self) -> None:
        """Compare what readers see of the logs."""
        levels = ["read_uncommitted"]
        if "end" not in self.leaves_out:
            levels.append("read_committed")
        for number in range(2):
            place = self.place(number)
            self.both(op.Committed(f"{self.prefix}h", place))
            start = self.both(op.ListOffsets(place, "earliest"))
            for isolation in levels:
                self.both(op.ListOffsets(place, isolation=isolation))  # type: ignore[arg-type]
                self.both(op.Fetch(place, start, isolation=isolation))  # type: ignore[arg-type]

    # ---- logs

    def _record(self) -> bytes:
        self.written += 1
        return b"%d" % self.written

    def _put(self, step: Step) -> None:
        self.both(op.Produce(self.place(step.number), self._record()))

    def _number(self, step: Step) -> None:
        self._begin(None)

    def _named(self, step: Step) -> None:
        self._begin(f"{self.prefix}t{step.number % 2}")

    def _begin(self, name: str | None) -> None:
        ours = self.machine.apply(op.InitProducer(name), 0)
        theirs = self.real.apply(op.InitProducer(name))
        if isinstance(theirs, str):
            raise Differs(f"InitProducer({name!r})\n    machine: {ours}\n    peer: {theirs}")
        if name is not None and "end" not in self.leaves_out:
            self.compare(f"epoch of {name}", ours.epoch, theirs.epoch)
        self.senders.append(Sender(ours, theirs, name))

    def _of(self, step: Step) -> Sender | None:
        return self.senders[step.number % len(self.senders)] if self.senders else None

    def _send(self, step: Step) -> bool | None:
        return self._numbered(step, 0)

    def _again(self, step: Step) -> bool | None:
        return self._numbered(step, -1)

    def _gap(self, step: Step) -> bool | None:
        return self._numbered(step, 2)

    def _numbered(self, step: Step, off: int) -> bool | None:
        """Send a record of a numbered producer: the next, an old one again, or one too far.

        In a transaction the log partition is added first, so that a record which is refused would
        leave a mark behind: there only what goes well is sent, and only what is open is repeated.
        """
        sender, index = self._of(step), step.other % 2
        if sender is None:
            return False
        sequence = sender.next.get(index, 0) + off
        named = sender.name is not None
        if sequence < 0 or (named and (off > 0 or (off < 0 and index not in sender.open))):
            return False
        first = off > 0 and index not in sender.next
        if first and "first gap" in self.leaves_out:
            return False
        if off < 0 and named and sender.next[index] == 0:
            return False
        ours = op.Produce(
            self.place(index), self._record(), sender.ours, sequence, transactional=named
        )
        answer = self.both(ours, attrs.evolve(ours, producer=sender.theirs))
        if isinstance(answer, op.Appended) and not off:
            sender.next[index] = sequence + 1
            if named:
                sender.open.add(index)
        return None

    def _end(self, step: Step) -> bool | None:
        sender = self._of(step)
        if sender is None or sender.name is None:
            return False
        commit = step.other % 3 > 0
        answer = self.both(
            op.EndTransaction(sender.ours, commit), op.EndTransaction(sender.theirs, commit)
        )
        if answer is None:
            sender.open.clear()
        return None

    def _offsets(self, step: Step) -> bool | None:
        sender = self._of(step)
        if sender is None or sender.name is None:
            return False
        offsets = {self.place(step.other): step.other}
        ours = op.SendOffsets(sender.ours, f"{self.prefix}h", offsets)
        self.both(ours, attrs.evolve(ours, producer=sender.theirs))
        return None

    def _commit(self, step: Step) -> None:
        self.both(op.Commit(f"{self.prefix}h", {self.place(step.number): step.other}))

    def _committed(self, step: Step) -> None:
        self.both(op.Committed(f"{self.prefix}{'gh'[step.other % 2]}", self.place(step.number)))

    def _retain(self, step: Step) -> None:
        place = self.place(step.number)
        log = self.machine.log(place)
        offset = min(step.other, log.stable)
        if "retain amid a transaction" in self.leaves_out and log.marks.writers:
            offset = min(offset, *log.marks.writers)
        self.both(op.DeleteBefore(place, offset))

    def _beyond(self, step: Step) -> None:
        place = self.place(step.number)
        log = self.machine.log(place)
        for offset in (log.end, log.end + 1, log.start - 1):
            if offset >= 0:
                self.both(op.Fetch(place, offset))

    def _nowhere(self, step: Step) -> None:
        nowhere = ((f"{self.prefix}x", 0), (self.topic, LOG_PARTITIONS))[step.number % 2]
        operations = [
            op.Produce(nowhere, b"x"),
            op.Fetch(nowhere, 0),
            op.ListOffsets(nowhere),
            op.Commit(f"{self.prefix}h", {nowhere: 1}),
        ]
        self.both(operations[step.other % 4])

    def _fenced_offsets(self, step: Step) -> bool | None:
        """Send offsets with a transaction, as a member of a generation that may be over."""
        sender = self._of(step)
        found = self.members.standing(step)
        if sender is None or sender.name is None or found is None:
            return False
        name, id, of_ours, of_theirs = found
        offsets = {self.place(step.other): step.other}
        ours = op.SendOffsets(sender.ours, self.members.group, offsets, name, of_ours)
        theirs = op.SendOffsets(sender.theirs, self.members.group, offsets, id, of_theirs)
        self.both(ours, theirs)
        return None


def seen_of(answer: Any) -> Any:
    """Return what a client sees of an answer of the machine."""
    if isinstance(answer, Refusal):
        return "FENCED" if answer.code in FENCED else answer.code
    if isinstance(answer, op.Appended):
        return answer.offset
    if isinstance(answer, op.Fetched):
        return [*answer.records]
    return answer


# ---- many cases


def difference(real: Real, make: Machines, steps: tuple[Step, ...], verbs: Counter[str]) -> str:
    """Return how the two sides differ after these steps, in words; empty where they do not.

    Raises:
        Late: They differ, each time that was tried, after the cluster had given somebody up
            because this computer had no time for us.
    """
    for _ in range(TRIES):
        with suppress(Late):
            return _difference(real, make, steps, verbs)
    raise Late


def _difference(real: Real, make: Machines, steps: tuple[Step, ...], verbs: Counter[str]) -> str:
    with pair_of(real, make, verbs) as pair:
        try:
            for step in steps:
                pair.take(step)
                if real.peer != "mock":  # it hands out one record at a time, so it is asked once
                    pair.look()
            pair.look()
        except Differs as differs:
            pair.members.look_at_the_time()
            if pair.members.late:
                raise Late from differs
            return str(differs)
    return ""


@contextmanager
def pair_of(real: Real, make: Machines, verbs: Counter[str]) -> Iterator[Pair]:
    """Have both sides of a case, as long as this lasts."""
    pair = Pair(real, make, verbs)
    try:
        yield pair
    finally:
        pair.close()


def lasts(real: Real, make: Machines, steps: tuple[Step, ...]) -> bool:
    """Say whether a difference is there each time, moments apart."""
    for number in range(TRIES):
        time.sleep(number * APART_S)
        if not _in_time(real, make, steps):
            return False
    return True


def _in_time(real: Real, make: Machines, steps: tuple[Step, ...]) -> str:
    """Return a difference that is there in time; empty where there is none."""
    with suppress(Late):
        return difference(real, make, steps, Counter())
    return ""


def shortest(real: Real, make: Machines, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the steps of a difference without those that it does not need."""
    at = len(steps)
    while at:
        at -= 1
        fewer = (*steps[:at], *steps[at + 1 :])
        if _in_time(real, make, fewer):
            steps = fewer
    return steps


@attrs.define
class Result:
    """What came of a comparison; `late` are sequences that the computer was too busy for."""

    sequences: int = 0
    operations: int = 0
    late: int = 0
    once: list[str] = attrs.field(factory=list)
    verbs: Counter[str] = attrs.field(factory=Counter)
    differences: list[str] = attrs.field(factory=list)


def compared(
    port: int,
    peer: Peer,
    sequences: int,
    kind: Kind,
    *,
    seed: int = 1,
    make: Machines = KafkaMachine,
    stop_at: int = 1,
    shrinking: bool = True,
) -> Result:
    """Compare so many sequences; of the first that differ say how, as short as can be."""
    result = Result()
    real = Real(port, peer)
    chance = Random(f"{seed} {peer} {kind}")
    try:
        for _ in range(sequences):
            steps = steps_of(chance, kind)
            try:
                words = difference(real, make, steps, result.verbs)
            except Late:
                result.late += 1
                continue
            result.sequences += 1
            if words and not lasts(real, make, steps):
                result.once.append(words)  # a busy machine: an answer came late
            elif words:
                if shrinking:
                    steps = shortest(real, make, steps)
                    words = _in_time(real, make, steps) or words
                result.differences.append(f"{words}\n  after {[*map(str, steps)]}")
                if len(result.differences) >= stop_at:
                    break
    finally:
        real.close()
    result.operations = result.verbs.total()
    return result


def main(sequences: int = SEQUENCES, groups: int = OF_GROUPS, seed: int = 1) -> None:
    """Compare, and print what came of it."""
    for peer in PEERS:
        lacks = kafka_peers.missing(peer)
        if lacks is not None:
            print(f"{peer}: not compared: {lacks}")
            continue
        for one in DEVIATIONS:
            if one.peer == peer:
                print(f"{peer} is known for: {one.what} ({one.source})")
        with kafka_peers.running(peer) as port:
            for kind, number in (("logs", sequences), ("groups", groups)):
                began = time.monotonic()
                result = compared(port, peer, number, kind, seed=seed)  # type: ignore[arg-type]
                took = time.monotonic() - began
                print(
                    f"{peer}, {kind}: {result.sequences:,} sequences, {result.operations:,} "
                    f"operations, {len(result.differences)} differ, {len(result.once)} "
                    f"differed once and not again, {result.late} left out: too slow here, "
                    f"{took:.0f} s"
                )
                for text in result.differences:
                    print(text)
                for text in result.once:
                    print(f"once: {text}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
