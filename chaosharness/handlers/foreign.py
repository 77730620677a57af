"""Code that runs under one event loop and uses another: what to tell its author."""

from __future__ import annotations

from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.scope import Scope

# What Python, asyncio and trio say when code of one meets the loop of another.
_SAID_BY: Final = (
    ("no running event loop", "asyncio"),
    ("no current event loop", "asyncio"),
    ("must be called from async context", "trio"),
    ("Task got bad yield", "trio"),
    ("received unrecognized yield message", "asyncio"),
)
_OWN_LOOP: Final = ("cannot be called from a running event loop", "from inside a run()")


def explain(scope: Scope, error: BaseException) -> InvalidDefinition | None:
    """Return what an error of a handler really means, if it met the wrong event loop."""
    if not isinstance(error, (RuntimeError, TypeError)):
        return None
    said = str(error)
    if any(words in said for words in _OWN_LOOP):
        return InvalidDefinition(
            f"{scope.place} starts an event loop, but runs in one already: the harness's, on "
            f"virtual time. Await the coroutine instead. ({said})"
        )
    for words, runtime in _SAID_BY:
        if words in said and runtime != scope.colour.name:
            return _wrong_runtime(scope, f"something of {runtime}", runtime)
    return None


def explain_stop(scope: Scope, stop: Any) -> InvalidDefinition:
    """Say what it means that a coroutine on harness ports awaits something else."""
    kind = stop if isinstance(stop, type) else type(stop)
    if kind.__module__.partition(".")[0] == "trio":
        return _wrong_runtime(scope, "something of trio", "trio")
    if stop is None or hasattr(stop, "_asyncio_future_blocking"):
        return _wrong_runtime(scope, "something of asyncio", "asyncio")
    seen = f"something that no port made ({kind.__module__}.{kind.__qualname__})"
    return _wrong_runtime(scope, seen, "asyncio")


def _wrong_runtime(scope: Scope, seen: str, runtime: str) -> InvalidDefinition:
    own = scope.colour.name
    means = {
        "ports": "code that awaits nothing but what env gave it, without an event loop",
        "asyncio": "the asyncio event loop, on virtual time",
        "trio": "trio, on virtual time",
        "plain": "plain code, without an event loop",
    }
    return InvalidDefinition(
        f"{scope.place} awaits {seen}, but runs as {own!r}: {means[own]}. "
        f"Say runtime={runtime!r} where the service {scope.incarnation.service!r} is defined."
    )
