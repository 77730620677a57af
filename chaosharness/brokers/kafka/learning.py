"""When clients learn of what has become of a topic: it was made, it has more log partitions.

Source:
    Producer configuration, `metadata.max.age.ms` (5 minutes); librdkafka,
    `topic.metadata.refresh.interval.ms` (likewise).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness.kernel.world import World


class Learning:
    """What clients do not know yet, and who waits for a topic.

    Args:
        world: The run.
        age_ms: How often a producer asks.

    Attributes:
        grew: Of topics that have grown, and producers learn of it late: when, and how many before.
    """

    def __init__(self, world: World, age_ms: int) -> None:
        self._world = world
        self._age_ms = age_ms
        self._awaited: dict[str, list[Callable[[Any], None]]] = {}
        self.grew: dict[str, list[tuple[int, int]]] = {}

    def known(self, topic: str, since_ms: int, count: int) -> int:
        """Return how many log partitions a producer takes a topic for that was made at a moment.

        It asks when it is made, and each `age_ms` from then on. There are `count` by now.
        """
        now = self._world.now
        asked_ms = now - (now - since_ms) % self._age_ms
        for grew_ms, before in self.grew.get(topic, ()):
            if asked_ms < grew_ms:
                return before
        return count

    def when_made(self, topic: str, call: Callable[[Any], None]) -> None:
        """Have something called when a topic is made that is not there yet."""
        self._awaited.setdefault(topic, []).append(call)

    def made(self, topic: str) -> None:
        """Tell whoever waits for a topic."""
        for call in self._awaited.pop(topic, ()):
            self._world.after(0, call)
