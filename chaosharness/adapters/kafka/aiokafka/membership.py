"""A consumer of aiokafka in its group: what its background task does while its code works.

A round of a group does not wait for the code of its members: who is in the middle of a record gives
it back with all others, and may find that somebody else works on it too.

Source:
    aiokafka 0.14, `consumer/group_coordinator.py`: `_coordination_routine` joins again as soon as a
    heartbeat says so, unless nothing was fetched for `max_poll_interval_ms`; `_on_join_prepare`
    commits what was handed out, if it commits by itself, and then tells the listener; the same when
    the consumer has stopped, where the listener is not told. An automatic commit is due every
    `auto_commit_interval_ms` from the start on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from chaosharness.adapters.kafka.aiokafka.records import Place, partitions, raised_for
from chaosharness.brokers.kafka.consumers import CommitFailed
from chaosharness.brokers.kafka.listeners import Listeners
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.attribution import rest
from chaosharness.handlers.places import told
from chaosharness.handlers.script import Resume, Script
from chaosharness.handlers.unwaited import standing, unwaited
from chaosharness.kernel.scope import SCOPE, Scope

BACKOFF_MS = 100


class Membership:
    """A consumer's place in its group, or what it reads without one.

    Args:
        consumer: The consumer at the cluster.
        cluster: The cluster.
        scope: Who starts it.
        listener: The user's listener, or None.
        interval_ms: Of automatic commits; None where it makes none.
    """

    def __init__(
        self, consumer: Any, cluster: Any, scope: Scope, listener: Any, interval_ms: int | None
    ) -> None:
        self.consumer = consumer
        self.cluster = cluster
        self._world = scope.world
        self._scope = scope
        self._own = standing(scope, scope.colour)
        rest(self._own)
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._interval_ms = interval_ms
        self._began_ms = scope.world.now
        self._timer: Any = None
        self._joining: Resume | None = None
        self._since_ms = scope.world.now
        self._polled = False
        self._telling: asyncio.Task[None] | None = None
        revoked = self._revoked if listener or interval_ms is not None else None
        self._listeners = Listeners(self._assigned if listener else None, revoked, None)
        self.member: Any = None
        self.open = True
        if interval_ms is not None:
            self._world.know_timeout(interval_ms)

    # ---- joining

    def join(self) -> Any:
        """Join the group; await until it has been shared out."""
        self.member = member = self.consumer.enter()
        member.aside = True
        member.attend = self._attend
        member.crew.listens = True
        return self._scope.colour.drive(self._until_assigned(), self._scope)

    def _until_assigned(self) -> Script[None]:
        def keep(resume: Resume) -> None:
            self._joining = resume

        while not self.member.generation:
            yield keep

    def choose(self, places: tuple[Place, ...]) -> None:
        """Read these log partitions, in no group."""
        self.consumer.assign(*places)
        self._since_ms, self._polled = self._world.now, False

    @property
    def has_fetched(self) -> bool:
        """Whether it was answered since it has anything to read: it asks as soon as it has."""
        latency_ms = self.cluster.definition.latency_ms
        return self._polled or self._world.now - self._since_ms > latency_ms

    @property
    def expelled(self) -> bool:
        """Whether its group goes on without it."""
        return self.member is not None and self.member.expelled

    # ---- a round

    def _attend(self) -> bool:
        """Begin to tell what has changed; say whether the round has to wait for that."""
        joining, self._joining = self._joining, None
        if joining is not None:
            self._since_ms = self._world.now
            joining(None)
        if self.member.unset_at >= 0:
            return bool(self.consumer.attend())
        if self._telling is not None:
            return True
        if not (self._listeners.any and self.open and self.member.incarnation.alive):
            return False
        if not self._listeners.due(self.member):
            return False
        context = copy_context()
        context.run(SCOPE.set, self._own)
        self._telling = self._loop.create_task(self._tell(), context=context)
        return True

    async def _tell(self) -> None:
        while self._listeners.due(self.member):
            for listener, places in self._listeners.calls(self.member):
                if listener is not None:
                    await listener(places)
        self._telling = None
        groups = self.cluster.groups
        groups.rejoin(self.member)
        groups.try_complete(self.member.crew)

    async def _revoked(self, places: tuple[Place, ...]) -> None:
        if self._interval_ms is not None and not self.expelled:
            with suppress(CommitFailed, OSError):
                await self.consumer.commit(offsets=self._consumed())
        await self._call("on_partitions_revoked", places)

    async def _assigned(self, places: tuple[Place, ...]) -> None:
        await self._call("on_partitions_assigned", places)

    async def _call(self, name: str, places: tuple[Place, ...]) -> None:
        """Call the user's listener; what it raises goes to a log, and nowhere else."""
        if self._listener is None:
            return
        try:
            found = getattr(self._listener, name)(partitions(places))
            if hasattr(found, "__await__"):
                await found
        except InvalidDefinition:
            raise
        except Exception as error:
            self._own.record("raised", "", 0, told(error))

    async def first_call(self) -> None:
        """Tell the listener, before it joins, that it has nothing."""
        await self._call("on_partitions_revoked", ())

    # ---- committing

    def _consumed(self) -> dict[Place, int]:
        """Return how far records were handed out, where that is not committed."""
        consumer = self.consumer
        ends = {place: consumer.position(*place) for place in consumer.assignment()}
        return {place: end for place, end in ends.items() if end != consumer.committed(*place)}

    async def commit(self, offsets: dict[Place, int] | None) -> None:
        """Commit, and ask again until it is answered.

        Raises:
            KafkaError: The group has moved on.
        """
        meant = self._consumed() if offsets is None else offsets
        while True:
            try:
                await self.consumer.commit(offsets=meant)
            except CommitFailed as error:
                self._return()
                raise raised_for(error) from None
            except OSError:
                await asyncio.sleep(BACKOFF_MS / 1_000)
            else:
                return

    def _return(self) -> None:
        """Join again, as the background task does when it hears that it is out."""
        if self.member is not None:
            self._world.after(0, self.cluster.groups.rejoin, self.member)

    def handed_out(self) -> None:
        """See to it that what was handed out is committed when the next commit is due."""
        self._polled = True
        interval_ms = self._interval_ms
        if interval_ms is None or self._timer is not None:
            return
        world = self._world
        due_ms = world.now + interval_ms - (world.now - self._began_ms) % interval_ms
        self._timer = world.agenda.add(due_ms, self._commit_by_itself, None, False)

    def _commit_by_itself(self, _: Any) -> None:
        self._timer = None
        if self.open and self._scope.incarnation.alive and self._telling is None:
            port = partial(self.consumer.commit, offsets=self._consumed())
            unwaited(self._scope, port, self._committed)

    def _committed(self, _: Any, error: BaseException | None) -> None:
        if isinstance(error, CommitFailed):
            self._return()
        elif error is not None and self.open:
            self._timer = self._world.agenda.add(
                self._world.now + BACKOFF_MS, self._commit_by_itself, None, False
            )

    # ---- the end

    async def leave(self) -> None:
        """Commit what was handed out, if it commits by itself, and leave the group."""
        self.open = False
        if self._interval_ms is not None and not self.expelled and self._consumed():
            with suppress(CommitFailed, OSError):
                await self.consumer.commit(offsets=self._consumed())
        await self.consumer.close()
