"""One scenario in ours and in each tool beside it that is installed: runs a second, and ratios.

Eight messages in a queue, three asyncio consumers that compete for them, at least once:
5 in 100 deliveries crash before their effect, 5 in 100 after it and before the message is
acknowledged, and the message comes back. The right consumer sees whether its effect is
there already; the broken one does not look.

    pip install -e '.[bench]'     the peers; some need Python 3.12
    python -m benchmarks.peers

Processor time of this process. All run 300 seeds with the right consumer and take turns, so
that a busy machine is busy for all of them; the best of several turns counts. How many of
the 300 fail with the broken consumer says that all of them do strike.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.metadata import version
from itertools import count
from random import Random
from textwrap import fill
from typing import Any, Final, Literal

import attrs

from benchmarks.equal import on_seedloop
from benchmarks.measure import count as count_bytecodes
from benchmarks.measure import table
from chaosharness import (
    Crash,
    External,
    KeyValue,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    System,
    explore,
    never_twice,
)
from chaosharness.strategies.spelling import Spelling

MESSAGES: Final = 8
CONSUMERS: Final = 3
DELIVERIES: Final = 3
"""Of one message: as many may crash."""
CRASHES_IN_100: Final = 5
"""At each of two places: before the effect, and between it and the acknowledgement."""
BACK_S: Final = 1.0
SEEDS: Final = 300
WORK_S: Final = 0.01
TURNS: Final = 3
SEARCHES: Final = 20

Colour = Literal["plain", "asyncio"]
Run = Callable[[int, bool], bool]
"""Run one seed, with the right consumer or the broken one; say whether an effect came twice."""


# Ours: a broker that delivers again, a worker that really dies.


class Effects:
    """What the broken consumer does in the world outside."""

    def do(self, job: int) -> None:
        """Do it."""


def system(colour: Colour, *, right: bool) -> System:
    """Return the scenario as a system of ours."""
    system = System("eight")
    bus = system.add(RabbitMQ("bus", queues={"jobs": Queue("quorum")}))
    effects = system.add(External("effects", Effects, latency_ms=0))
    store = system.add(KeyValue("done"))

    @system.service(
        "worker", replicas=CONSUMERS, runtime="asyncio" if colour == "asyncio" else None
    )
    def worker(env: Any) -> None:
        keep, do = env.connect(store).put_if_absent, env.client(effects).do

        if colour == "plain":

            def on_job(job: int) -> None:
                env.sleep(WORK_S)
                keep(str(job), 1) if right else do(job)
        else:

            async def on_job(job: int) -> None:
                await asyncio.sleep(WORK_S)
                await (keep(str(job), 1) if right else do(job))

        env.consume(bus, "jobs", on_job, prefetch=1)

    @system.entry(examples=[MESSAGES])
    def produce(env: Any, count: int) -> None:
        publish = env.publisher(bus)
        for number in range(count):
            publish("jobs", number)

    return system


@cache
def deliveries(effect: str) -> tuple[tuple[Site, Site], ...]:
    """Return the two places of the first delivery of each message."""
    reached = system("plain", right=effect != "effects.do").run().attempts
    spelling = Spelling()
    spelling.learn(reached)
    words = [spelling.words(place) for place in reached if place[0] == "worker.on_job/handle"]
    assert len(set(words)) == MESSAGES
    return tuple(
        (
            Site("worker.on_job/handle", message=word),
            Site(f"worker.on_job/{effect}", "after", message=word),
        )
        for word in words
    )


def crashes(seed: int, effect: str) -> Schedule:
    """Return the crashes of one seed. Those of deliveries that never come do nothing."""
    chance = Random(f"eight {seed}")
    return Schedule(
        Crash(attrs.evolve(place, attempt=attempt), down=int(BACK_S * 1000))
        for attempt in range(1, DELIVERIES + 1)
        for places in deliveries(effect)
        for place in places
        if chance.random() * 100 < CRASHES_IN_100
    )


def ours(colour: Colour, *, calm: bool = False) -> Run:
    """Return what runs a seed in ours."""
    systems = {right: system(colour, right=right) for right in (True, False)}

    def run(seed: int, right: bool) -> bool:
        effect = "done.put_if_absent" if right else "effects.do"
        run = systems[right].run(None, Schedule() if calm else crashes(seed, effect))
        done = [event.data["job"] for event in run.history.of("effect")]
        assert run.ending.verdict == "quiet"
        return len(done) > len(set(done))

    return run


# The asyncio simulators: the same program in each, its crash and its redelivery by hand.


@attrs.define
class Job:
    """The queue and the consumers as one asyncio program, on whatever loop runs it."""

    below: Callable[[int], bool]
    """Says yes in so many of 100 cases, from the tool's own source of chance."""
    right: bool
    effects: list[int] = attrs.field(factory=list)
    acknowledged: set[int] = attrs.field(factory=set)

    async def main(self) -> None:
        """Run until every message is acknowledged."""
        queue: asyncio.Queue[int] = asyncio.Queue()
        over = asyncio.Event()
        for number in range(MESSAGES):
            queue.put_nowait(number)
        consumers = [asyncio.create_task(self.consume(queue, over)) for _ in range(CONSUMERS)]
        await over.wait()
        for consumer in consumers:
            consumer.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)

    async def consume(self, queue: asyncio.Queue[int], over: asyncio.Event) -> None:
        """Take messages, for ever."""
        while True:
            job = await queue.get()
            if not await self.handle(job):
                asyncio.get_running_loop().call_later(BACK_S, queue.put_nowait, job)
                continue
            self.acknowledged.add(job)
            if len(self.acknowledged) == MESSAGES:
                over.set()

    async def handle(self, job: int) -> bool:
        """Do the effect; return False for a crash."""
        await asyncio.sleep(WORK_S)
        if self.below(CRASHES_IN_100):
            return False
        if not self.right or job not in self.effects:
            self.effects.append(job)
        await asyncio.sleep(0)
        return not self.below(CRASHES_IN_100)

    def twice(self) -> bool:
        """Say whether an effect came twice."""
        assert set(self.effects) == set(range(MESSAGES))
        return len(self.effects) > MESSAGES


