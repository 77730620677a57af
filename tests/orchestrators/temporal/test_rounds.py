"""Workflows that go round by their timers: left where each round is like the last one."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow

from chaosharness import Delay, Env, Gateway, SQLite, System, Temporal, explore, never_stuck

LATE_S = 7_200
LIMIT = timedelta(seconds=20)


async def do(name: str, value: str) -> Any:
    return await workflow.execute_activity(name, value, start_to_close_timeout=LIMIT)


@workflow.defn
class Bare:
    @workflow.run
    async def run(self, id: str) -> None:
        await do("charge", id)
        while True:
            await asyncio.sleep(60)


@workflow.defn
class InVain:
    def __init__(self) -> None:
        self.ready = False

    @workflow.run
    async def run(self, id: str) -> None:
        while not self.ready:
            await asyncio.sleep(60)
        await do("charge", id)


@workflow.defn
class Told(InVain):
    @workflow.signal
    def go(self) -> None:
        self.ready = True

    @workflow.run
    async def run(self, id: str) -> None:
        await super().run(id)


@workflow.defn
class Beats:
    @workflow.run
    async def run(self, id: str) -> None:
        while True:
            await do("ping", id)
            await asyncio.sleep(600)


@workflow.defn
class Beside:
    """Beats in a task of its own, and waits for its end."""

    def __init__(self) -> None:
        self.over = False

    @workflow.signal
    def end(self) -> None:
        self.over = True

    async def beat(self) -> None:
        while True:
            await do("ping", "beat")
            await asyncio.sleep(600)

    @workflow.run
    async def run(self, id: str) -> None:
        beating = asyncio.create_task(self.beat())
        await workflow.wait_condition(lambda: self.over)
        beating.cancel()


@workflow.defn
class Dirty:
    """Wakes up when it is told something, and every five minutes."""

    def __init__(self) -> None:
        self.dirty = False

    @workflow.signal
    def touch(self) -> None:
        self.dirty = True

    @workflow.run
    async def run(self, id: str) -> None:
        while True:
            try:
                await workflow.wait_condition(lambda: self.dirty, timeout=timedelta(minutes=5))
            except TimeoutError:
                continue
            self.dirty = False
            await do("charge", id)


@workflow.defn
class Polls:
    @workflow.run
    async def run(self, id: str) -> None:
        while not await do("look", id):
            await asyncio.sleep(300)
        await do("charge", id)


@workflow.defn
class Tries:
    """Gives up after so many looks."""

    @workflow.run
    async def run(self, id: str) -> None:
        for _ in range(120):
            await do("ping", id)
            await asyncio.sleep(60)
        await do("charge", id)


@workflow.defn
class Counts:
    @workflow.run
    async def run(self, id: str) -> None:
        count = 0
        while count < 30:
            count += 1
            await asyncio.sleep(60)
        await do("charge", id)


@workflow.defn
class InTime:
    """Gives up after an hour."""

    @workflow.run
    async def run(self, id: str) -> None:
        end = workflow.now() + timedelta(hours=3)
        while workflow.now() < end:
            await asyncio.sleep(60)
        await do("charge", id)


@workflow.defn
class Draws:
    """Ends by chance."""

    @workflow.run
    async def run(self, id: str) -> None:
        while workflow.random().random() < 0.97:
            await asyncio.sleep(60)
        await do("charge", id)


@workflow.defn
class Fragile:
    """Goes round for ever where its charge was late; ends otherwise."""

    @workflow.run
    async def run(self, id: str) -> None:
        begun = workflow.now()
        await do("charge", id)
        late = workflow.now() - begun > timedelta(seconds=5)
        while late:
            await asyncio.sleep(60)


@workflow.defn
class Month:
    @workflow.run
    async def run(self, id: str) -> None:
        await do("charge", id)
        await asyncio.sleep(30 * 86_400)


@workflow.defn
class Months:
    """Has another child each month."""

    @workflow.run
    async def run(self, id: str) -> None:
        for number in itertools.count():
            name = f"{id} {number}"
            await workflow.execute_child_workflow(Month.run, name, id=name)


ALL = [Bare, InVain, Told, Beats, Beside, Dirty, Polls, Tries, Counts, InTime, Draws, Fragile,
       Month, Months]  # fmt: skip


def going(kind: Any, *, late: bool = False, may_wait: Any = ()) -> System:
    system = System("rounds", may_wait=may_wait)
    server = system.add(Temporal("temporal"))
    bank = system.add(Gateway("bank"))
    db = system.add(SQLite("db", "CREATE TABLE seen (id TEXT)"))

    @system.service("workers")
    def workers(env: Env) -> None:
        money, rows = env.client(bank), env.connect(db)

        @activity.defn
        async def charge(id: str) -> None:
            await money.charge(id, 500, key=id)

        @activity.defn
        async def ping(id: str) -> None:
            pass

        @activity.defn
        def look(id: str) -> bool:
            [(count,)] = rows.execute("SELECT count(*) FROM seen").fetchall()
            return bool(count)

        env.worker(server, task_queue="q", workflows=ALL, activities=[charge, ping, look])

    @system.service("desk")
    def desk(env: Env) -> None:
        rows = env.connect(db)

        def main() -> None:
            env.sleep(LATE_S)
            rows.execute("INSERT INTO seen VALUES ('o1')")
            rows.commit()

        if late:
            env.main(main)

    @system.entry(examples=["o1"])
    async def place(env: Env, id: str) -> None:
        await env.client(server).start_workflow(kind.run, id, id=id, task_queue="q")

    return system


@pytest.mark.parametrize("kind", [Bare, Told, Beats, Beside, Dirty, Polls])
def test_who_goes_round_is_told_and_not_accused(kind: Any) -> None:
    campaign = explore(going(kind), faults_max=0)
    assert campaign.counterexamples == ()
    words = f"workflow {kind.__name__!r} (o1) goes on for ever by its timers, and nobody has ended"
    assert words in str(campaign.upset)


@pytest.mark.parametrize("kind", [Tries, Counts, InTime, Draws])
def test_rounds_that_come_to_an_end_are_gone_through(kind: Any) -> None:
    campaign = explore(going(kind), faults_max=0)
    assert (campaign.counterexamples, campaign.upset) == ((), ())
    assert len([*going(kind).run().history.of("effect")]) == 1


def test_who_looks_for_what_comes_late_finds_it() -> None:
    """Nobody is left while others still have something to do."""
    run = going(Polls, late=True).run()
    assert run.ending.verdict == "quiet"
    assert len([*run.history.of("effect")]) == 1


def test_who_looks_in_its_own_memory_for_what_nobody_can_bring_is_stuck() -> None:
    [found] = explore(going(InVain), faults_max=0).counterexamples
    words = "workflow 'InVain' (o1) waits for ever: it looks at each timer for what never changes"
    assert words in found.findings[0].summary
    assert explore(going(InVain, may_wait=["InVain"]), faults_max=0).counterexamples == ()


def test_who_goes_round_only_since_something_was_late_is_stuck() -> None:
    shop = going(Fragile)
    assert explore(shop, faults_max=0).upset == ()
    claims = [never_stuck()]
    found = explore(shop, properties=claims, kinds=[Delay], faults_max=1).counterexamples
    assert "'Fragile' (o1)" in found[0].findings[0].summary


def test_a_loop_of_children_that_wait_is_left_as_one_of_timers_is() -> None:
    campaign = explore(going(Months), faults_max=0)
    assert campaign.counterexamples == ()
    assert "workflow 'Month' (o1 50) goes on for ever by its timers" in str(campaign.upset)
    assert explore(going(Months, may_wait=["Months"]), faults_max=0).upset == ()
