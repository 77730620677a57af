"""One read of a connection: it waits at several streams, and its answer may be lost."""

from __future__ import annotations

from functools import partial
from typing import Any

from chaosharness.brokers.arrivals import begin_wait
from chaosharness.brokers.redis.desk import Held, Reader
from chaosharness.brokers.redis.redis import OpenRedis
from chaosharness.handlers.attribution import takes_by_itself
from chaosharness.handlers.port import wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Scope

Found = dict[Reader, list[Held]]


def readers_of(
    desk: OpenRedis, scope: Scope, streams: list[str], group: tuple[str, str] | None
) -> list[Reader]:
    """Return who reads these streams for a process; each waits for one read at a time.

    Args:
        desk: The broker.
        scope: Who asks.
        streams: Which.
        group: The group and the consumer; None for a read without.
    """
    incarnation = scope.incarnation
    name, consumer = group or ("", "")
    found = []
    for stream in streams:
        kept = desk.clients.setdefault((incarnation, stream, name, consumer), [])
        free = [one for one in kept if not one.waiting and one not in found]
        if not free:
            operation = f"{desk.name}.{stream}/deliver to {incarnation.service}"
            free = [Reader(incarnation, (stream, name), consumer, operation, _drop)]
            desk.enter(free[0])
            kept.append(free[0])
        found.append(free[0])
    return found


def _drop(held: list[Held]) -> None:
    """Be handed entries when nobody reads."""


class Wait:
    """A read under way.

    Args:
        desk: The broker.
        scope: Who reads.
        readers: One a stream.
        timeout_ms: When the client gives up.
    """

    def __init__(
        self, desk: OpenRedis, scope: Scope, readers: list[Reader], timeout_ms: int
    ) -> None:
        self._desk = desk
        self._scope = scope
        self._readers = readers
        self._timeout_ms = timeout_ms
        self._found: Found = {}
        self._lost = False
        self._resume: Resume | None = None

    def until(self, block_ms: int | None, at: Any, *, holds: bool) -> Script[Found | None]:
        """Wait for entries.

        Args:
            block_ms: How long the server waits, 0: for ever; None: not at all.
            at: The frame of the code that waits.
            holds: Whether it holds what it has not acknowledged.

        Returns:
            What arrived, for each reader; None where the client gave up.
        """
        desk, world = self._desk, self._desk.world
        began_ms = world.now
        if takes_by_itself(self._scope):
            begin_wait(self._scope)
        if block_ms is None:
            yield desk.latency_ms
            self._gather(self._readers)
        else:
            yield from self._stand(block_ms, at, holds=holds)
        if not self._lost:
            return self._found
        for held in self._found.values():  # one answer for all streams
            desk.spill(held)
        left_ms = began_ms + self._timeout_ms - world.now
        if left_ms > 0:
            yield left_ms
        return None

    def _gather(self, readers: list[Reader]) -> None:
        """Take what is there at these streams now."""
        for reader in readers:
            reader.missed = self._miss
            if self._desk.lines.is_cut(reader):
                self._lost = True
                return
            again = reader.history is not None  # what is pending, and nothing else
            held = self._desk.read_again(reader) if again else self._desk.found(reader)
            reader.missed = None
            if held:
                self._found[reader] = held

    def _miss(self) -> None:
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        resume, self._resume = self._resume, None
        if resume is not None:
            self._leave()
            resume(None)

    def _leave(self) -> None:
        for reader in self._readers:
            self._desk.lines.leave(reader)
            reader.take, reader.missed = _drop, None

    def _take(self, reader: Reader, held: list[Held]) -> None:
        """Take what has arrived at one stream, and what is there at the others."""
        self._found[reader] = held
        self._leave()
        self._gather([one for one in self._readers if one is not reader])
        self._wake()

    def _stand(self, block_ms: int, at: Any, *, holds: bool) -> Script[None]:
        """Stand in line at each stream, for so long at most, or until the client gives up."""
        world, lines = self._desk.world, self._desk.lines
        most_ms = min(block_ms or self._timeout_ms, self._timeout_ms)
        gives_up = not block_ms or block_ms >= self._timeout_ms
        world.know_duration(most_ms)
        nap = wait_of(self._scope, most_ms, of_stack, at, holds=holds)
        timer: Any = None

        def over(_: Any) -> None:
            nap.woke()
            self._lost |= gives_up or any(map(lines.is_cut, self._readers))
            self._wake()

        def keep(resume: Resume) -> None:
            nonlocal timer
            self._resume = resume
            timer = world.timer(most_ms, over, None, nap)
            for reader in self._readers:
                reader.take, reader.missed = partial(self._take, reader), self._miss
                lines.ask(reader)

        try:
            yield keep
        except GeneratorExit:  # the task that waited was cancelled
            nap.woke()  # its loop goes on
            self._resume = None
            self._leave()
            raise
        finally:
            if timer is not None:
                world.agenda.cancel(timer)
