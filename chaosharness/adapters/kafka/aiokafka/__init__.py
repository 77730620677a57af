"""aiokafka: `AIOKafkaConsumer` and `AIOKafkaProducer`, method by method.

Their classes stay the library's own, and so does what they do without a cluster: `async for`,
`async with`. Each method that asks the cluster for something is met where it is called.

Source:
    aiokafka 0.14, `consumer/`, `producer/`; what is read of them stands in the files of this room.
    Its defaults: `enable_auto_commit` true, every 5 s; `acks` 1; `enable_idempotence` false;
    `request_timeout_ms` 40 s; `auto_offset_reset` latest; round robin.

Not modelled:
    Partitioners, `send` with a timestamp, batches made by hand, metadata, what the admin client
    does beside `create_topics`. What is asked for by name and is not there, ends
    the run and says so. Starting is always answered, and so are requests for offsets. Replicas
    share one configuration here, so a `group_instance_id` or `transactional_id` is taken for one of
    each. `subscribe` a second time, after `start`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction, signature
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin.client import AIOKafkaAdminClient

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.kafka.aiokafka.admin import Admin
from chaosharness.adapters.kafka.aiokafka.consumer import Consumer
from chaosharness.adapters.kafka.aiokafka.producer import Producer
from chaosharness.adapters.kafka.aiokafka.records import LIBRARY as NAME
from chaosharness.adapters.kafka.aiokafka.records import left_out
from chaosharness.adapters.unmodelled import not_modelled

_OURS: Final = "_in_a_run"
"""What holds, in an object of the library's class, what stands for it."""
_OPTIONS: Final = {
    kind: frozenset(signature(kind.__init__).parameters)
    for kind in (AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient)
}
"""What each of them may be given."""
_AS_IT_IS: Final = ("transaction",)
"""Methods that ask for nothing themselves."""


class Inside:
    """What FastStream reads of a consumer's insides, for what it logs."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    @property
    def member_id(self) -> str:
        """What it is called in its group."""
        return self._consumer.label

    @property
    def topics(self) -> frozenset[str]:
        """What it reads."""
        return self._consumer.subscription()


class Manager:
    """What the client's own transaction context asks when its body has failed."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def is_fatal_error(self) -> bool:
        """Say whether nothing can be asked of the producer any more."""
        return self._producer.is_fenced


def _check_options(kind: type, options: dict[str, Any]) -> None:
    """Refuse an option that the client does not have, as Python does.

    Raises:
        TypeError: It has none such.
    """
    for name in options:
        if name not in _OPTIONS[kind]:
            words = f"{kind.__name__}.__init__() got an unexpected keyword argument {name!r}"
            raise TypeError(words)


def _init_consumer(real: Any, self: Any, *topics: Any, **options: Any) -> None:
    _check_options(AIOKafkaConsumer, options)
    ours = Consumer(*topics, **options)
    setattr(self, _OURS, ours)
    self._coordinator = self._subscription = Inside(ours)
    self._closed = 0  # neither closed, nor left open: its `__del__` would complain of a crash
    self._group_id = options.get("group_id")


def _init_producer(real: Any, self: Any, **options: Any) -> None:
    _check_options(AIOKafkaProducer, options)
    ours = Producer(**options)
    setattr(self, _OURS, ours)
    self._closed = 0  # neither closed, nor left open: its `__del__` would complain of a crash
    self._txn_manager = Manager(ours)


def _init_admin(real: Any, self: Any, **options: Any) -> None:
    _check_options(AIOKafkaAdminClient, options)
    setattr(self, _OURS, Admin(**options))


def _met(name: str) -> Callable[..., Any]:
    """Return what has a method of ours called in place of the library's."""

    def call(real: Any, self: Any, *given: Any, **options: Any) -> Any:
        ours = vars(self).get(_OURS)
        if ours is None:
            left_out(f"a {type(self).__name__} that was made outside of this run")
        if name == "stop":
            self._closed = True
        return getattr(ours, name)(*given, **options)

    return call


def _refused(kind: str, name: str) -> Callable[..., Any]:
    def call(real: Any, self: Any, *given: Any, **options: Any) -> Any:
        not_modelled(NAME, kind, name)

    return call


def _seams(real: type, ours: type, init: Any) -> list[Seam]:
    """Return where the methods of a class are met; what ours lacks is refused by name."""
    kind = real.__name__
    takes = tuple(signature(real.__init__).parameters)  # type: ignore[misc]
    where = real.__module__
    found = [Seam(f"{where}:{kind}.__init__", takes, init)]
    for name in dir(ours):
        method = getattr(ours, name)
        if isfunction(method) and not name.startswith("_"):
            mine = tuple(signature(method).parameters)
            found.append(Seam(f"{where}:{kind}.{name}", mine, _met(name)))
    for name, method in vars(real).items():
        if name.startswith("_") or name in _AS_IT_IS or hasattr(ours, name):
            continue
        if isfunction(method):
            theirs = tuple(signature(method).parameters)
            found.append(Seam(f"{where}:{kind}.{name}", theirs, _refused(kind, name)))
    return found


LIBRARY: Final = Library(
    NAME,
    tested=">=0.12,<0.15",
    seams=(
        *_seams(AIOKafkaConsumer, Consumer, _init_consumer),
        *_seams(AIOKafkaProducer, Producer, _init_producer),
        *_seams(AIOKafkaAdminClient, Admin, _init_admin),
    ),
)
