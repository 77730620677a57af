"""The machine of JetStream beside the running nats-server: same operations, same observations.

python -m benchmarks nats             2,000 sequences without waiting, 600 in which time passes
python -m benchmarks.nats 200 40 7    so many of each, from another seed

After each operation its answer is compared, and the state of the stream and of each consumer as
their `INFO` tells it: sequences, floors, what is pending, what was handed out again. A difference
is made as short as it can be by leaving out steps. Time passes in steps that are longer than all
waits are apart, so that a busy machine changes nothing; a sequence in which something was due just
as it was asked for is left out, and counted. What differs where time passes is seen twice, or it
was a late timer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from random import Random
from typing import Any, Final, Literal

import attrs

from benchmarks import nats_server
from benchmarks.nats_server import Real
from chaosharness.machines.machine import Refusal
from chaosharness.machines.nats import ConsumerSettings, NatsMachine, StreamSettings
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats.machine import DEATHS

SEQUENCES: Final = 2_000
TIMED: Final = 600
AT_A_TIME: Final = 8
TIMED_AT_A_TIME: Final = 40
STEPS: Final = 24
TIMED_STEPS: Final = 10
SETTLE_S: Final = 0.5
MARGIN_MS: Final = 60
AGE_LATE_MS: Final = 300
"""What is too old goes up to so much later: the server looks now and then."""
TOGETHER_MS: Final = 25
APART_S: Final = 0.002
WAITS_MS: Final = (400, 700)
PASSES_MS: Final = (550, 1_000)
"""Between the two waits, and past both."""
NAMES: Final = count(1)
WORDS: Final = ("a", "b.x", "b.y")

Kind = Literal["untimed", "timed"]
Machines = Callable[[], NatsMachine]


@attrs.frozen
class Step:
    """One operation. `number` is which subject, id, delivery or consumer, as far as there are."""

    verb: str
    number: int = 0
    other: int = 0


@attrs.frozen
class Case:
    """A stream, its consumers, and what is done to them.

    Attributes:
        late: A consumer that comes later, and what one that is there is asked to become.
        other: What the stream is asked to become.
    """

    stream: StreamSettings
    consumers: tuple[ConsumerSettings, ...]
    steps: tuple[Step, ...]
    late: ConsumerSettings
    other: StreamSettings

    def __str__(self) -> str:
        lines = [f"  {self.stream}", *(f"  {one}" for one in self.consumers)]
        if any(step.verb in ("join", "change") for step in self.steps):
            lines.append(f"  later: {self.late}")
        if any(step.verb in ("recreate", "update") for step in self.steps):
            lines.append(f"  becomes: {self.other}")
        return "\n".join([*lines, *(f"  {step}" for step in self.steps)])


HANDLING: Final = (
    *("publish",) * 6,
    *("fetch",) * 6,
    *("ack",) * 4,
    *("nak",) * 3,
    *("term", "progress", "join", "leave", "get", "again"),
)
VERBS: Final = HANDLING
ADMINISTERING: Final = ("change", "update", "purge", "delete", "recreate")
TIMED_VERBS: Final = (
    *("publish",) * 3,
    *("fetch",) * 5,
    *("ack", "nak", "delay", "term"),
    *("progress",) * 3,
    *("pass",) * 5,
)
PLAINLY: Final = 8
"""What a message is published with that has no id, and expects nothing."""
BEGINNING: Final = (
    *(Step("publish", number, PLAINLY) for number in (0, 1, 0)),
    Step("fetch", 0, 2),
)
"""Without messages in hands there is nothing to settle, and nothing that time could change."""
AGAIN: Final = (Step("pass", 0), Step("fetch", 0, 2)) * 2
"""What is handed out a second time is held for the second wait of a backoff."""


def case_of(chance: Random, kind: Kind) -> Case:
    """Draw a case."""
    timed = kind == "timed"
    retention = chance.choice(("limits", "limits", "interest", "workqueue"))
    stream = stream_of(chance, retention, timed)
    several = chance.choice((1, 1, 2))
    consumers = [consumer_of(chance, stream, timed, several) for _ in range(several)]
    verbs = TIMED_VERBS if timed else VERBS
    steps = tuple(
        Step(chance.choice(verbs), chance.randrange(8), chance.randrange(8))
        for _ in range(TIMED_STEPS if timed else STEPS)
    )
    late = consumer_of(chance, stream, timed, 2)
    if timed:
        again = consumers[0].backoff_ms and chance.random() < 0.5
        steps = (BEGINNING + AGAIN if again else BEGINNING) + steps
        return Case(stream, tuple(consumers), steps, late, stream)
    if chance.random() < 0.5:
        steps = BEGINNING + steps
    case = Case(stream, tuple(consumers), steps, late, stream)
    return case if chance.random() < 0.6 else administered(case, chance)


def administered(case: Case, chance: Random) -> Case:
    """Return a case in which streams and consumers are changed too, and have limits in bytes."""
    before = case.stream
    if "last_per_subject" in [one.deliver for one in (*case.consumers, case.late)]:
        return case  # what goes by a limit before it was handed out, 2.15.1 counts wrongly there
    kept: Any = before.retention if chance.random() < 0.9 else "workqueue"
    other = stream_of(chance, kept, timed=False)
    if {before.retention, kept} == {"limits", "interest"}:
        other = attrs.evolve(other, retention=before.retention)
    steps = [*case.steps]
    for _ in range(5):
        step = Step(chance.choice(ADMINISTERING), chance.randrange(8), chance.randrange(8))
        steps.insert(chance.randrange(len(steps) + 1), step)
    return attrs.evolve(
        case,
        stream=with_bytes(chance, before),
        steps=tuple(steps),
        other=with_bytes(chance, attrs.evolve(other, age_ms_max=before.age_ms_max)),
    )


def with_bytes(chance: Random, stream: StreamSettings) -> StreamSettings:
    """Draw limits in bytes, and of consumers."""
    return attrs.evolve(
        stream,
        bytes_max=chance.choice((70, 120)) if chance.random() < 0.15 else -1,
        message_bytes_max=chance.choice((1, 200)) if chance.random() < 0.1 else -1,
        consumers_max=chance.choice((1, 2)) if chance.random() < 0.1 else -1,
    )


def stream_of(chance: Random, retention: Any, timed: bool) -> StreamSettings:
    """Draw a stream."""
    limited = chance.random() < 0.3
    return StreamSettings(
        subjects=chance.choice((("a", "b.*"), (">",))),
        retention=retention,
        msgs_max=chance.choice((2, 4)) if limited else -1,
        msgs_per_subject_max=chance.choice((1, 2)) if chance.random() < 0.2 else -1,
        discard=chance.choice(("old", "new")),
        duplicate_window_ms=chance.choice(WAITS_MS) if timed else None,
        age_ms_max=2_000 if timed and chance.random() < 0.2 else 0,
        storage="memory",
    )


def consumer_of(
    chance: Random, stream: StreamSettings, timed: bool, several: int
) -> ConsumerSettings:
    """Draw a consumer that a stream may have; now and then one that it refuses."""
    queue = stream.retention == "workqueue"
    free = not queue or chance.random() < 0.1
    deliver_max = chance.choice((-1, 1, 2, 3))
    backoff: tuple[int, ...] = ()
    if timed and deliver_max > 1 and chance.random() < 0.5:
        backoff = WAITS_MS
    begins = ["all", "all", "last", "new", "last_per_subject"]
    if stream.msgs_max > 0 or stream.msgs_per_subject_max > 1:
        begins.pop()  # what goes by a limit before it was handed out, 2.15.1 counts wrongly there
    filters: Any = chance.choice(((), ("b.*",), ("a",), ("a", "b.x")))
    acks = ("explicit", "explicit", "all", "all", "none") if free else ("explicit",)
    ack: Any = chance.choice(acks)
    return ConsumerSettings(
        filters=filters if several > 1 or chance.random() < 0.3 else (),
        ack=ack,
        ack_wait_ms=chance.choice(WAITS_MS) if timed else 30_000,
        deliver_max=deliver_max,
        ack_pending_max=chance.choice((1, 2, -1, 1_000)),
        backoff_ms=backoff if ack != "none" else (),
        deliver=chance.choice(begins) if free else "all",
    )


# ---- one case, on both sides


class Differs(AssertionError):
    """The machine and the server show different things."""


class TooClose(Exception):
    """Something was due just as it was asked for: nothing can be said."""


class Pair:
    """Both sides of a case, and what has been handed out so far."""

    def __init__(self, case: Case, real: Real, make: Machines, *, settle_s: float) -> None:
        self.case = case
        self.real = real
        self.machine = make()
        self.machine.header_bytes = self._header_bytes
        self._headers: dict[str, int] = {}
        self.settle_s = settle_s
        self.prefix = f"n{next(NAMES)}"
        self.stream = f"{self.prefix}_s"
        self.deaths = f"{self.prefix}_d"
        self.consumers: list[str] = []
        self.handles: list[op.Handle] = []
        self.published = 0
        self.began = time.monotonic()
        self.timed = any(step.verb == "pass" for step in case.steps)

    def now(self) -> int:
        """Return the milliseconds since the case began."""
        return round((time.monotonic() - self.began) * 1000)

    async def change(self, number: int, settings: ConsumerSettings) -> None:
        """Have a consumer go by other settings, if it may."""
        settings = attrs.evolve(settings, filters=self._subjects(settings.filters))
        name = self.consumers[number % len(self.consumers)]
        there = self.machine.consumers[self.stream, name].settings
        if there.deliver == "last_per_subject":
            return  # what is pending of one that changes, 2.15.1 counts wrongly
        if there.ack == settings.ack:
            settings = attrs.evolve(settings, deliver=there.deliver)
        if not settings.filters:  # of one that wants all of a sudden, 2.15.1 counts nothing pending
            settings = attrs.evolve(settings, filters=there.filters)
        await self.both(op.CreateConsumer(self.stream, name, settings, or_update=True))

    def _other(self) -> StreamSettings:
        return attrs.evolve(self.case.other, subjects=self._subjects(self.case.other.subjects))

    def _subjects(self, subjects: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{self.prefix}.{one}" for one in subjects)

    async def begin(self) -> None:
        """Make the streams and the consumers."""
        mine = attrs.evolve(self.case.stream, subjects=self._subjects(self.case.stream.subjects))
        deaths = StreamSettings(subjects=(f"{DEATHS}.{self.stream}.>",))
        await self.both(op.CreateStream(self.stream, mine))
        await self.both(op.CreateStream(self.deaths, deaths))
        for settings in self.case.consumers:
            await self.join(settings)

    async def join(self, settings: ConsumerSettings) -> None:
        """Make a consumer, if it may be."""
        name = f"c{len(self.consumers) + 1}"
        if name in [one for _, one in self.machine.consumers]:
            return
        settings = attrs.evolve(settings, filters=self._subjects(settings.filters))
        if await self.both(op.CreateConsumer(self.stream, name, settings)) is None:
            self.consumers.append(name)

    async def both(self, operation: Any) -> Any:
        """Do something on both sides, and compare the answers; return it."""
        now = self.now()
        self._check_time(now)
        expected = seen_of(self.machine.apply(operation, now))
        self.machine.take()
        blocked = False
        if isinstance(operation, op.Fetch) and isinstance(expected, list):
            consumer = self.machine.consumers[operation.stream, operation.consumer]
            blocked = len(expected) < operation.most and consumer.is_full()
        seen = await self.real.apply(operation, blocked=blocked)
        self._check_time(self.now())
        if blocked:
            self.machine.apply(operation, self.now())
        self.compare(str(operation), expected, seen)
        return expected

    def _check_time(self, now: int) -> None:
        """Refuse to judge what is asked for when something is due."""
        due = self.machine.due()
        if due is not None and abs(due - now) < MARGIN_MS:
            raise TooClose
        if not self.timed:
            return
        stream = self.machine.streams.get(self.stream)
        ages = None if stream is None else stream.ages()
        if ages is not None and -MARGIN_MS < now - ages < AGE_LATE_MS:
            raise TooClose
        for consumer in self.machine.consumers.values():
            leases = [consumer.leases.of(sequence) for sequence in sorted(consumer.pending)]
            dues = [one.until for one in leases if one is not None and one.until is not None]
            if any(0 < earlier - later < TOGETHER_MS for earlier, later in pairwise(dues)):
                raise TooClose  # a timer that is late takes both, in the order of the stream
            if ages is not None and any(-MARGIN_MS < one - ages < AGE_LATE_MS for one in dues):
                raise TooClose

    def compare(self, what: str, expected: Any, seen: Any) -> None:
        """Raise where the two sides differ."""
        if expected != seen:
            raise Differs(f"{what}\n    machine: {expected}\n    server:  {seen}")

    async def take(self, step: Step) -> None:
        """Do one step, where it makes sense; then compare all that can be inspected."""
        match step.verb:
            case "publish" | "again":
                await self._publish(step)
            case "fetch" if self.consumers:
                name = self.consumers[step.number % len(self.consumers)]
                found = await self.both(op.Fetch(self.stream, name, None, step.other % 3 + 1))
                self.handles += [one.handle for one in found]
            case "get":
                await self.both(op.Get(self.stream, step.number + 1))
            case "join":
                await self.join(self.case.late)
            case "leave" if self.consumers and step.number > 5:
                name = self.consumers.pop()
                await self.both(op.DeleteConsumer(self.stream, name))
                self.handles = [one for one in self.handles if one.consumer != name]
            case "change" if self.consumers:
                await self.change(step.number, self.case.late)
            case "update" if step.number > 3:
                await self.both(op.UpdateStream(self.stream, self._other()))
            case "recreate":
                await self.both(op.CreateStream(self.stream, self._other()))
            case "purge" if step.number > 4:
                await self.both(self._purge(step))
            case "delete":
                await self.both(op.DeleteMessage(self.stream, step.number + 1))
            case "pass":
                await asyncio.sleep(PASSES_MS[step.number % 2] / 1000)
            case "ack" | "nak" | "delay" | "term" | "progress" if self.handles:
                handle = self.handles[-1 - step.number % len(self.handles)]
                await self.both(settlement(step, handle))
        await self.inspect()

    def _purge(self, step: Step) -> op.PurgeStream:
        """Return what is taken out: all, what is older, all but the newest, what has a subject."""
        there = [self.machine.consumers[self.stream, one] for one in self.consumers]
        filtered = any(one.settings.filters for one in there)  # looks on, now and then: 2.15.1
        if filtered:
            return op.PurgeStream(self.stream)
        if step.other > 3:
            return op.PurgeStream(self.stream, f"{self.prefix}.{WORDS[step.other % 3]}")
        return op.PurgeStream(
            self.stream,
            sequence=step.number if step.other in (1, 3) else 0,
            keep=step.number - 4 if step.other in (2, 3) else 0,
        )

    async def _publish(self, step: Step) -> None:
        self.published += 1
        subject = f"{self.prefix}.{WORDS[step.number % 3]}"
        id = f"{self.prefix}-{step.other}" if step.other < 3 else None
        expected = self._expected(step, subject)
        body = str(self.published).encode()
        publish = op.Publish(subject, body, f"message {self.published}", id, expected)
        self._headers[publish.message] = header_bytes(nats_server.headers_of(publish))
        await self.both(publish)

    def _header_bytes(self, message: Any) -> int:
        return self._headers.get(message, 0)

    def _expected(self, step: Step, subject: str) -> op.Expected | None:
        """Return what a message expects: what is so, or what is not, or nothing."""
        stream = self.machine.streams[self.stream]
        off = step.number > 5
        match step.other:
            case 2:
                return op.Expected(id="another" if off else stream.last_id or None)
            case 3:
                return op.Expected(stream=f"{self.stream}-other" if off else self.stream)
            case 4 | 5:
                return op.Expected(of_subject=stream.last_of(subject) + step.other - 4)
            case 6 | 7:
                return op.Expected(sequence=stream.last - (step.other == 7))
        return None

    async def inspect(self) -> None:
        """Compare the states of all: the server may take a moment for some."""
        looks: list[Any] = [op.InspectStream(self.stream), op.InspectStream(self.deaths)]
        looks += [op.InspectConsumer(self.stream, name) for name in self.consumers]
        for look in looks:
            deadline = time.monotonic() + self.settle_s
            while True:
                now = self.now()
                self._check_time(now)
                expected = seen_of(self.machine.apply(look, now))
                seen = await self.real.apply(look)
                self._check_time(self.now())
                if seen == expected or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.005)
            self.compare(str(look), expected, seen)

    async def end(self) -> None:
        """Remove what was made."""
        for stream in (self.stream, self.deaths):
            await self.real.drop(stream)


def header_bytes(headers: dict[str, str]) -> int:
    """Return how many bytes headers take where nats-py writes them."""
    length = sum(len(name) + len(value) + 4 for name, value in headers.items())
    return length + 12 if headers else 0


def settlement(step: Step, handle: op.Handle) -> Any:
    """Return what a step does to a delivery."""
    match step.verb:
        case "ack":
            return op.Ack(handle)
        case "nak":
            return op.Nak(handle)
        case "delay":
            return op.Nak(handle, WAITS_MS[step.other % 2])
        case "term":
            return op.Term(handle)
        case _:
            return op.InProgress(handle)


def seen_of(answer: Any) -> Any:
    """Return what a client can see of the machine's answer."""
    if isinstance(answer, Refusal):
        return (answer.code, answer.text)
    if isinstance(answer, list):
        return [attrs.evolve(one, message=None, stored_ms=0) for one in answer]
    return getattr(answer, "subject", answer)