def seedloop() -> Run:
    """Return what runs a seed in seedloop."""
    from seedloop import World, check

    def run(seed: int, right: bool) -> bool:
        jobs: list[Job] = []

        async def scenario(world: World) -> None:
            jobs.append(Job(lambda chances: world.rng.random() * 100 < chances, right))
            await jobs[-1].main()

        check(scenario, seeds=[seed])
        return jobs[-1].twice()

    return run


def equal() -> Run:
    """Return what runs a seed on seedloop with our guarantees written by hand."""
    return on_seedloop(
        messages=MESSAGES,
        workers=CONSUMERS,
        work_s=WORK_S,
        back_s=BACK_S,
        attempts=DELIVERIES,
        chances=CRASHES_IN_100,
    )


def simloop() -> Run:
    """Return what runs a seed in simloop."""
    from simloop import explore, sim

    def run(seed: int, right: bool) -> bool:
        jobs: list[Job] = []

        async def scenario() -> None:
            jobs.append(Job(lambda chances: sim.random.random() * 100 < chances, right))
            await jobs[-1].main()

        report = explore(scenario, [seed])
        assert report is None, report
        return jobs[-1].twice()

    return run


def simloom() -> Run:
    """Return what runs a seed in simloom."""
    import simloom

    def run(seed: int, right: bool) -> bool:
        jobs: list[Job] = []

        async def scenario() -> None:
            jobs.append(Job(lambda chances: simloom.sometimes("crash", chances), right))
            await jobs[-1].main()

        simloom.run(scenario, seed=seed)
        return jobs[-1].twice()

    return run


# A bare event loop, and a test broker.


def simpy() -> Run:
    """Return what runs a seed in SimPy: the same queue and consumers, as generators."""
    import simpy

    def run(seed: int, right: bool) -> bool:
        world, chance = simpy.Environment(), Random(f"eight {seed}")
        queue, effects, acknowledged = simpy.Store(world), [], set()

        def crashed() -> bool:
            return chance.random() * 100 < CRASHES_IN_100

        def again(job: int) -> Iterator[Any]:
            yield world.timeout(BACK_S)
            yield queue.put(job)

        def consumer() -> Iterator[Any]:
            while True:
                job = yield queue.get()
                yield world.timeout(WORK_S)
                dead = crashed()
                if not dead:
                    if not right or job not in effects:
                        effects.append(job)
                    yield world.timeout(0)
                    dead = crashed()
                if dead:
                    world.process(again(job))
                else:
                    acknowledged.add(job)

        queue.items.extend(range(MESSAGES))
        for _ in range(CONSUMERS):
            world.process(consumer())
        world.run()
        assert len(acknowledged) == MESSAGES
        return len(effects) > MESSAGES

    return run


