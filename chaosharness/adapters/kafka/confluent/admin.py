"""The admin client of confluent-kafka, as far as programs use it: topics, and their log partitions.

Source:
    confluent-kafka 2.16, `admin/__init__.py`; what its futures give and raise, as observed on a
    broker.

Not modelled:
    The code that asks waits for the answer where it asks, and not at `result()`: nothing else of it
    goes on meanwhile. `poll()` of an admin client says that it is closed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import Future
from functools import wraps
from inspect import isfunction, signature
from typing import Any, Final, cast

from confluent_kafka import KafkaError, Node, TopicCollection, TopicPartitionInfo, Uuid
from confluent_kafka import admin as theirs
from confluent_kafka.admin._topic import TopicDescription

from chaosharness.adapters.dispatch import Seam, inside
from chaosharness.adapters.kafka.confluent.message import LIBRARY, refusal
from chaosharness.adapters.kafka.confluent.places import words_of
from chaosharness.adapters.kafka.confluent.settings import Settings
from chaosharness.adapters.kafka.servers import cluster_at
from chaosharness.adapters.kafka.topics import (
    BROKER,
    FINE,
    THERE,
    Told,
    Wanted,
    refused,
    shown,
    too_few,
)
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.kafka.errors import InvalidPartitions, TopicExists
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.scope import Scope

PORT = 9092


def metadata_of(cluster: Any, topic: str | None) -> Any:
    """Return what a cluster is like, as `list_topics` shows it: all topics, or one."""
    found: Any = theirs.ClusterMetadata()  # type: ignore[attr-defined]
    found.cluster_id = cluster.name
    found.controller_id = found.orig_broker_id = BROKER
    found.orig_broker_name = f"{cluster.name}:{PORT}/{BROKER}"
    broker: Any = theirs.BrokerMetadata()  # type: ignore[attr-defined]
    broker.id, broker.host, broker.port = BROKER, cluster.name, PORT
    found.brokers = {BROKER: broker}
    for name, code, count in shown(cluster, None if topic is None else [topic]):
        one: Any = theirs.TopicMetadata()  # type: ignore[attr-defined]
        one.topic = name
        one.error = None if code == FINE else KafkaError(code)
        for index in range(count):
            part: Any = theirs.PartitionMetadata()  # type: ignore[attr-defined]
            part.id, part.leader, part.replicas, part.isrs = index, BROKER, [BROKER], [BROKER]
            one.partitions[index] = part
        found.topics[name] = one
    return found


_OURS: Final = "_in_a_run"
"""What holds, in an object of the library's class, what stands for it."""
_GIVEN: Final = "_made_with"
"""What holds, in one that was made outside of any run, what it was made with."""
_CONNECTED: Final = "_connected"
"""What says, in such a one, that it was used there."""


def _init(real: Any, self: Any, *given: Any, **options: Any) -> None:
    setattr(self, _OURS, Admin(*given, **options))


def _met(name: str) -> Callable[..., Any]:
    """Return what has a method of ours called in place of the library's, or refuses it."""

    def call(real: Any, self: Any, *given: Any, **options: Any) -> Any:
        if name not in vars(Admin):
            not_modelled(LIBRARY, "AdminClient", name)
        return getattr(_ours(self), name)(*given, **options)

    return call


def _ours(self: Any) -> Admin:
    """Return what stands for a client in this process; one of a module stands in each anew."""
    found = vars(self).get(_OURS)
    if found is not None:
        return cast("Admin", found)
    clients = current_scope("confluent_kafka.AdminClient").incarnation.clients
    if self not in clients:
        given, options = vars(self)[_GIVEN]
        clients[self] = Admin(*given, **options)
    return cast("Admin", clients[self])


def connect_when_used() -> None:
    """Have a client that a module makes when it is imported connect when it is used there."""
    real: Any = theirs.AdminClient
    init = real.__init__

    @wraps(init)
    def made(self: Any, *given: Any, **options: Any) -> None:
        if not inside():
            vars(self)[_GIVEN] = given, options
        else:
            init(self, *given, **options)

    def late(method: Any) -> Any:
        @wraps(method)
        def call(self: Any, *given: Any, **options: Any) -> Any:
            if not inside() and not vars(self).get(_CONNECTED, False):
                words = vars(self)[_GIVEN]
                init(self, *words[0], **words[1])
                vars(self)[_CONNECTED] = True
            return method(self, *given, **options)

        return call

    real.__init__ = made
    for name in _methods(real):
        setattr(real, name, late(getattr(real, name)))


