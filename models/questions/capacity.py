"""10,000 workflows a second of five steps: does the store bear it, and an outage of it?

chaosharness capacity --rate 10000 --steps 5
"""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.capacity.costs import engine_of
from chaosharness.capacity.load import Load, Outage
from chaosharness.capacity.queueing import simulate

LOAD: Final = Load(engine=engine_of("temporal"), rate=10_000, steps=5, latency_ms=5, step_ms=50)


@attrs.frozen(kw_only=True)
class Plan:
    """What is bought, and how long is waited for a step.

    Attributes:
        shards: Of the store.
        timeout_s: After which a step is run again.
    """

    shards: int
    timeout_s: float

    def bears_the_load(self) -> bool:
        """Say whether the shards do more transactions a second than come in."""
        return LOAD.utilisation(self.shards) < 1

    def run_twice(self, outage_s: float) -> int:
        """Return how many steps run twice because the store was away."""
        outage = Outage(seconds=outage_s, timeout_s=self.timeout_s)
        return simulate(LOAD, shards=self.shards, outage=outage).duplicated


def right() -> Plan:
    """Shards with room, and a timeout that outlives an outage of five seconds."""
    return Plan(shards=2_048, timeout_s=60)


def timeout_shorter_than_the_outage() -> Plan:
    """Each step that is at work when the store goes is run twice."""
    return Plan(shards=2_048, timeout_s=3)


def too_few_shards() -> Plan:
    """The queue grows for ever; and the number of shards can never be changed."""
    return Plan(shards=1_024, timeout_s=60)