def faststream() -> Run:
    """Return what delivers the eight messages in FastStream's test broker."""
    from faststream.rabbit import RabbitBroker, TestRabbitBroker

    broker = RabbitBroker()
    effects: list[int] = []

    @broker.subscriber("jobs")
    async def on_job(job: int) -> None:
        await asyncio.sleep(0)  # WORK_S would be real time
        effects.append(job)

    async def once() -> None:
        async with TestRabbitBroker(broker) as test:
            for number in range(MESSAGES):
                await test.publish(number, "jobs")

    def run(seed: int, right: bool) -> bool:
        effects.clear()
        asyncio.run(once())
        assert len(effects) == MESSAGES
        return False

    return run


@attrs.frozen
class Peer:
    """A tool, and how it runs the scenario.

    Attributes:
        name: What the table calls it.
        make: Imports the tool, and returns what runs one seed.
        says: What it does here and what it does not, for the reader of the ratios.
        package: What pip installs; "" for ours.
        calm: It runs the scenario without crashes.
        python: The oldest Python it is for.
    """

    name: str
    make: Callable[[], Run]
    says: str
    package: str = attrs.field(default="", kw_only=True)
    calm: bool = attrs.field(default=False, kw_only=True)
    python: tuple[int, int] = attrs.field(default=(3, 11), kw_only=True)


OURS: Final = (
    Peer(
        "ours, asyncio",
        partial(ours, "asyncio"),
        "A RabbitMQ queue, a durable store, a history of causes; a crash ends the replica, and "
        "the broker delivers again. Faults are a value that shrinks. Does not shuffle ready "
        "callbacks by a seed, and has no simulated sockets, TLS or disks.",
    ),
    Peer("ours, plain def", partial(ours, "plain"), "The same with handlers in plain def."),
    Peer(
        "ours, asyncio, calm",
        partial(ours, "asyncio", calm=True),
        "The same without crashes: what to hold FastStream against.",
        calm=True,
    ),
)
PEERS: Final = (
    Peer(
        "seedloop",
        seedloop,
        "No broker: queue, crash and redelivery are written by hand in the program under test. Its "
        "own crash cuts a node off the network for good. Ready callbacks run in one order; the "
        "seed moves network and chance only. Nothing shrinks; no history but what is recorded.",
        package="seedloop",
        python=(3, 12),
    ),
    Peer(
        "equal guarantees by hand, on seedloop",
        equal,
        "What ours does besides, written into the program under test (benchmarks/equal.py): a "
        "worker dies and is built anew, faults are values, messages are encoded, a history has "
        "causes. Without an auditor of what the code touches, and for this one scenario only.",
        package="seedloop",
        python=(3, 12),
    ),
    Peer(
        "simloop",
        simloop,
        "No broker: as above by hand. Its own faults are of hosts, links and disks. Shuffles ready "
        "callbacks, keeps a trace of them; shrinks that order, not the faults a program draws.",
        package="simloop",
        python=(3, 12),
    ),
    Peer(
        "simloom",
        simloom,
        "No broker that acknowledges (Redis, core NATS): as above by hand. Its own faults are of "
        "hosts, links and disks. Shuffles ready callbacks, keeps a log; shrinks every draw, "
        "faults towards striking.",
        package="simloom",
        python=(3, 12),
    ),
    Peer(
        "SimPy",
        simpy,
        "A bare event loop: the scenario is a model of generators, not handlers. No broker, "
        "crash, history, search, replay or shrinking.",
        package="simpy",
    ),
    Peer(
        "FastStream test broker",
        faststream,
        "Each message goes straight to its handler, once: no crash, no redelivery, no second "
        "consumer, no virtual time (so no work that takes time), no seed, no search.",
        package="faststream[rabbit]",
        calm=True,
    ),
)


def in_turns(runs: list[Run]) -> list[float]:
    """Return processor seconds a run with the right consumer, the best turn of each."""
    best = [float("inf")] * len(runs)
    for _ in range(TURNS):
        for at, run in enumerate(runs):
            gc.collect()
            begun = time.process_time()
            twice = sum(run(seed, True) for seed in range(SEEDS))
            best[at] = min(best[at], (time.process_time() - begun) / SEEDS)
            assert not twice
    return best


