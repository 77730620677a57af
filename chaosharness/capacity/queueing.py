"""Workflows, shards and workers as a queue in virtual time: every wait, by a seed.

A shard does one transaction at a time, in the order of arrival. Shards have nothing to do with each
other, so a few of them stand for all: rates are those of one shard, counts are multiplied. While
the store is away, what the engine itself has to do waits at its shard; clients and workers try
again, as their engine's do. Time is whole microseconds; ties go in the order of asking.

*Not modelled*: the CPU of servers and workers, networks, batching and group commit, caches, hot
shards, transactions under way when the store goes away (they are done when it is back), steps side
by side, a start that a client gives up.
"""

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import Final

import attrs

from chaosharness.capacity.chance import Chance
from chaosharness.capacity.load import Load, Outage
from chaosharness.errors import InvalidDefinition

__all__ = ["Measured", "simulate"]

SHARDS_MAX: Final = 32
"""How many shards are simulated, at most; they stand for all."""

CLIENT_RETRY_US: Final = (100_000, 200_000, 400_000, 800_000, 1_600_000, 3_200_000, 5_000_000)


@attrs.frozen
class Measured:
    """What a simulation has shown. Counts are of all shards, times of those simulated.

    Attributes:
        workflows: How many ended, in the simulation.
        scale: What its counts were multiplied by.
        utilisation: Which part of the time a shard was busy.
        mean_ms: How long a workflow took, on average.
        p50_ms: At the median.
        p99_ms: At the 99th percentile.
        longest_ms: At most.
        peak: Workflows under way at once.
        duplicated: Steps whose code ran again though it had run: effects that happened twice.
        lost: Reports that workers gave up.
        delayed: Workflows that took longer, by an outage, than 99 % do without one.
        calm_after_s: How long after an outage that goes on: up to the last second of which more
            than half of the workflows did.
    """

    workflows: int
    scale: float
    utilisation: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    peak: int
    duplicated: int
    lost: int
    delayed: int
    calm_after_s: float


@attrs.define(eq=False)
class _Flow:
    """A workflow under way: its step, which attempt of it, whether its code has run already."""

    shard: int
    began_us: int
    left: int
    attempt: int = 0
    ran: bool = False
    told: bool = False


@attrs.define
class _Run:
    """One simulation."""

    load: Load
    outage: Outage | None
    shards: int
    rate: float  # of one shard
    until_us: int
    away_us: tuple[int, int]
    now_us: int = 0
    ticket: int = 0
    agenda: list[tuple[int, int, Callable[[], None]]] = attrs.field(factory=list)
    free_us: list[int] = attrs.field(factory=list)
    busy_us: int = 0
    took: list[tuple[int, int]] = attrs.field(factory=list)  # when it began, how long it took
    under_way: int = 0
    peak: int = 0
    duplicated: int = 0
    lost: int = 0

    # ---- time and the store

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        self.ticket += 1
        heappush(self.agenda, (self.now_us + delay_us, self.ticket, action))

    def away(self, at_us: int) -> bool:
        return self.away_us[0] <= at_us < self.away_us[1]

    def transact(self, flow: _Flow, count: int, then: Callable[[], None]) -> None:
        """Have so many transactions, one after the other; the engine waits where it has to."""
        if not count:
            then()
            return
        start = max(self.now_us, self.free_us[flow.shard])
        if self.away(start):
            start = self.away_us[1]
        took = round(self.load.latency_ms * 1_000)
        self.free_us[flow.shard] = start + took
        self.busy_us += took
        self.after(start + took - self.now_us, lambda: self.transact(flow, count - 1, then))

    def insist(
        self, pauses_us: tuple[int, ...], give_up_us: int | None, done: Callable[[], None],
        lost: Callable[[], None], since_us: int, tried: int = 0,
    ) -> None:  # fmt: skip
        """Ask until somebody hears it: a client, or a worker that reports."""
        if not self.away(self.now_us):
            done()
            return
        pause = pauses_us[min(tried, len(pauses_us) - 1)]
        if give_up_us is not None and self.now_us + pause > since_us + give_up_us:
            lost()
            return
        self.after(
            pause, lambda: self.insist(pauses_us, give_up_us, done, lost, since_us, tried + 1)
        )

    # ---- a workflow

    def arrive(self, shard: int, chance: Chance) -> None:
        if self.now_us >= self.until_us:
            return
        flow = _Flow(shard, self.now_us, self.load.steps)
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        begin = self.load.engine.begin

        def heard() -> None:
            self.transact(flow, begin, lambda: self.step(flow))

        self.insist(CLIENT_RETRY_US, None, heard, heard, self.now_us)
        self.after(chance.gap_us(self.rate), lambda: self.arrive(shard, chance))

    def step(self, flow: _Flow) -> None:
        if not flow.left:
            self.transact(flow, self.load.engine.end, lambda: self.ended(flow))
            return
        flow.ran = flow.told = False
        self.attempt(flow, self.load.engine.before)

    def attempt(self, flow: _Flow, transactions: int) -> None:
        flow.attempt += 1
        number = flow.attempt
        self.transact(flow, transactions, lambda: self.begin(flow, number))

    def begin(self, flow: _Flow, number: int) -> None:
        """The code of a step runs, and its timeout with it."""
        self.after(round(self.load.step_ms * 1_000), lambda: self.ran(flow, number))
        if self.outage is not None and self.load.engine.times_out:
            self.after(round(self.outage.timeout_s * 1e6), lambda: self.timed_out(flow, number))

    def ran(self, flow: _Flow, number: int) -> None:
        if flow.ran:
            self.duplicated += 1
        flow.ran = True
        engine = self.load.engine
        give_up = None if engine.gives_up_s is None else round(engine.gives_up_s * 1e6)
        pauses = tuple(round(pause * 1e6) for pause in engine.retry_s)
        self.insist(pauses, give_up, lambda: self.reported(flow, number), self.gave_up, self.now_us)

    def gave_up(self) -> None:
        self.lost += 1

    def reported(self, flow: _Flow, number: int) -> None:
        if flow.attempt != number or flow.told:
            return  # too late: refused
        flow.told = True
        flow.left -= 1
        self.transact(flow, self.load.engine.after, lambda: self.step(flow))

    def timed_out(self, flow: _Flow, number: int) -> None:
        """The engine's timer, which waits for the store, too; then the step begins again."""
        if flow.attempt != number or flow.told:
            return
        if self.away(self.now_us):
            self.after(self.away_us[1] - self.now_us, lambda: self.timed_out(flow, number))
            return
        flow.attempt += 1
        again = round(self.load.engine.again_s * 1e6)
        self.after(again, lambda: self.attempt(flow, 1))

    def ended(self, flow: _Flow) -> None:
        self.under_way -= 1
        self.took.append((flow.began_us, self.now_us - flow.began_us))

    def go(self, seed: int) -> None:
        self.free_us = [0] * self.shards
        for shard in range(self.shards):
            chance = Chance(seed * 1_000_003 + shard)
            self.after(chance.gap_us(self.rate), partial(self.arrive, shard, chance))
        while self.agenda:
            self.now_us, _, action = heappop(self.agenda)
            action()


