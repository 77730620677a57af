"""Other clients of confluent-kafka: those of asyncio, consumers that share. Refused by name.

Source:
    confluent-kafka 2.16: `confluent_kafka.aio` calls a plain client in threads of a pool;
    `ShareConsumer` (KIP-932).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

import confluent_kafka

from chaosharness.adapters.dispatch import Swap, inside
from chaosharness.adapters.kafka.confluent.message import LIBRARY
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off

_ASYNCIO: Final = "confluent_kafka.aio"
_SHARE: Final = ("ShareConsumer", "DeserializingShareConsumer")


def refuse_asyncio() -> None:
    """Refuse a client that one of those of asyncio makes.

    Raises:
        InvalidDefinition: It is one, which calls the run off.
    """
    maker = sys._getframe(2)
    if str(maker.f_globals.get("__name__", "")).startswith(_ASYNCIO):
        kind = type(maker.f_locals.get("self")).__name__
        plain = kind.removeprefix("AIO")
        _refuse(f"{kind}{asked_at()}, as all of {_ASYNCIO}, is", f"{plain}, in a thread,")


def share_swaps() -> tuple[Swap, ...]:
    """Return what refuses consumers that share, in versions that have them."""
    known = [name for name in _SHARE if hasattr(confluent_kafka, name)]
    return tuple(Swap(f"confluent_kafka:{name}", _refused(name)) for name in known)


def _refused(name: str) -> Callable[[Any], Any]:
    def stand(real: Any) -> Any:
        def new(kind: Any, *given: Any, **options: Any) -> Any:
            if inside():
                _refuse(f"{name}{asked_at()}, with its share groups (KIP-932), is", "Consumer")
            return real.__new__(kind, *given, **options)

        return type(name, (real,), {"__new__": new, "__module__": real.__module__})

    return stand


def _refuse(what: str, instead: str) -> NoReturn:
    call_off(InvalidDefinition(f"{LIBRARY}: {what} not modelled. Use {instead} for the test"))