async def difference(
    case: Case, connection: Any, make: Machines, *, settle_s: float = SETTLE_S
) -> str | None:
    """Run a case on both sides; return the first difference, or None."""
    pair = Pair(case, Real(connection), make, settle_s=settle_s)
    try:
        await pair.begin()
        for step in case.steps:
            await pair.take(step)
            await asyncio.sleep(APART_S if pair.timed else 0)
    except Differs as error:
        return str(error)
    finally:
        await pair.end()
    return None


async def shrink(case: Case, connection: Any, make: Machines, tries_max: int = 120) -> Case:
    """Leave out steps, and consumers, as long as there is a difference."""
    tries = 0
    smaller = True
    while smaller and tries < tries_max:
        smaller = False
        for index in reversed(range(len(case.steps))):
            steps = case.steps[:index] + case.steps[index + 1 :]
            candidate = attrs.evolve(case, steps=steps)
            tries += 1
            try:
                found = await difference(candidate, connection, make)
            except TooClose:
                continue
            if found is not None:
                case, smaller = candidate, True
    return case


# ---- many cases


@attrs.define
class Result:
    """What a comparison showed."""

    sequences: int = 0
    operations: int = 0
    left_out: int = 0
    differences: list[str] = attrs.field(factory=list)
    verbs: Counter[str] = attrs.field(factory=Counter)


