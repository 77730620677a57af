"""What can go wrong, as values.

A fault says what happens and at which site. It says nothing about probability. How
long it lasts is chosen from the system itself (`next`, `timeout`, `long`) or given in
whole milliseconds of virtual time; a search tries both, the milliseconds between and just
beyond the durations that the system has shown.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import attrs

from chaosharness.kernel.allowed import is_whole, one_of, refused, whole
from chaosharness.kernel.site import Site
from chaosharness.kernel.world import Lasting

LASTINGS: Final = ("next", "timeout", "long")


def _lasting(fault: object, attribute: attrs.Attribute[Lasting], value: Lasting) -> None:
    if value not in LASTINGS and not is_whole(value, 0):
        right = f"one of {', '.join(LASTINGS)}, or whole milliseconds from 0"
        raise refused(type(fault).__name__, attribute.name, right, value)


_NAMES: Final[dict[type, str]] = {}


def _named(cls: type) -> str:
    """Spell a class name as words: LostReply → lost reply."""
    found = _NAMES.get(cls)
    if found is None:
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in cls.__name__)
        found = _NAMES[cls] = words.strip()
    return found


@attrs.frozen
class Fault:
    """What all faults share. Not for use by itself."""

    site: Site

    options: ClassVar[tuple[object, ...]] = ()
    """The values of the one further field that a search tries, mildest first."""

    option_name: ClassVar[str] = ""

    length_name: ClassVar[str] = ""
    """The field that says how long it lasts, if it does."""

    @property
    def kind(self) -> str:
        """The kind as words: `lost reply`."""
        return _named(type(self))

    @property
    def option(self) -> object:
        """The value of the one further field, or None."""
        return getattr(self, self.option_name) if self.option_name else None

    def __str__(self) -> str:
        option = f" ({self.option_name} {self.option})" if self.option_name else ""
        return f"{self.kind} {self.site}{option}"


@attrs.frozen
class Delay(Fault):
    """A message, a reply or a call takes longer. Order on the same link is kept."""

    lasting: Lasting = attrs.field(default="next", validator=_lasting, kw_only=True)
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "lasting"
    length_name: ClassVar[str] = "lasting"


@attrs.frozen
class PartitionDelay(Fault):
    """A log partition lags: every group sees its records later, still in order."""

    lasting: Lasting = attrs.field(default="timeout", validator=_lasting, kw_only=True)
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "lasting"
    length_name: ClassVar[str] = "lasting"


@attrs.frozen
class Pause(Fault):
    """The process stalls at this site: garbage collection, a frozen machine, no CPU to be had.

    `lasting` is `next`, `timeout`, `long` or whole milliseconds. A search tries the words, and
    up to five lengths between the durations that the system shows; so for all that lasts.

    `heartbeats` is `stop` (whoever watches over the process hears nothing of it meanwhile) or
    `go-on`: only the code at this site is slow (slow I/O), and the threads of its clients are
    heard of all the time. A search tries the first; the second is a shorter list of the same
    consequences.

    *Not modelled:* other code of the process goes on meanwhile, as tasks and threads do where one
    of them alone is slow.
    """

    lasting: Lasting = attrs.field(default="next", validator=_lasting, kw_only=True)
    heartbeats: Literal["stop", "go-on"] = attrs.field(
        default="stop", validator=one_of("stop", "go-on"), kw_only=True
    )
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "lasting"
    length_name: ClassVar[str] = "lasting"


@attrs.frozen
class Redeliver(Fault):
    """The broker hands the message out again although it was handled, or is still being."""


@attrs.frozen
class Duplicate(Fault):
    """A second copy of the message is stored, as a producer's retry would."""


@attrs.frozen
class Rebalance(Fault):
    """The consumer group changes hands at this moment; what is not committed comes again."""


@attrs.frozen
class ErrorReply(Fault):
    """The call is refused with a passing error, and did not happen."""


