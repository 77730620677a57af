"""kafka-python: `KafkaConsumer` and `KafkaProducer`, as duck types.

The real ones talk through selectors in threads of their own. A client that a module makes when it
is imported becomes one of ours, or a real one, when it is used.

Source:
    kafka-python 3.0, `consumer/`, `coordinator/`, `producer/`; what is read of them stands in the
    files of this room. Its defaults: `enable_auto_commit` true, every 5 s, inside `poll` and when
    it is closed; `enable_idempotence` true; `delivery_timeout_ms` 2 minutes; `auto_offset_reset`
    latest.

Not modelled:
    Versions before 3.0. Partitioners, `send` with a timestamp, metadata and metrics, of
    the admin client what is not about topics, listeners that are async. What is asked for by name
    and is not there, ends the run and says so. Connecting is always answered, and so are requests
    for offsets. Replicas share one configuration here, so a `group_instance_id` or
    `transactional_id` is taken for one of each.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Seam, Swap
from chaosharness.adapters.kafka.early import door, refuse_real
from chaosharness.adapters.kafka.kafka_python.admin import Admin
from chaosharness.adapters.kafka.kafka_python.consumer import Consumer
from chaosharness.adapters.kafka.kafka_python.producer import Producer
from chaosharness.adapters.kafka.kafka_python.records import LIBRARY as NAME


def _as_it_is(real: Any, *given: Any, **options: Any) -> Any:
    return real(*given, **options)


_SHAPE: Final = {
    "KafkaConsumer.bootstrap": ("self", "timeout_ms", "refresh"),  # since 3.0
    "KafkaConsumer.poll": ("self", "timeout_ms", "max_records", "update_offsets"),
    "KafkaConsumer.commit": ("self", "offsets", "timeout_ms"),
    "KafkaConsumer.close": ("self", "autocommit", "timeout_ms"),
    "KafkaProducer.flush": ("self", "timeout"),
}
"""Methods by which a version is known that this adapter does not know."""

LIBRARY: Final = Library(
    NAME,
    tested=">=3.0,<4",
    seams=(*(Seam(f"kafka:{name}", takes, _as_it_is) for name, takes in _SHAPE.items()),),
    swaps=(
        Swap("kafka:KafkaConsumer", door(Consumer)),
        Swap("kafka:KafkaProducer", door(Producer)),
        Swap("kafka.admin.client:KafkaAdminClient", door(Admin)),
    ),
    late=partial(refuse_real, NAME, (Consumer, Producer, Admin)),
)
