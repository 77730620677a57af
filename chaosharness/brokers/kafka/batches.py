"""Which log partition gets a record without a key, where a producer stays with one for a batch.

Source:
    KIP-480 (sticky: all records without a key of a producer go to one log partition until its batch
    is complete, and then to another); `linger.ms`; librdkafka's `sticky.partitioning.linger.ms`
    (10 ms). Java since 3.3 (KIP-794) stays longer: until it has sent `batch.size` bytes there.

Not modelled:
    A batch that is full before its time; a slow log partition that gets less (KIP-794). The next
    log partition is drawn by the clients, and here the one after that of the last batch.
"""

from __future__ import annotations

from typing import Literal, get_args

Unkeyed = Literal["spread", "sticky"]
UNKEYED = get_args(Unkeyed)


class Batches:
    """The batches of all producers of one run.

    Args:
        linger_ms: How long a batch is open.
    """

    def __init__(self, linger_ms: int) -> None:
        self._linger_ms = linger_ms
        self._begun: dict[str, int] = {}
        self._open: dict[tuple[object, str], tuple[int, int]] = {}

    def place(self, producer: object, topic: str, count: int, now: int) -> int:
        """Return the log partition of the next record of a producer that has no key."""
        known = self._open.get((producer, topic))
        if known is not None and now - known[1] < self._linger_ms:
            return known[0]
        begun = self._begun.get(topic, 0)
        self._begun[topic] = begun + 1
        index = begun % count
        self._open[producer, topic] = index, now
        return index