def simulate(
    load: Load, shards: int, *, outage: Outage | None = None, workflows: int = 4_000, seed: int = 0
) -> Measured:
    """Simulate a load on so many shards, with or without an outage.

    Args:
        load: What comes in.
        shards: How many there are.
        outage: That the store is away, once the queues are in their usual state.
        workflows: How many are simulated, about; with an outage as many as it takes to see it end.
        seed: Of their arrivals.

    Raises:
        InvalidDefinition: The shards cannot keep up: queues grow without end, and no
            percentile means anything.
    """
    if not isinstance(shards, int) or shards < 1:
        raise InvalidDefinition(f"shards is a whole number from 1, not {shards!r}")
    if load.utilisation(shards) >= 1:
        raise InvalidDefinition(
            f"{shards:,} shards cannot keep up with {load.transactions_per_s:,.0f} transactions a "
            f"second of {load.latency_ms:g} ms: at least {load.shards_min:,} are needed, and "
            f"{load.shards_advised:,} are advised"
        )
    few = min(shards, SHARDS_MAX)
    rate = load.rate / shards
    plain = _simulated(load, None, few, rate, workflows / (rate * few), seed)
    usual = _percentile(sorted(took for _, took in plain.took), 0.99)
    if outage is None:
        return _measured(plain, shards / few, usual)
    lasts = OUTAGE_AT_US / 1e6 + outage.seconds + 3 * load.drained_s(shards, outage.seconds) + 10
    run = _simulated(load, outage, few, rate, lasts, seed)
    return _measured(run, shards / few, usual)


OUTAGE_AT_US: Final = 5_000_000


def _simulated(
    load: Load, outage: Outage | None, shards: int, rate: float, seconds: float, seed: int
) -> _Run:
    away = (-1, -1)
    if outage is not None:
        away = (OUTAGE_AT_US, OUTAGE_AT_US + round(outage.seconds * 1e6))
    run = _Run(load, outage, shards, rate, round(seconds * 1e6), away)
    run.go(seed)
    return run


def _percentile(ordered: list[int], share: float) -> int:
    """The smallest value that so many are not above."""
    if not ordered:
        return 0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def _measured(run: _Run, scale: float, usual_us: int) -> Measured:
    ordered = sorted(took for _, took in run.took)
    count = max(len(ordered), 1)
    calm_after_s = _calm_after_s(run, usual_us)
    begins, ends = run.away_us[0], run.away_us[1] + round(calm_after_s * 1e6)
    delayed = sum(
        took > usual_us and began + took > begins and began < ends for began, took in run.took
    )
    return Measured(
        workflows=len(ordered),
        scale=scale,
        utilisation=run.busy_us / (max(run.until_us, 1) * run.shards),
        mean_ms=sum(ordered) / count / 1_000,
        p50_ms=_percentile(ordered, 0.5) / 1_000,
        p99_ms=_percentile(ordered, 0.99) / 1_000,
        longest_ms=ordered[-1] / 1_000 if ordered else 0.0,
        peak=round(run.peak * scale),
        duplicated=round(run.duplicated * scale),
        lost=round(run.lost * scale),
        delayed=round(delayed * scale),
        calm_after_s=calm_after_s,
    )


def _calm_after_s(run: _Run, usual_us: int) -> float:
    """Up to the last second of which more than half took longer than 99 % usually do."""
    back_us = run.away_us[1]
    if back_us < 0:
        return 0.0
    seconds: dict[int, list[bool]] = {}
    for began, took in run.took:
        if began >= back_us:
            seconds.setdefault((began - back_us) // 1_000_000, []).append(took > usual_us)
    slow = [second for second, them in seconds.items() if 2 * sum(them) > len(them)]
    return float(max(slow, default=-1) + 1)
