"""A log with a leader and its in-sync replicas, as Kafka keeps one, in plain code.

chaosharness run models.protocols.replication:replication
"""

from __future__ import annotations

from chaosharness import Env, History, Property, System, eventually
from models.protocols import NO_ANSWER, alive, service_of

REPLICAS = ("a", "b", "c")
LEADER = "a"
DEAD_MAX = 1
"""Replicas that may die: with more of them nothing is promised."""


class TooFew(Exception):
    """Fewer replicas are in sync than the topic asks for: nothing was stored."""


class Replica:
    """Keeps records in memory. The leader has each one copied before it answers.

    A replica that does not answer in time is in sync no more, and is not waited for again.
    """

    def __init__(self, env: Env, name: str, least: int) -> None:
        self.env = env
        self.least = least
        self.in_sync = [replica for replica in REPLICAS if replica != name]
        self.records: set[str] = set()

    def write(self, record: str) -> bool:
        """Lead: store a record, here and at each replica that is in sync."""
        self.store(record)
        for replica in tuple(self.in_sync):
            self.copy(replica, record)
        if 1 + len(self.in_sync) < self.least:
            raise TooFew(record)
        return True

    def copy(self, replica: str, record: str) -> None:
        """Copy a record to a replica, or leave it behind."""
        try:
            self.env.call(replica, "store", record, timeout_s=1)
        except NO_ANSWER:
            self.in_sync.remove(replica)

    def store(self, record: str) -> bool:
        """Follow: store a record."""
        if record not in self.records:
            self.records.add(record)
            self.env.note("stored", record=record)
        return True


def acknowledged_is_kept(history: History) -> list[str]:
    """Say which records a producer was told are safe, and no living replica has."""
    living = alive(history, REPLICAS)
    if len(living) < len(REPLICAS) - DEAD_MAX:
        return []
    stored = {
        event.data["record"]
        for event in history.of("note")
        if event.data["what"] == "stored" and service_of(event.actor) in living
    }
    return [
        f"{event.data['record']} was acknowledged, and is lost"
        for event in history.of("note")
        if event.data["what"] == "acknowledged" and event.data["record"] not in stored
    ]


KEPT: Property = eventually("what was acknowledged is kept", acknowledged_is_kept)


def _replication(name: str, least: int) -> System:
    group = System(name)

    def add(one: str) -> None:
        @group.service(one)
        def build(env: Env) -> None:
            made = Replica(env, one, least)
            env.serve("write", made.write)
            env.serve("store", made.store)

    for one in REPLICAS:
        add(one)

    @group.entry(examples=[["r1", "r2"]])
    def produce(env: Env, records: list[str]) -> None:
        for record in records:
            if env.call(LEADER, "write", record):
                env.note("acknowledged", record=record)

    group.claim(KEPT)
    return group


def replication() -> System:
    """Broken by a leader that lost sight of both others, answered alone, and died."""
    return _replication("replication", least=1)


def replication_with_a_least_number() -> System:
    """Right where one replica dies: two have what is acknowledged (`min.insync.replicas`)."""
    return _replication("replication with a least number in sync", least=2)