async def _compared(
    port: int, sequences: int, kind: Kind, seed: int, make: Machines, stop_at: int, shrinking: bool
) -> Result:
    connection = await nats_server.connect(port)
    result = Result()
    first: list[Case] = []
    places = asyncio.Semaphore(TIMED_AT_A_TIME if kind == "timed" else AT_A_TIME)

    async def one(number: int) -> None:
        async with places:
            if len(first) >= stop_at:
                return
            case = case_of(Random(f"{seed} {kind} {number}"), kind)
            try:
                found = await difference(case, connection, make)
                if found is not None and kind == "timed":  # or was the server late, this once?
                    found = await difference(case, connection, make)
            except TooClose:
                result.left_out += 1
                return
            result.sequences += 1
            result.operations += len(case.steps)
            result.verbs.update(step.verb for step in case.steps)
            if found is not None:
                first.append(case)

    await asyncio.gather(*(one(number) for number in range(sequences)))
    for case in first[:stop_at]:
        small = await shrink(case, connection, make) if shrinking else case
        try:
            words = await difference(small, connection, make) or "(not seen again)"
        except TooClose:
            words = "(not seen again)"
        result.differences.append(f"{words}\n  after\n{small}")
    await connection.close()
    return result


def compared(
    port: int,
    sequences: int,
    kind: Kind,
    *,
    seed: int = 1,
    make: Machines = NatsMachine,
    stop_at: int = 1,
    shrinking: bool = True,
) -> Result:
    """Compare so many sequences; of the first that differ say how, as short as can be."""
    return asyncio.run(_compared(port, sequences, kind, seed, make, stop_at, shrinking))


def main(sequences: int = SEQUENCES, timed: int = TIMED, seed: int = 1) -> None:
    """Compare, and print what came of it."""
    lacks = nats_server.missing()
    if lacks is not None:
        print(f"not compared: {lacks}")
        return
    with nats_server.running() as port:
        for kind, number in (("untimed", sequences), ("timed", timed)):
            began = time.monotonic()
            result = compared(port, number, kind, seed=seed)  # type: ignore[arg-type]
            took = time.monotonic() - began
            print(
                f"{kind}: {result.sequences:,} sequences, {result.operations:,} operations, "
                f"{result.left_out} left out, {len(result.differences)} differ, {took:.0f} s"
            )
            for text in result.differences:
                print(text)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