@attrs.frozen
class LostRequest(Fault):
    """The request is lost: the call did not happen, and its caller sees a timeout."""


@attrs.frozen
class LostReply(Fault):
    """The reply is lost: the call did happen, and its caller sees a timeout."""


@attrs.frozen
class FailedCommit(Fault):
    """COMMIT answers with an error.

    `outcome` is what really happened: `rolled-back`, or `committed` (the connection broke
    after the server had done it).
    """

    outcome: Literal["rolled-back", "committed"] = attrs.field(
        default="rolled-back",
        validator=one_of("rolled-back", "committed"),
        kw_only=True,
    )
    options: ClassVar[tuple[object, ...]] = ("rolled-back", "committed")
    option_name: ClassVar[str] = "outcome"


@attrs.frozen
class StoreOutage(Fault):
    """A store refuses every operation for a while."""

    lasting: Lasting = attrs.field(default="timeout", validator=_lasting, kw_only=True)
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "lasting"
    length_name: ClassVar[str] = "lasting"


@attrs.frozen
class NetworkPartition(Fault):
    """The service at this site and the peer of this operation cannot talk for a while.

    `way` is `both`, `out` (requests are lost) or `back` (replies are lost).
    """

    way: str = attrs.field(default="both", validator=one_of("both", "out", "back"), kw_only=True)
    lasting: Lasting = attrs.field(default="timeout", validator=_lasting, kw_only=True)
    options: ClassVar[tuple[object, ...]] = ("both", "out", "back")
    option_name: ClassVar[str] = "way"
    length_name: ClassVar[str] = "lasting"


@attrs.frozen
class Poison(Fault):
    """A message nobody can read is stored just ahead of this one."""

    content: Literal["garbage", "unknown-schema"] = attrs.field(
        default="garbage",
        validator=one_of("garbage", "unknown-schema"),
        kw_only=True,
    )
    options: ClassVar[tuple[object, ...]] = ("garbage", "unknown-schema")
    option_name: ClassVar[str] = "content"


@attrs.frozen
class ClockSkew(Fault):
    """The clock of this replica is off from its start, by whole milliseconds."""

    skew_ms: int = attrs.field(default=1_000, kw_only=True)
    options: ClassVar[tuple[object, ...]] = (1_000, -1_000, 3_600_000, -3_600_000)
    option_name: ClassVar[str] = "skew_ms"


@attrs.frozen
class Redeploy(Fault):
    """This replica is replaced by one that runs the other version of the service.

    At its start it comes up as the other version at once. In front of a handler the replica is
    stopped in mid-flight, and comes back as the other version: what it had in hand comes again.
    Where a workflow of Temporal decides (`orders.OrderSaga/decide`) a deployment meets what is
    under way: every replica has begun as the version before, and this one is replaced there.
    """


@attrs.frozen
class OldEvent(Fault):
    """The event is written with the version before: its producer is not upgraded yet.

    Strikes where a `Registry` has an event written whose schema has such a version, and consumers
    may be upgraded first.
    """


@attrs.frozen
class NewEvent(Fault):
    """The event is written with the version after: its producer was upgraded first.

    Strikes where a `Registry` has an event written whose schema has such a version, and producers
    may be upgraded first.
    """


