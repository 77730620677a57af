"""aio-pika: as it is, on aiormq. What its iterators give is in the hands of who asks for it.

Source:
    aio-pika 10.2, `queue.py` and `robust_queue.py` (`QueueIterator`, `RobustQueueIterator`).

Not modelled:
    What aiormq's adapter leaves out; `pool`s, transactions.
"""

from __future__ import annotations

from typing import Any, Final

from aio_pika import robust_channel, robust_connection, tools
from aio_pika.queue import QueueIterator

from chaosharness.adapters.amqp.handling import HELD_BACK, line_of, put_down, take_in_hand
from chaosharness.adapters.amqp.logs import quiet_in_runs
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.in_order import FrozenInOrder, InOrder, WeakInOrder
from chaosharness.handlers.port import current_scope


async def _next(real: Any, self: QueueIterator) -> Any:
    scope = current_scope("aio_pika.iterator")
    put_down(scope)
    message = await real(self)
    line = line_of(message.channel)
    if line is not None and message.delivery_tag is not None:
        take_in_hand(scope, line, message.delivery_tag)
    return message


def _is_iterator(callback: Any) -> bool:
    return isinstance(getattr(callback, "__self__", None), QueueIterator)


_SETS: Final = {
    "set": InOrder,
    "frozenset": FrozenInOrder,
    "WeakSet": WeakInOrder,
}


def _keep_in_order() -> None:
    """Have channels, queues and callbacks come in their order where a connection is made anew.

    What these modules call `set` is looked up when it is called: a module's own name goes first.
    """
    for module in (robust_channel, robust_connection, tools):
        for name, ours in _SETS.items():
            setattr(module, name, ours)


def _learn() -> None:
    _keep_in_order()
    HELD_BACK.append(_is_iterator)
    quiet_in_runs("aio_pika")


LIBRARY: Final = Library(
    "aio-pika",
    tested=">=9.4,<11",
    seams=(
        Seam("aio_pika.queue:QueueIterator.__anext__", ("self",), _next),
        Seam("aio_pika.robust_queue:RobustQueueIterator.__anext__", ("self",), _next),
    ),
    warm=_learn,
)
