"""Who in a consumer group gets which log partition."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, get_args

Assignment = Literal["range", "round-robin"]
ASSIGNMENTS: Final = get_args(Assignment)


def assigned(
    assignment: Assignment, topics: Mapping[str, int], members: int
) -> dict[tuple[str, int], int]:
    """Return for each log partition the number of the member that gets it.

    Args:
        assignment: `range`: each topic is cut into ranges, so equal numbers of topics with
            equally many log partitions are at one member (co-partitioned). `round-robin`: all
            log partitions of all topics are dealt out one by one.
        topics: Log partitions of each topic, in the order of the subscription.
        members: How many there are, from 1.

    Source: Apache Kafka 3.9, javadoc of RangeAssignor and RoundRobinAssignor; both sort the
    topics by name.
    """
    return dict(_assigned(assignment, tuple(topics.items()), members))


@lru_cache(maxsize=256)
def _assigned(
    assignment: Assignment, topics: tuple[tuple[str, int], ...], members: int
) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    turn = 0
    for topic, count in sorted(topics):
        quota, extra = divmod(count, members)
        for index in range(count):
            if assignment == "round-robin":
                found[topic, index] = turn % members
                turn += 1
            else:
                longer = extra * (quota + 1)  # the first members get one more each
                found[topic, index] = (
                    index // (quota + 1) if index < longer else extra + (index - longer) // quota
                )
    return found
