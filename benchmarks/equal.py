"""The peers' scenario on seedloop with by hand what ours does besides: equal guarantees.

Not the tool as it comes, but the price of its loop for the same work: a worker that really
dies and is built anew after a second, while the broker gives its message to another one at
once; faults as values, by place, message and attempt; messages encoded and decoded; a history
of events, each with its cause. seedloop's own auditor, the nearest it has to our sandbox, is
not on: it would cost more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any, Final, Literal

import attrs

Place = Literal["before", "after"]
Fault = tuple[Place, int, int]
"""Where a worker dies: before the effect or after it, of which message, at which attempt."""

Event = tuple[float, str, str, int, int, int]
"""When, what, who, which message, which attempt, and the number of the event that caused it."""

PLACES: Final[tuple[Place, Place]] = ("before", "after")


class Died(Exception):
    """A worker is dead."""


def faults(seed: int, *, messages: int, attempts: int, chances: int) -> frozenset[Fault]:
    """Return the faults of one seed."""
    chance = Random(f"eight {seed}")
    return frozenset(
        (place, message, attempt)
        for attempt in range(1, attempts + 1)
        for message in range(messages)
        for place in PLACES
        if chance.random() * 100 < chances
    )


@attrs.define
class Equal:
    """The queue, its broker and the workers, as one asyncio program with a history."""

    messages: int
    workers: int
    work_s: float
    back_s: float
    faults: frozenset[Fault]
    right: bool
    history: list[Event] = attrs.field(factory=list)
    stored: set[int] = attrs.field(factory=set)
    effects: list[int] = attrs.field(factory=list)
    _attempts: dict[int, int] = attrs.field(factory=dict)
    _acknowledged: set[int] = attrs.field(factory=set)
    _tasks: dict[int, asyncio.Task[None]] = attrs.field(factory=dict)
    _queue: Any = None
    _over: Any = None

    async def main(self) -> None:
        """Run until every message is acknowledged."""
        self._queue, self._over = asyncio.Queue(), asyncio.Event()
        for number in range(self.messages):
            cause = self._note("publish", "client", number, 1, -1)
            self._queue.put_nowait((json.dumps({"job": number}).encode(), cause))
        for worker in range(self.workers):
            self._start(worker)
        await self._over.wait()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _note(self, kind: str, who: str, message: int, attempt: int, cause: int) -> int:
        at_s = asyncio.get_running_loop().time()
        self.history.append((at_s, kind, who, message, attempt, cause))
        return len(self.history) - 1

    def _start(self, worker: int) -> None:
        if not self._over.is_set():
            self._tasks[worker] = asyncio.create_task(self._work(worker))

    async def _work(self, worker: int) -> None:
        """Take messages until dead; who has died is built anew, and its message is not lost."""
        while True:
            body, cause = await self._queue.get()
            job = json.loads(body)["job"]
            attempt = self._attempts[job] = self._attempts.get(job, 0) + 1
            cause = self._note("deliver", f"worker#{worker}", job, attempt, cause)
            try:
                await self._handle(f"worker#{worker}", job, attempt, cause)
            except Died:
                cause = self._note("crash", f"worker#{worker}", job, attempt, cause)
                self._queue.put_nowait((body, cause))
                asyncio.get_running_loop().call_later(self.back_s, self._start, worker)
                return
            self._note("ack", f"worker#{worker}", job, attempt, cause)
            self._acknowledged.add(job)
            if len(self._acknowledged) == self.messages:
                self._over.set()

    async def _handle(self, who: str, job: int, attempt: int, cause: int) -> None:
        self._strike("before", job, attempt)
        await asyncio.sleep(self.work_s)
        called = self._note("call", who, job, attempt, cause)
        await asyncio.sleep(0)
        if not self.right or job not in self.stored:
            self.stored.add(job)
            self.effects.append(job)
            called = self._note("effect", "effects", job, attempt, called)
        self._note("reply", who, job, attempt, called)
        self._strike("after", job, attempt)
        self._note("handled", who, job, attempt, cause)

    def _strike(self, place: Place, job: int, attempt: int) -> None:
        if (place, job, attempt) in self.faults:
            raise Died

    def twice(self) -> bool:
        """Say whether an effect came twice."""
        assert set(self.effects) == set(range(self.messages))
        return len(self.effects) > self.messages


def on_seedloop(
    *, messages: int, workers: int, work_s: float, back_s: float, attempts: int, chances: int
) -> Callable[[int, bool], bool]:
    """Return what runs a seed on seedloop's loop.

    Raises:
        ImportError: seedloop is not installed.
    """
    from seedloop import World, check

    def run(seed: int, right: bool) -> bool:
        drawn = faults(seed, messages=messages, attempts=attempts, chances=chances)
        made = Equal(messages, workers, work_s, back_s, drawn, right)

        async def scenario(world: World) -> None:
            await made.main()

        check(scenario, seeds=[seed])
        return made.twice()

    return run
