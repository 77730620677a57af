"""A handler that Kafka calls, in a process that is told to stop: it leaves its group by itself.

Source:
    javadoc of KafkaConsumer, `close`: it leaves the group, and what it has is reassigned without
    waiting for its session to end. What was handed to its handler is committed before.
"""

from __future__ import annotations

import msgspec

from chaosharness.brokers.kafka.coordination import Coordination
from chaosharness.brokers.kafka.members import Member


class Leaving(msgspec.Struct, eq=False):
    """One member whose process may be told to stop."""

    groups: Coordination
    member: Member

    def cease(self) -> None:
        """Leave the group, once nothing is in hand."""
        member = self.member
        member.leaves = True
        if member.busy_since < 0:
            self.groups.catch_up(member)
        else:
            member.stale = True  # it looks what has become of it when its handler has ended

    def is_busy(self) -> bool:
        """Say whether something is in hand."""
        return self.member.leaves
