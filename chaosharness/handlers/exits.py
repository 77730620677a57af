"""`os._exit` and the like: they would end the process that tests, and with it the result.

They raise no audit event, or none that the command line could refuse. So they are stood for,
once and for good, by functions that ask whoever is in charge: the guards while code under test
runs, the command line around it.
"""

from __future__ import annotations

import os  # noqa: F401  # see sys.modules below
import signal  # noqa: F401
import sys
from collections.abc import Callable
from typing import Any, Final

from chaosharness.kernel.places import is_own

IN_CHARGE: Final[list[Callable[[str], None]]] = []
"""Asked with the call as text, the newest first: raises if the process must not end now."""

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

_BELOW: Final = {"os": ("posix", "nt"), "signal": ("_signal",)}
"""Where that module has it from."""


def _standing_for(real: Callable[..., Any], name: str, known: str) -> Callable[..., Any]:
    def ask(*arguments: Any, **keywords: Any) -> Any:
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