def until_found(run: Run, first: int) -> int:
    """Return how many seeds from one on it takes until an effect came twice, that one included."""
    return next(at for at, seed in enumerate(count(first), 1) if run(seed, False))


def cost_of_finding(runs: list[Run]) -> list[float]:
    """Return processor seconds until the first double effect of the broken consumer.

    The mean of `SEARCHES` searches, each from a seed of its own; the best of several turns.
    """
    best = [float("inf")] * len(runs)
    for _ in range(TURNS):
        for at, run in enumerate(runs):
            gc.collect()
            begun = time.process_time()
            for search in range(SEARCHES):
                until_found(run, search * SEEDS)
            best[at] = min(best[at], (time.process_time() - begun) / SEARCHES)
    return best


def bytecodes_of_finding(runs: list[Run]) -> list[str]:
    """Return the bytecodes of the same: exact, where processor time says how busy the machine is.

    Those of Python alone, and nothing on a Python that cannot count them.
    """
    if sys.version_info < (3, 13):
        return ["-"] * len(runs)
    return [f"{count_bytecodes(partial(_searches, run)) // SEARCHES:,}" for run in runs]


def _searches(run: Run) -> None:
    for search in range(SEARCHES):
        until_found(run, search * SEEDS)


def small_first_finds() -> float:
    """Return processor seconds until `explore` tells a double effect, with its defaults."""
    best = float("inf")
    shop = system("plain", right=False)
    claim = never_twice("effects", key="job")
    for _ in range(TURNS):
        begun = time.process_time()
        claims = explore(shop, properties=[claim], stop_at_first=True).standings
        best = min(best, time.process_time() - begun)
        assert claims[0].result == "violated"
    return best


def installed(peers: tuple[Peer, ...]) -> tuple[dict[Peer, Run], list[Peer]]:
    """Return those that can be imported, with what runs a seed, and the others."""
    here, missing = {}, []
    for peer in peers:
        try:
            here[peer] = peer.make()
        except ImportError:
            missing.append(peer)
    return here, missing


def named(peer: Peer) -> str:
    """Return the name, with the version of what is installed."""
    distribution = peer.package.partition("[")[0]
    return f"{peer.name} {version(distribution)}" if distribution else peer.name


def and_python(peer: Peer) -> str:
    """Say which Python it takes, where this one is too old."""
    too_old = sys.version_info[:2] < peer.python
    return " (needs Python {}.{} or newer)".format(*peer.python) if too_old else ""


def main(peers: tuple[Peer, ...] = PEERS) -> None:
    """Print the table, and what each tool does and does not do."""
    here, missing = installed((*OURS, *peers))
    costs = in_turns(list(here.values()))
    rows = [("", "us a run", "runs a second", "speed, ours = 1", "broken: fails")]
    for (peer, run), cost in zip(here.items(), costs, strict=True):
        fails = "-" if peer.calm else f"{sum(run(s, False) for s in range(SEEDS))} of {SEEDS}"
        ratio = f"{costs[0] / cost:.2f}"
        rows.append((named(peer), f"{cost * 1e6:,.0f}", f"{1 / cost:,.0f}", ratio, fails))
    rows += [(peer.name, "-", "not installed", "-", "-") for peer in missing]
    table(f"Eight messages, {CONSUMERS} consumers, {SEEDS} seeds", rows)
    striking = [peer for peer in here if not peer.calm]
    finding = cost_of_finding([here[peer] for peer in striking])
    exact = bytecodes_of_finding([here[peer] for peer in striking])
    rows = [("", "ms", "ours = 1", "bytecodes (CPython 3.13)")]
    rows += [
        (named(peer), f"{cost * 1e3:.2f}", f"{cost / finding[0]:.2f}", codes)
        for peer, cost, codes in zip(striking, finding, exact, strict=True)
    ]
    whole = small_first_finds()
    rows.append(
        (
            "ours, explore: judged and shrunk",
            f"{whole * 1e3:.2f}",
            f"{whole / finding[0]:.2f}",
            "-",
        )
    )
    table("Processor time to the first double effect, seeds in their order", rows)
    for peer in missing:
        print(f"  {peer.name}: pip install '{peer.package}'{and_python(peer)}")
    print()
    for peer in (*OURS, *peers):
        print(fill(f"{peer.name}: {peer.says}", 96, initial_indent="  ", subsequent_indent="    "))


if __name__ == "__main__":
    main()
