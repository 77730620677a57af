"""Which colour a handler has: plain, asyncio, trio, or `async` on harness ports only."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.coroutine import PORTS
from chaosharness.handlers.places import asked_at, spell
from chaosharness.kernel.scope import Incarnation

RUNTIMES: Final = ("asyncio", "trio", "ports")

_ASYNC_FLAGS: Final = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE


def colour_for(function: Callable[..., Any], runtime: str | None, incarnation: Incarnation) -> Any:
    """Return how to run a function: by its kind, and by its service's `runtime`.

    Without a `runtime`, `async` code runs under trio where its module holds trio and not
    asyncio, and under asyncio otherwise.

    Raises:
        InvalidDefinition: There is no such runtime.
    """
    if runtime is not None:
        check_runtime(runtime, incarnation.service)
    inner = function.__func__ if type(function) is MethodType else function
    if type(inner) is not FunctionType or hasattr(inner, "__wrapped__"):
        inner = innermost(function)
        if not _is_async(inner):
            return PLAIN
    elif not inner.__code__.co_flags & _ASYNC_FLAGS:
        return PLAIN
    if runtime is None:
        runtime = "trio" if _holds_trio(inner) else "asyncio"
    if runtime == "ports":
        return PORTS
    guests = incarnation.guests
    colour = guests.get(runtime)
    if colour is None:
        if runtime == "trio":
            from chaosharness.handlers.trio_colour import Trio

            colour = Trio(incarnation)
        else:
            from chaosharness.handlers.asyncio_colour import Asyncio

            colour = Asyncio(incarnation)
        guests[runtime] = colour
    return colour


def check_handler(handler: Any, what: str) -> None:
    """Refuse what is no function of the user's; `what` says who has it, and for what.

    Raises:
        InvalidDefinition: It cannot be called; or it is a class, which would be made anew
            each time, and never do anything.
    """
    inner = handler
    if type(handler) is FunctionType or type(handler) is MethodType:
        return
    while isinstance(inner, partial):
        inner = inner.func
    if isinstance(inner, type):
        name = inner.__name__
        raise InvalidDefinition(
            f"{what} with {name}, which is a class: each call would make an object and throw it "
            f"away. Make the object once, and give one of its methods: {name}(...).handle"
            f"{asked_at()}"
        )
    if not callable(handler):
        called = handler is None or hasattr(handler, "cr_await")
        made = ": give it the function, without calling it" if called else ""
        raise InvalidDefinition(f"{what} with {handler!r}, which is no function{made}{asked_at()}")


def check_runtime(runtime: str | None, service: str) -> None:
    """Refuse a runtime that does not exist, and load one that does.

    Raises:
        InvalidDefinition: Names the service and the choices.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise InvalidDefinition(
            f"service {service!r} has the unknown runtime {runtime!r}; choose 'asyncio', 'trio' "
            "or 'ports', or leave it out"
        )
    if runtime == "trio" and "chaosharness.handlers.trio_colour" not in sys.modules:
        import chaosharness.handlers.trio_colour  # noqa: F401  (loading it does real things)


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling a function gives a coroutine."""
    return _is_async(innermost(function))


def made_at(function: Any) -> str:
    """Return ` (shop/payments.py:24)`: where the user wrote a function or a class; or nothing."""
    inner = innermost(function)
    if isinstance(inner, type):
        inner = vars(inner).get("__init__")
    if not isinstance(inner, FunctionType):
        return ""
    code = inner.__code__
    return f" ({spell(code.co_filename, inner.__module__, code.co_firstlineno)})"


def innermost(function: Any) -> Any:
    """Return the function inside partials, methods, decorators and callable objects."""
    for _ in range(100):  # a wrapper may wrap itself, by mistake
        if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
            return function
        if isinstance(function, partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.isroutine(function) or isinstance(function, type):
            return function
        else:
            function = type(function).__call__
    return function


def _is_async(inner: Any) -> bool:
    code = getattr(inner, "__code__", None)
    if code is None:
        return inspect.iscoroutinefunction(inner)
    return bool(code.co_flags & _ASYNC_FLAGS)


_HOLDS_TRIO: Final[dict[int, tuple[Any, bool]]] = {}
"""By the identity of a module's names, which are kept so that no other gets it."""

_HOLDS_TRIO_MAX: Final = 4_096


def _holds_trio(inner: Any) -> bool:
    """Say whether the module of a function holds something of trio, and nothing of asyncio."""
    names = getattr(inner, "__globals__", None)
    found = _HOLDS_TRIO.get(id(names))
    if found is None:
        if len(_HOLDS_TRIO) >= _HOLDS_TRIO_MAX:
            _HOLDS_TRIO.clear()
        homes = {_home(value) for value in tuple((names or {}).values())}
        found = (names, "trio" in homes and "asyncio" not in homes)
        _HOLDS_TRIO[id(names)] = found
    return found[1]


def _home(value: Any) -> str:
    """Return the top-level package that an object comes from."""
    if isinstance(value, ModuleType):
        name = value.__name__
    elif isinstance(value, (FunctionType, type)):
        name = value.__module__
    else:
        name = type(value).__module__
    return str(name).partition(".")[0]
