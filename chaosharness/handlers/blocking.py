"""Ports that block in `async` code: how much code there calls a client that is not async.

The call happens inside the coroutine and takes virtual time, with its faults as usual, and
the event loop of that incarnation stands still meanwhile, as it would in production.

Not modelled:
    Under the runtime `ports` there is no loop: the one coroutine stands still, and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from chaosharness.handlers.script import Script, T
from chaosharness.kernel.scope import SCOPE, Scope


class Blocked:
    """The colour of `async` code while it is inside a call that blocks."""

    is_async = False
    checkpoint = None

    def __init__(self, own: Any) -> None:
        self.own = own
        self.name = own.name

    def drive(self, script: Script[T], scope: Scope) -> T:
        """Wait in the caller's place, with its event loop."""
        return self.own.block(script, scope)  # type: ignore[no-any-return]

    block = drive

    def running_loop(self) -> Any:
        """Return the event loop that the call stands in, if it runs now."""
        return self.own.running_loop()


def blocking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a port that blocks, whatever the colour of its caller."""

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        scope = SCOPE.get()
        if scope is None or not scope.colour.is_async:
            return function(*arguments, **options)
        own = scope.colour
        scope.colour = Blocked(own)
        try:
            return function(*arguments, **options)
        finally:
            scope.colour = own

    return call


class BlockingClient:
    """Stands for a client, connection or consumer: its methods block instead of being awaited."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return blocking(value) if callable(value) else value

    def __contains__(self, key: object) -> bool:
        return key in self._client

    def __iter__(self) -> BlockingClient:
        iter(self._client)
        return self

    def __next__(self) -> Any:
        return blocking(self._client.__next__)()
