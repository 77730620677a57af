"""A handler that Kafka calls per message; and what a commit raises, by whoever makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import msgspec

from chaosharness.brokers.events import not_settled, settled
from chaosharness.brokers.intake import Intake
from chaosharness.brokers.kafka.cluster import Cluster
from chaosharness.brokers.kafka.members import Member
from chaosharness.brokers.kafka.rows import COMMIT
from chaosharness.brokers.message import Message
from chaosharness.brokers.trouble import Policy, one_of, policy_of
from chaosharness.faults import LostRequest, Rebalance
from chaosharness.handlers.port import strikes, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Scope
from chaosharness.machines.kafka.operations import Isolation

BACKOFF_MS: Final = 1_000
BACKOFF_MS_MAX: Final = 60_000

Acknowledge = Literal["after", "before"]
OnError = Literal["retry", "skip", "dead-letter", "crash"]
ACKNOWLEDGE: Final = get_args(Acknowledge)
OPTIONS: Final = (
    "group",
    "acknowledge",
    "on_error",
    "retries_max",
    "on_unreadable",
    "isolation",
    "reset",
)
ISOLATIONS: Final = get_args(Isolation)
CalledReset = Literal["latest", "earliest"]
CALLED_RESETS: Final = get_args(CalledReset)


class CommitFailed(Exception):
    """The group has moved on: these log partitions belong to another member now."""

    why: Why = "generation"


Why = Literal["generation", "unknown", "left"]
"""Of an old generation (ILLEGAL_GENERATION); of a member that the group goes on without
(UNKNOWN_MEMBER_ID); of one whose client knows, because it has left: nobody polled for too long."""


class UnknownLogPartition(CommitFailed):
    """There is no such log partition (UNKNOWN_TOPIC_OR_PARTITION); the others were committed."""


class InstanceFenced(CommitFailed):
    """Another consumer has come with the same `instance`: this one is out for good."""


class Subscription(msgspec.Struct, eq=False):
    """A handler that Kafka calls per message: `operation` is to commit for it.

    See `subscribed` for its options.
    """

    broker: Cluster
    intake: Intake
    operation: str
    policy: Policy
    acknowledge: Acknowledge = "after"
    reset: CalledReset = "latest"
    tries: dict[int, int] = {}
    member: Any = None

    def take(self, member: Member, message: Message, cause: int) -> None:
        """Handle one message of a member, and acknowledge it when that is done."""
        self.member = member
        self.intake.take(message, cause, self._settle)

    def take_for_good(self, member: Member, message: Message, cause: int) -> None:
        """Acknowledge one message of a member, and handle it then."""
        self.member = member
        intake = self.intake
        world = intake.incarnation.world
        scope = Scope(world, intake.incarnation, intake.place, message.entity, cause, intake.colour)
        scope.message = message.name

        def begin(_: bool) -> None:
            if intake.incarnation.alive:
                intake.take(message, scope.cause, self._acknowledged)

        self._commit(message, scope, begin)

    def _settle(self, message: Message, scope: Scope, error: BaseException | None) -> None:
        if error is not None:
            self._failed(message, scope, error)
            return
        broker = self.broker
        member = self.member
        world = broker.world
        operation = self.operation
        if operation in world.armed or world.unreachable or member.stale:
            self._commit(message, scope, self._free)
            return
        # What follows is `_commit` where nothing is the matter: every message comes by here.
        if operation not in world.surfaces:
            world.surfaces[operation] = COMMIT
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        group = member.group
        if member.generation == group.generation:
            group.committed[message.topic, message.partition] = message.offset + 1
            settled(scope, operation, attempt, message.published)
            world.effects += 1
        else:
            self._take_commit(message, scope, operation, attempt)
        broker.free(member)

    def _acknowledged(self, message: Message, scope: Scope, error: BaseException | None) -> None:
        """The handler of a message that was acknowledged on hand-over has ended."""
        if error is not None and self.policy.at(self.intake, message)[0] == "crash":
            self.broker.world.crash(scope.incarnation, "next", cause=scope.cause)
        self.broker.free(self.member)

    def _free(self, _: bool) -> None:
        self.broker.free(self.member)

    def _failed(self, message: Message, scope: Scope, error: BaseException) -> None:
        broker = self.broker
        tries = self.tries.get(message.published, 0) + 1
        self.tries[message.published] = tries
        policy, tries_max = self.policy.at(self.intake, message)
        match policy:
            case "crash":
                broker.world.crash(scope.incarnation, "next", cause=scope.cause)
            case "skip":
                self._commit(message, scope, self._free)
            case "dead-letter" if tries >= tries_max:
                broker.dead_letter(message, scope, error)
                self._commit(message, scope, self._free)
            case _:
                if policy != "dead-letter":
                    self.intake.refuse_hopeless(scope, error, tries)
                backoff_ms = min(BACKOFF_MS << min(tries - 1, 6), BACKOFF_MS_MAX)
                broker.again(self.member, message, backoff_ms)

    # ---- committing

    def _commit(self, message: Message, scope: Scope, then: Callable[[bool], None]) -> None:
        """Commit the offset after a message; `then(True)` if the coordinator took it."""
        world = self.broker.world
        operation = self.operation
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, COMMIT)
        if operation in world.armed or world.unreachable:
            script = self._careful_commit(message, scope, operation, attempt)
            drive_in_kernel(script, world, then)
        else:
            then(self._take_commit(message, scope, operation, attempt))

    def _careful_commit(
        self, message: Message, scope: Scope, operation: str, attempt: int
    ) -> Script[bool]:
        broker = self.broker
        lost_request = broker.groups.cut(self.member)
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, Rebalance):
                broker.groups.expel(self.member, "a heartbeat was missed")
            elif isinstance(fault, LostRequest):
                lost_request = True
            else:
                yield from trouble(scope, fault, broker)
        if lost_request:
            not_settled(scope, operation, attempt, "no answer to the commit")
            return False
        done = self._take_commit(message, scope, operation, attempt)
        for fault in strikes(scope, operation, "after", attempt):
            yield from trouble(scope, fault, broker)
        return done

    def _take_commit(self, message: Message, scope: Scope, operation: str, attempt: int) -> bool:
        """Have the coordinator take an offset, if the member is still one."""
        group = self.member.group
        if self.member.expelled or self.member.generation != group.generation:
            not_settled(scope, operation, attempt, "fenced: not a member any more")
            return False
        group.committed[message.topic, message.partition] = message.offset + 1
        settled(scope, operation, attempt, message.published)
        self.broker.world.effects += 1
        return True


USUAL: Final = policy_of("retry", 3, None)


def subscribed(
    broker: Cluster,
    intake: Intake,
    *,
    acknowledge: Acknowledge = "after",
    on_error: OnError = "retry",
    retries_max: int = 3,
    on_unreadable: OnError | None = None,
    isolation: Isolation = "read_uncommitted",
    reset: CalledReset = "latest",
) -> Subscription:
    """Return a handler that is called per message, with these options.

    Args:
        broker: Where from.
        intake: The handler.
        acknowledge: `after`: the offset is committed when the handler has returned (at
            least once). `before`: on hand-over (at most once), as librdkafka's automatic
            commit and FastStream's `ACK_FIRST` do.
        on_error: What an exception of the handler leads to. `retry`: seek back, wait, try
            again, for ever; the log partition waits. `skip`: commit and go on.
            `dead-letter`: after `retries_max` tries, publish to `<topic>.DLT` and go on.
            `crash`: the process dies.
        retries_max: Tries before a message is dead-lettered.
        on_unreadable: What a payload leads to that cannot be decoded, as for `on_error`;
            the handler is not called with it. `dead-letter` does it at once: it will not
            get better. By default what `on_error` says.
        isolation: `read_uncommitted` is called with records of aborted transactions too, and
            before they are decided; `read_committed` is not.
        reset: Where it goes on where nothing is committed, or what comes next is gone.

    Raises:
        ValueError: The value of an option is none of its choices.
    """
    one_of(ACKNOWLEDGE, acknowledge=acknowledge)
    one_of(ISOLATIONS, isolation=isolation)
    one_of(CALLED_RESETS, reset=reset)
    policy = policy_of(on_error, retries_max, on_unreadable)
    operation = f"{intake.place}/{broker.name}.commit"
    return Subscription(broker, intake, operation, policy, acknowledge, reset)
