"""confluent-kafka: `Producer` and `Consumer`, and those that serialize, as duck types.

The real ones are written in C and work in threads of their own. A client that a module makes when
it is imported becomes one of ours, or a real one, when it is used.

Source:
    confluent-kafka 2.16, `Producer` and `Consumer` (documentation of their methods); librdkafka,
    INTRODUCTION.md ("Message reliability", "Consumer: auto offset commit") and CONFIGURATION.md:
    `linger.ms` 5, `message.timeout.ms` 300,000, `enable.idempotence` false, `enable.auto.commit`
    true, `auto.commit.interval.ms` 5,000, `enable.auto.offset.store` true: an offset is stored when
    its record is handed out, before any of it is done; `isolation.level` read_committed,
    `message.max.bytes` 1,000,000, `transaction.timeout.ms` 60,000.

Not modelled:
    Batches (a record is sent alone, once it has lingered), statistics and logs, the asyncio
    clients, of `AdminClient` what is not about topics. What is asked for by name and is not there,
    ends the run and says so. Requests for a committed offset or a watermark are always
    answered. Replicas share one configuration here, so a `group.instance.id` and a
    `transactional.id` are taken for one of each replica.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Swap, inside
from chaosharness.adapters.kafka.confluent.admin import admin_seams, connect_when_used
from chaosharness.adapters.kafka.confluent.consumer import Consumer, DeserializingConsumer
from chaosharness.adapters.kafka.confluent.others import share_swaps
from chaosharness.adapters.kafka.confluent.producer import Producer, SerializingProducer
from chaosharness.adapters.kafka.confluent.settings import REALS
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.scope import SCOPE

OURS: Final[dict[str, type]] = {
    "Consumer": Consumer,
    "DeserializingConsumer": DeserializingConsumer,
    "Producer": Producer,
    "SerializingProducer": SerializingProducer,
}


class Either:
    """A client that was made outside of any run: it is made when it is used, there or here."""

    def __init__(self, real: type, ours: type, given: tuple[Any, ...], options: Any) -> None:
        self._real = real
        self._ours = ours
        self._given = given
        self._options = options
        self._made: Any = None

    def _now(self) -> Any:
        scope = SCOPE.get()
        if scope is None:
            if self._made is None:
                self._made = self._real(*self._given, **self._options)
            return self._made
        clients = scope.incarnation.clients
        if self not in clients:
            clients[self] = self._ours(*self._given, **self._options)
        return clients[self]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now(), name)

    def __len__(self) -> int:
        return len(self._now())

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Any:
        return self._now().__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._now().__exit__(*error)


def _door(ours: type) -> Any:
    """Return what makes a class of ours stand for the real one."""

    def door(real: Any) -> Any:
        REALS[real.__name__] = real

        def new(kind: type, *given: Any, **options: Any) -> Any:
            if inside():
                return object.__new__(kind)
            if kind is made:
                return Either(real, ours, given, options)
            names = {name: value for name, value in vars(kind).items() if name not in _OWN}
            return type(kind.__name__, (real,), names)(*given, **options)

        words = {"__new__": new, "__module__": __name__, "__doc__": real.__doc__}
        made = _Passes(real.__name__, (ours,), words)
        made.real = real
        return made

    return door


_OWN: Final = ("__dict__", "__weakref__")


class _Passes(type):
    """The class of what stands for a real class: the real one's objects are its own."""

    real: type

    def __instancecheck__(cls, value: Any) -> bool:
        theirs = (Either, getattr(cls, "real", Either))
        return type.__instancecheck__(cls, value) or isinstance(value, theirs)


def made_too_early() -> None:
    """Refuse clients that modules made before this adapter was there: they are real ones.

    Raises:
        InvalidDefinition: It names the first.
    """
    reals = tuple(one for one in map(REALS.get, OURS) if one is not None)
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is not dict:
            continue
        for name, value in list(names.items()):
            if issubclass(type(value), reals):
                where = f"{names.get('__name__')}.{name}"
                raise InvalidDefinition(
                    f"{where} is a real {type(value).__name__} of confluent-kafka: its module was "
                    "imported before chaosharness could meet the library. Import KafkaServers "
                    "first, then that module: from chaosharness import KafkaServers"
                )


LIBRARY: Final = Library(
    "confluent-kafka",
    tested=">=2.4,<3",
    seams=admin_seams(),
    swaps=(
        *(Swap(f"confluent_kafka:{name}", _door(ours)) for name, ours in OURS.items()),
        *share_swaps(),
    ),
    warm=connect_when_used,
    late=made_too_early,
)