@attrs.frozen
class GracefulStop(Fault):
    """The process is told to stop at this site: SIGTERM, as a deployment sends it. It comes back.

    What was registered for it runs in the process: by `signal.signal`, by asyncio's
    `loop.add_signal_handler`, by `trio.open_signal_receiver`. Handlers that a broker calls come to
    their end, settle what they have in hand, and take nothing more: their consumer leaves its
    group, or closes its channel, at once. Web servers and workers of orchestrators do as their
    products do; a Lambda function cannot be told. Main loops without a handler of the signal are
    cut off where they stand, as Python does it: no `finally` runs.

    `grace_ms` is how long it is given before it is killed, as by a `Crash`; `down` how long until
    it runs again: a new version, say. Tried only by a search that is told so by its `kinds`.

    *Source:* POSIX, SIGTERM; Python's `signal`, `asyncio` and `trio`; Kubernetes, Pod lifecycle,
    "Termination of Pods": 30 s, then SIGKILL.

    *Not modelled:* SIGINT and all other signals (what is registered for them is never called);
    `preStop` hooks; a process that is the first of its container, which no signal ends that it has
    no handler of.
    """

    down: Lasting = attrs.field(default="next", validator=_lasting, kw_only=True)
    grace_ms: int = attrs.field(
        default=30_000,
        validator=whole(0),
        kw_only=True,
    )
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "down"
    length_name: ClassVar[str] = "down"


@attrs.frozen
class Crash(Fault):
    """The incarnation dies here; its memory is lost, and it restarts after a while.

    `down` is how long it stays down, in the words of `lasting` or in whole milliseconds; `long`
    means until the calm.
    """

    down: Lasting = attrs.field(default="next", validator=_lasting, kw_only=True)
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "down"
    length_name: ClassVar[str] = "down"


@attrs.frozen
class BrokerAlarm(Fault):
    """The broker runs out of memory or disk: for a while it reads nothing from who publishes.

    What is published meanwhile is stored when the alarm is over, whether or not its publisher still
    waits. Consumers go on, unless they share a connection with a publisher.
    """

    lasting: Lasting = attrs.field(default="timeout", validator=_lasting, kw_only=True)
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "lasting"
    length_name: ClassVar[str] = "lasting"


@attrs.frozen
class ConsumerCancel(Fault):
    """The broker cancels a consumer: the node that held its queue is gone, or the queue is."""


@attrs.frozen
class BrokerRestart(Fault):
    """The broker dies and comes back: what it had not kept is gone, and all connections with it.

    `down` is how long it stays down, as for `Crash`.
    """

    down: Lasting = attrs.field(default="next", validator=_lasting, kw_only=True)
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "down"
    length_name: ClassVar[str] = "down"


@attrs.frozen
class HostDeath(Fault):
    """The machine dies, and the process with it: nobody closes its connections.

    Whoever is at their other end learns of it when heartbeats are missed, not at once as after a
    `Crash`. `down` is how long until the service runs elsewhere.
    """

    down: Lasting = attrs.field(default="next", validator=_lasting, kw_only=True)
    options: ClassVar[tuple[object, ...]] = LASTINGS
    option_name: ClassVar[str] = "down"
    length_name: ClassVar[str] = "down"


@attrs.frozen
class LostWrites(Fault):
    """A power failure: what the store had not synced is gone, and the service restarts."""


FAULTS: Final[tuple[type[Fault], ...]] = (
    Delay,
    PartitionDelay,
    Pause,
    Redeliver,
    Duplicate,
    Rebalance,
    ErrorReply,
    LostRequest,
    LostReply,
    FailedCommit,
    StoreOutage,
    NetworkPartition,
    OldEvent,
    NewEvent,
    Poison,
    ClockSkew,
    Redeploy,
    BrokerAlarm,
    ConsumerCancel,
    Crash,
    HostDeath,
    BrokerRestart,
    LostWrites,
)
"""The kinds that a search tries by itself, mildest first: shrinking prefers the earlier ones."""

ON_REQUEST: Final[tuple[type[Fault], ...]] = (GracefulStop,)
"""The kinds that a search tries only where its `kinds` names them."""

_BY_CRASH: Final = FAULTS.index(Crash)
EVERY_KIND: Final[tuple[type[Fault], ...]] = (*FAULTS[:_BY_CRASH], *ON_REQUEST, *FAULTS[_BY_CRASH:])
"""All kinds, mildest first: those too that are tried only where `kinds` names them."""

KIND_BY_NAME: Final = {_named(kind): kind for kind in EVERY_KIND}
