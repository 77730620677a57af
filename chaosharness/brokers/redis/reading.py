"""Who reads a stream, and how an entry is acknowledged: the same for a handler and for a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from chaosharness.brokers.redis.desk import Desk, Held, Reader
from chaosharness.brokers.trouble import one_of
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.machines.redis import operations as op

Start = Literal["0", "$"]


def text_of(option: str, given: Any) -> str:
    """Return a name, if it is one.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(given, str) or not given:
        raise ValueError(f"{option} must be a text, not {given!r}")
    return given


def reader_for(
    desk: Desk,
    incarnation: Incarnation,
    stream: str,
    service: str,
    take: Callable[[list[Held]], None],
    *,
    group: str | None,
    name: str | None,
    start: Start,
) -> Reader:
    """Return who reads a stream for an incarnation, until that dies; its group is made.

    Raises:
        ValueError: A name is none, or nothing can start there.
    """
    one_of(get_args(Start), start=start)
    own = f"{service}-{incarnation.replica}"
    place = stream, service if group is None else text_of("group", group)
    consumer = own if name is None else text_of("name", name)
    operation = f"{desk.name}.{stream}/deliver to {service}"
    reader = Reader(incarnation, place, consumer, operation, take)
    desk.join(reader, start)
    return reader


def ack(desk: Desk, reader: Reader, held: Held, scope: Scope, operation: str, attempt: int) -> bool:
    """Have Redis acknowledge an entry; say whether it was pending."""
    stream, group = reader.place
    return bool(desk.do(op.Ack(stream, group, (held.id,)), scope, operation, attempt))
