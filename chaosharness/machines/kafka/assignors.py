"""Who in a consumer group gets which log partition."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal, get_args

Assignment = Literal["range", "round-robin", "sticky", "cooperative-sticky"]
ASSIGNMENTS: Final = get_args(Assignment)

LogPartition = tuple[str, int]
"""Topic, and number of the log partition."""


Subscriber = tuple[tuple[str, ...], tuple[LogPartition, ...]]
"""A member, as an assignor sees it: its topics, and what it says it had before."""


@lru_cache(maxsize=1_024)
def shares(
    assignment: Assignment,
    topics: tuple[tuple[str, int], ...],
    subscribers: tuple[Subscriber, ...],
) -> tuple[tuple[LogPartition, ...], ...]:
    """Return the log partitions of each member, in the order of its topics.

    Args:
        assignment: `range`: each topic is cut into ranges, so equal numbers of topics with
            equally many log partitions are at one member (co-partitioned). `round-robin`: all
            log partitions of all topics are dealt out one by one. `sticky`: as even as round
            robin, and everybody keeps what it had as far as that allows.
            `cooperative-sticky`: the same, but what is to change hands is left out of the
            first round, so that nobody has it twice.
        topics: Log partitions of each topic.
        subscribers: Who is in, in the order in which they joined.

    Source: Apache Kafka 3.9, javadoc of RangeAssignor, RoundRobinAssignor, StickyAssignor and
    CooperativeStickyAssignor; all sort the topics by name.

    Not modelled:
        Members are sorted by an id that a broker makes up, so their order is a free choice:
        here the order of joining, but for who comes back (`Coordination.rejoin`). Racks (KIP-881).
        Where members subscribe to different topics, a sticky assignor moves the least it can; here
        one pass evens out.
    """
    topics = tuple(sorted(topics))
    if assignment == "range":
        found = dict(_ranges(topics, subscribers))
    elif assignment == "round-robin":
        found = dict(_dealt(topics, subscribers))
    else:
        found = _stuck(topics, subscribers)
        if assignment == "cooperative-sticky":
            _withhold(found, subscribers)
    counts = dict(topics)
    return tuple(
        tuple(
            (topic, index)
            for topic in wanted
            for index in range(counts[topic])
            if found.get((topic, index)) == number
        )
        for number, (wanted, _) in enumerate(subscribers)
    )


def _ranges(
    topics: tuple[tuple[str, int], ...], subscribers: tuple[Subscriber, ...]
) -> Iterator[tuple[LogPartition, int]]:
    for topic, count in topics:
        readers = [number for number, (wanted, _) in enumerate(subscribers) if topic in wanted]
        if not readers:
            continue
        quota, extra = divmod(count, len(readers))
        longer = extra * (quota + 1)  # the first members get one more each
        for index in range(count):
            nth = index // (quota + 1) if index < longer else extra + (index - longer) // quota
            yield (topic, index), readers[nth]


def _dealt(
    topics: tuple[tuple[str, int], ...], subscribers: tuple[Subscriber, ...]
) -> Iterator[tuple[LogPartition, int]]:
    turn = 0
    for topic, count in topics:
        if not any(topic in wanted for wanted, _ in subscribers):
            continue
        for index in range(count):
            while topic not in subscribers[turn % len(subscribers)][0]:
                turn += 1
            yield (topic, index), turn % len(subscribers)
            turn += 1


def _stuck(
    topics: tuple[tuple[str, int], ...], subscribers: tuple[Subscriber, ...]
) -> dict[LogPartition, int]:
    """Leave with everybody what it had; give the rest, and then the surplus, to who has least."""
    places = [(topic, index) for topic, count in topics for index in range(count)]
    there = set(places)
    found: dict[LogPartition, int] = {}
    held: list[list[LogPartition]] = [[] for _ in subscribers]
    for number, (wanted, owned) in enumerate(subscribers):
        for place in owned:
            if place in there and place not in found and place[0] in wanted:
                found[place] = number
                held[number].append(place)
    for place in places:
        readers = [number for number, one in enumerate(subscribers) if place[0] in one[0]]
        if place not in found and readers:
            least = min(readers, key=lambda number: len(held[number]))
            found[place] = least
            held[least].append(place)
    while _moved_one(found, held, subscribers):
        pass
    return found


def _moved_one(
    found: dict[LogPartition, int],
    held: list[list[LogPartition]],
    subscribers: tuple[Subscriber, ...],
) -> bool:
    """Move one log partition to a member that has two fewer; say whether there was one."""
    for rich in sorted(range(len(held)), key=lambda number: -len(held[number])):
        for place in reversed(held[rich]):
            readers = [number for number, one in enumerate(subscribers) if place[0] in one[0]]
            poor = min(readers, key=lambda number: len(held[number]))
            if len(held[poor]) + 1 < len(held[rich]):
                held[rich].remove(place)
                held[poor].append(place)
                found[place] = poor
                return True
    return False


def _withhold(found: dict[LogPartition, int], subscribers: tuple[Subscriber, ...]) -> None:
    """Leave out what another member still has: it gives it up first, and all join again."""
    for number, (_, owned) in enumerate(subscribers):
        for place in owned:
            if found.get(place, number) != number:
                del found[place]
