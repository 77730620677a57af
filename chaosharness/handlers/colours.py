"""Which colour a handler has: plain, asyncio, trio, or `async` on harness ports only."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.carrier import PLAIN
from chaosharness.kernel.scope import Incarnation

_ASYNC_FLAGS = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR


def colour_for(function: Callable[..., Any], runtime: str | None, incarnation: Incarnation) -> Any:
    """Return how to run a function: by its kind, and by its service's `runtime`."""
    code = getattr(function, "__code__", None)
    if code is not None and not code.co_flags & _ASYNC_FLAGS:
        return PLAIN  # the common case, told without `inspect`, which takes 4 us
    if not is_async(function):
        return PLAIN
    from chaosharness.handlers.coroutine import PORTS

    if runtime == "ports":
        return PORTS
    raise InvalidDefinition(f"unknown runtime {runtime!r}: asyncio, trio or ports")


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling a function gives a coroutine."""
    while isinstance(function, partial):
        function = function.func
    if inspect.iscoroutinefunction(function):
        return True
    return inspect.iscoroutinefunction(getattr(function, "__call__", None))
