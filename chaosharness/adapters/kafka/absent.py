"""Topics that a cluster does not have: who asked for one is told so as its client tells it.

A name that is known when the program is wired (what a framework subscribes to, what is read in a
way in which the client would wait for ever and say nothing) is a mistake in the wiring, and ends
the run with a sentence. What code asks for while it runs is answered by the client's own error, and
the run takes note of it: reports name the topic beside the libraries that spoke.

Source:
    aiokafka 0.14, kafka-python 3.0 and confluent-kafka 2.16, asked of a broker that makes no
    topics by itself (`auto.create.topics.enable=false`); `benchmarks/kafka_strict.py` asks again.

Not modelled:
    `auto.create.topics.enable=true`; how soon a client that waits for a topic learns that it was
    made since, which is at once here.
"""

from __future__ import annotations

from typing import Any

from chaosharness.adapters.kafka.sending import check_topic
from chaosharness.adapters.spoken import led_through
from chaosharness.kernel.scope import Scope


def is_absent(cluster: Any, topic: str) -> bool:
    """Say whether a cluster does not have a topic; take note that it was asked for."""
    if topic in cluster.logs:
        return False
    cluster.world.lacked.add(f"topic {topic!r} of {cluster.name}")
    return True


def is_unknown(cluster: Any, place: Any) -> bool:
    """Say whether a cluster does not have a log partition, given by a `TopicPartition`."""
    missing = is_absent(cluster, place.topic)
    return missing or not 0 <= place.partition < len(cluster.logs[place.topic])


def check_wired(cluster: Any, library: str, topics: Any) -> None:
    """Refuse topics that a framework above a client subscribes to, and that are not there.

    Raises:
        InvalidDefinition: There is one, which calls the run off.
    """
    for topic in topics:
        if topic not in cluster.logs and led_through(library)[-1] != library:
            check_topic(cluster, topic)


def note_lost(scope: Scope, cluster: Any, topic: str, *, heard: bool) -> None:
    """Write down that a record went nowhere.

    Args:
        scope: Who sent it.
        cluster: Where to.
        topic: What is not there.
        heard: Whether anything of that code is told.
    """
    data = {"outcome": "failed", "happened": False, "error": cluster.no_topic(topic)}
    if not heard:
        data["unheard"] = True
    scope.record("reply", f"{scope.place}/{cluster.name}.publish {topic}", 0, data)