def admin_seams() -> tuple[Seam, ...]:
    """Return where the methods of `AdminClient` are met: its own ask for it by its name."""
    real = theirs.AdminClient
    where = f"{real.__module__}:{real.__name__}"
    init = Seam(f"{where}.__init__", ("self", "conf", "kwargs"), _init, lately=("kwargs",))
    return (
        init,
        *(
            Seam(f"{where}.{one}", tuple(signature(getattr(real, one)).parameters), _met(one))
            for one in _methods(real)
        ),
    )


def _methods(real: Any) -> list[str]:
    return [one for one, method in vars(real).items() if isfunction(method) and one[0] != "_"]


class Admin:
    """What stands for a `confluent_kafka.admin.AdminClient` inside a run."""

    def __init__(self, *given: Any, **options: Any) -> None:
        settings = Settings("Producer", given, options)
        scope = current_scope("confluent_kafka.AdminClient")
        self._world = scope.world
        self._cluster = cluster_at(scope, LIBRARY, settings.get("bootstrap.servers"))

    def _scope(self, what: str) -> Scope:
        scope = current_scope(what, self._world)
        note_spoken(scope, LIBRARY, f"{self._cluster.name}.{what}")
        return scope

    def create_topics(
        self, new_topics: Any, *, validate_only: bool = False, **timeouts: Any
    ) -> dict[str, Future[None]]:
        """Make topics, one after the other; what becomes of each, its future tells."""
        scope = self._scope("create_topics")
        found = {}
        for one in new_topics:
            given = one.replica_assignment
            wanted = Wanted(
                one.topic, len(given) if given else one.num_partitions, one.config or {}
            )
            no = refused(scope, LIBRARY, self._cluster, wanted)
            ask: Callable[[], Any] | None = None
            if no is None and not validate_only:
                ask = self._making(wanted)
            found[one.topic] = _asked(no, ask)
        return found

    def _making(self, wanted: Wanted) -> Callable[[], Told | None]:
        def make() -> Told | None:
            try:
                blocking(self._cluster.client().create_topic)(wanted.name, wanted.topic)
            except TopicExists:
                return Told(wanted.name, THERE, f"Topic '{wanted.name}' already exists.")
            return None

        return make

    def create_partitions(
        self, new_partitions: Any, *, validate_only: bool = False, **timeouts: Any
    ) -> dict[str, Future[None]]:
        """Have topics have more log partitions, one topic after the other."""
        self._scope("create_partitions")
        if validate_only:
            words = f"{LIBRARY}: create_partitions(validate_only=True) is not modelled{asked_at()}"
            call_off(InvalidDefinition(words))
        found = {}
        for one in new_partitions:
            topic, count = one.topic, one.new_total_count
            found[topic] = _asked(too_few(self._cluster, topic, count), self._growing(topic, count))
        return found

    def _growing(self, topic: str, count: int) -> Callable[[], Told | None]:
        def grow() -> Told | None:
            try:
                blocking(self._cluster.client().create_partitions)(topic, count)
            except InvalidPartitions:
                return too_few(self._cluster, topic, count)
            return None

        return grow

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """Return what the cluster is like: all topics, or one."""
        self._scope("list_topics")
        return metadata_of(self._cluster, topic)

    def describe_topics(self, topics: Any, **options: Any) -> dict[str, Future[Any]]:
        """Return what each of these topics is like.

        Raises:
            TypeError: They are in no `TopicCollection`.
        """
        if not isinstance(topics, TopicCollection):
            raise TypeError("Expected input to be instance of TopicCollection")
        self._scope("describe_topics")
        node = Node(BROKER, self._cluster.name, PORT)
        found: dict[str, Future[Any]] = {}
        for name, code, count in shown(self._cluster, list(topics.topic_names)):
            one: Future[Any] = Future()
            found[name] = one
            if code != FINE:
                one.set_exception(refusal(code, words_of(code)))
                continue
            parts = [TopicPartitionInfo(index, node, [node], [node]) for index in range(count)]
            number = Uuid(0, zlib.crc32(name.encode()) + 1)
            one.set_result(TopicDescription(name, number, False, parts))
        return found


def _asked(no: Told | None, ask: Callable[[], Told | None] | None) -> Future[None]:
    """Return what comes of asking: it is over when it is returned."""
    found: Future[None] = Future()
    try:
        no = no or (ask and ask())
    except TimeoutError:
        words = f"Failed while waiting for response from broker: {words_of(KafkaError._TIMED_OUT)}"
        found.set_exception(refusal(KafkaError._TIMED_OUT, words))
        return found
    if no is None:
        found.set_result(None)
    else:
        found.set_exception(refusal(no.code, no.words or ""))
    return found
