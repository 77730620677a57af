"""`os._exit` and the like: they would end the process that tests, and with it the result.

They raise no audit event, or none that the command line could refuse. So they are stood for,
once and for good, by functions that ask whoever is in charge: the guards while code under test
runs, the command line around it.
"""

from __future__ import annotations

import ctypes
import os
import signal  # noqa: F401  # see sys.modules below
import sys
from collections.abc import Callable
from typing import Any, Final

from chaosharness.kernel.places import asked_at, is_own
from chaosharness.options import IN_CHARGE

IN_RUN: Final[list[Callable[[str], None]]] = []
"""The same for what only code under test must not do, while it runs."""

TAKES: Final[list[Callable[[Any, Any], Any]]] = []
"""Asked first when somebody wants a handler for a signal: keeps it, or says `NotImplemented`."""

_ENDS: Final = {
    "_exit": "os",
    "abort": "os",
    "execv": "os",
    "execve": "os",
    "raise_signal": "signal",
}
"""What ends a process, and the module that people know it by."""

_SIGNALS: Final = dict.fromkeys(("signal", "alarm", "setitimer"), "signal")
"""What changes how the process hears signals: the code that starts it may, a library may."""

_IN_C: Final = frozenset(("_exit", "_Exit", "exit", "quick_exit", "abort", "Py_Exit"))
"""The same by ctypes, from any library that has it."""

_BELOW: Final = {"os": ("posix", "nt"), "signal": ("_signal",)}
"""Where that module has it from."""


def _standing_for(real: Callable[..., Any], name: str, known: str) -> Callable[..., Any]:
    def ask(*arguments: Any, **keywords: Any) -> Any:
        __tracebackhide__ = True
        words = [*map(_spelled, arguments)]
        words += [f"{key}={_spelled(one)}" for key, one in keywords.items()]
        call = f"{known}.{name}({', '.join(words)})"
        if name == "signal":
            taken = _take(*arguments, **keywords)
            if taken is not NotImplemented:
                return taken
        if name not in _SIGNALS:
            for refuse in reversed(IN_CHARGE):
                refuse(call)
        elif is_own(sys._getframe(1)):
            for refuse in IN_RUN:
                refuse(call)
        return real(*arguments, **keywords)

    ask.__name__ = name
    ask.stands_for = real  # type: ignore[attr-defined]
    return ask


def _take(*arguments: Any, **keywords: Any) -> Any:
    """Have a handler of a signal kept for a run, where it is code of one that asks."""
    number = arguments[0] if arguments else keywords.get("signalnum")
    handler = arguments[1] if len(arguments) > 1 else keywords.get("handler")
    for take in TAKES:
        if (taken := take(number, handler)) is not NotImplemented:
            return taken
    return NotImplemented


def _spelled(value: Any) -> str:
    """Return a value as code; functions by their names, which are the same each time."""
    return getattr(value, "__name__", None) or repr(value)


def stand_for() -> None:
    """Put functions that ask in place of Python's own, if they are not there."""
    for name, known in (*_ENDS.items(), *_SIGNALS.items()):
        first: Any = None
        stands = None
        for module in (known, *_BELOW[known]):
            holder = sys.modules.get(module)
            real = getattr(holder, name, None)
            first = first or real
            if real is first and real is not None and not hasattr(real, "stands_for"):
                stands = stands or _standing_for(real, name, known)
                setattr(holder, name, stands)
    if not hasattr(ctypes.CDLL.__getitem__, "stands_for"):
        ctypes.CDLL.__getitem__ = _finding(ctypes.CDLL.__getitem__)  # type: ignore[method-assign]


def _finding(real: Callable[..., Any]) -> Callable[..., Any]:
    """How ctypes finds a function of a library: those that end a process ask first."""

    def find(library: Any, name: Any) -> Any:
        found = real(library, name)
        return _standing_for(found, name, "ctypes") if name in _IN_C else found

    find.stands_for = real  # type: ignore[attr-defined]
    return find


def end_of_session(call: str) -> str:
    """Return what is wrong with a call that ends a session of pytest; nothing if it may.

    A code other than 0 may be given: that is no green result, and who guards tests with a clock
    of their own ends them so.
    """
    name, _, given = call.rstrip(")").partition("(")
    if name in ("os.abort", "signal.raise_signal", "ctypes.abort"):
        return ""
    if "exit" in name.lower() and given.isdecimal() and int(given) % 256:
        return ""
    return (
        f"{call} was called{asked_at()}: pytest would end there, with no result and exit code 0. "
        "Leave that call out, or make it in a process of its own"
    )


def end_loudly(words: str) -> None:
    """End the process with a code of its own: who called is a thread, which nobody can tell."""
    os.write(2, f"\nchaosharness: {words}\n".encode(errors="replace"))
    getattr(os._exit, "stands_for", os._exit)(3)
