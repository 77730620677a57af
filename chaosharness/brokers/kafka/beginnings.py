"""Where a group begins anew: in a log partition that was added, and once its offsets are expired.

Source:
    Apache Kafka 3.9, broker configuration, `offsets.retention.minutes` (7 days): the offsets of a
    group without consumers are discarded that long after it lost the last one; Operations,
    "Modifying topics"; consumer configuration, `metadata.max.age.ms` (5 minutes: who leads a group
    asks for its topics, and has it rebalance where they have changed) and `auto.offset.reset`.

Not modelled:
    Offsets of consumers that choose what they read themselves (`assign`) never expire, nor do those
    of a topic that a group no longer subscribes to. The broker looks every ten minutes; here it
    discards them as soon as it may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol, get_args

from chaosharness.brokers.kafka.members import Crew
from chaosharness.kernel.world import World
from chaosharness.machines.kafka.assignors import LogPartition

Learns = Literal["at once", "by age"]
LEARNS: Final = get_args(Learns)


class Patience(Protocol):
    """How long a cluster keeps what a group has committed, and how late clients learn."""

    @property
    def session_timeout_ms(self) -> int:
        """After this a crashed member is noticed."""

    @property
    def new_groups(self) -> bool:
        """Whether groups have committed nothing when a run begins."""

    @property
    def metadata_max_age_ms(self) -> int:
        """When clients learn of more log partitions, at the latest."""

    @property
    def offsets_retention_ms(self) -> int | None:
        """How long the offsets of a group without members are kept; None for ever."""


class Beginnings:
    """What makes groups begin where `reset` says.

    Args:
        times: How patient the cluster is.
        world: The run.
        crews: Its groups.
        rebalance: Begins a round of a group, and says why.
        tell: Writes down what has become of a group.

    Attributes:
        usual: Whether no group begins anywhere but at the start of what a log partition holds.
    """

    def __init__(
        self,
        times: Patience,
        world: World,
        crews: Mapping[str, Crew],
        rebalance: Callable[[Crew, str], None],
        tell: Callable[[Crew], None],
    ) -> None:
        self._times = times
        self._world = world
        self._crews = crews
        self._rebalance = rebalance
        self._tell = tell
        self._added: set[LogPartition] = set()
        self._expired: set[str] = set()
        self._emptied: dict[str, int] = {}
        self.usual = not times.new_groups
        retention_ms = times.offsets_retention_ms
        if retention_ms is not None:
            world.know_timeout(retention_ms)
            world.know_duration(times.session_timeout_ms + retention_ms)

    def by_reset(self, crew: Crew, place: LogPartition) -> bool:
        """Say whether a group without an offset begins where its reset says, or is refused."""
        return self._times.new_groups or place in self._added or crew.name in self._expired

    # ---- more log partitions

    def grown(self, topic: str, before: int, count: int) -> None:
        """Learn that a topic has more log partitions: its groups learn of it later."""
        self.usual = False
        self._added.update((topic, index) for index in range(before, count))
        age_ms = self._times.metadata_max_age_ms
        self._world.know_timeout(age_ms)
        self._world.after(age_ms, self._learn, topic)

    def _learn(self, topic: str) -> None:
        places = {place for place in self._added if place[0] == topic}
        for crew in self._crews.values():
            reads = any(topic in one.topics for one in crew.members)
            given = {place for one in crew.members for place in one.given}
            if reads and not places <= given:
                self._world.effects += 1
                self._rebalance(crew, f"{topic} has more log partitions")

    # ---- offsets that expire

    def left(self, crew: Crew) -> None:
        """Learn that a member has left a group: it may have been the last one."""
        retention_ms = self._times.offsets_retention_ms
        if retention_ms is None or crew.members:
            return
        now = self._world.now
        self._emptied[crew.name] = now
        self._world.after(retention_ms, self._expire, (crew, now))

    def _expire(self, emptied: tuple[Crew, int]) -> None:
        crew, since_ms = emptied
        if crew.members or self._emptied[crew.name] != since_ms or not crew.group.committed:
            return
        crew.group.committed.clear()
        crew.group.why = "its offsets have expired"
        self._expired.add(crew.name)
        self.usual = False
        self._world.effects += 1
        self._tell(crew)
