"""What a service was given while it was built: its subscriptions, and the ports in its objects."""

from __future__ import annotations

from typing import Any, Literal

import attrs

WireKind = Literal["env", "consume", "consumer", "publisher", "client", "serve", "task", "main"]


@attrs.frozen
class Wire:
    """One thing that a service asked its `env` for.

    Attributes:
        kind: What it asked for.
        part: The broker, third party or engine; empty for calls and main loops.
        sources: Topics, queues, endpoints or tasks that lead here.
        place: The handler or loop, `payments.on_order`; of a port the service.
        value: The function that was given, or the port that was returned.
    """

    kind: WireKind
    part: str
    sources: tuple[str, ...]
    place: str
    value: Any = attrs.field(repr=False)


@attrs.frozen
class Port:
    """Something that leads out of a service: what code that is read may call.

    Attributes:
        kind: A publisher, a consumer, a client of a third party; or `env` itself.
        part: The broker or third party; of `env` the service.
        method: What is called of it.
    """

    kind: Literal["publisher", "consumer", "client", "env"]
    part: str
    method: str = ""


@attrs.frozen
class Deed:
    """Something that code does, as it stands there.

    Attributes:
        kind: An event that is published, an effect at a third party, a call of another service.
        part: The broker, third party or service.
        name: The topic, method or endpoint; None where no code says it.
        exchange: The exchange it goes through, where a broker has such.
    """

    kind: Literal["event", "effect", "call"]
    part: str
    name: str | None
    exchange: str = ""
