"""What admin clients ask about topics: which there are, to have them made, to have them grow.

Source:
    Apache Kafka 3.9, `ReplicationControlManager.createTopics` and `createPartitions`, `Topic.java`:
    codes and words. Each was heard from a broker by the clients' own admin classes.

Not modelled:
    Copies and where they are: there is one broker, with the number 1. Records of a size of their
    own (`max.message.bytes`) in a topic that is made at run time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from chaosharness.adapters.kafka.kept import SIZE, kept_of, slip_in
from chaosharness.adapters.spoken import led_through, note_spoken
from chaosharness.brokers.kafka.topics import KafkaTopic
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_or_awaited_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel.scope import Scope

FINE: Final = 0
UNKNOWN: Final = 3
ILLEGAL: Final = 17
THERE: Final = 36
NO_NUMBER: Final = 37
NO_CONFIG: Final = 40
BROKER: Final = 1
"""The number of the broker that has everything."""

_NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
NOT_HOSTED: Final = "This server does not host this topic-partition."


@attrs.frozen
class Wanted:
    """A topic that shall be there.

    Attributes:
        name: What it is called.
        count: How many log partitions; -1: as many as the cluster makes by itself, one.
        config: Its configuration.
    """

    name: str
    count: int
    config: Mapping[str, Any]

    @property
    def topic(self) -> KafkaTopic:
        """What is made, where it is."""
        return kept_of(max(self.count, 1), self.config)


@attrs.frozen
class Told:
    """What the cluster answers of a topic: a code, 0 where all is well, and words."""

    name: str
    code: int = FINE
    words: str | None = None


def refused(scope: Scope, library: str, cluster: Any, wanted: Wanted) -> Told | None:
    """Say why a topic is not made; None where it may be.

    Raises:
        InvalidDefinition: A framework asks for it, which is a slip in the wiring; or its records
            may be of a size of their own. It calls the run off.
    """
    note_spoken(scope, library, f"{cluster.name}.create_topics")
    name = wanted.name
    if name in cluster.logs:
        return Told(name, THERE, f"Topic '{name}' already exists.")
    if not _NAME.fullmatch(name):
        words = "contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        return Told(name, ILLEGAL, f"Topic name is invalid: '{name}' {words}")
    if wanted.count == 0 or wanted.count < -1:
        return Told(
            name, NO_NUMBER, "Number of partitions was set to an invalid non-positive value."
        )
    if (slip := slip_in(wanted.config)) is not None:
        return Told(name, NO_CONFIG, slip)
    if led_through(library)[-1] != library:
        known = ", ".join(sorted(cluster.logs))
        what = f"to make a topic {name!r} that {cluster.name} has not"
        words = f"{library}: {what} is not modelled{asked_or_awaited_at()}: declare it in "
        call_off(InvalidDefinition(f"{words}Kafka(...), which has {known}"))
    if SIZE in wanted.config:
        what = f"to make a topic {name!r} with {SIZE} of its own"
        words = (
            f"{library}: {what} is not modelled{asked_or_awaited_at()}: leave that out, and say "
        )
        call_off(InvalidDefinition(f"{words}Kafka(..., size_max=...), which holds for all topics"))
    return None


def too_few(cluster: Any, name: str, count: int) -> Told | None:
    """Say why a topic does not get so many log partitions; None where it does."""
    if name not in cluster.logs:
        return Told(name, UNKNOWN, NOT_HOSTED)
    has = len(cluster.logs[name])
    if count > has:
        return None
    words = f"Topic already has {has} partition(s)."
    if count < has:
        words = (
            f"The topic {name} currently has {has} partition(s); {count} would not be an increase."
        )
    return Told(name, NO_NUMBER, words)


def shown(cluster: Any, names: Any) -> Iterator[tuple[str, int, int]]:
    """Yield topics, their codes, and how many log partitions each has: of all, or of those."""
    for name in cluster.logs if names is None else names:
        there = name in cluster.logs
        yield name, FINE if there else UNKNOWN, len(cluster.logs[name]) if there else 0
