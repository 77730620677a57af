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

IN_CHARGE: Final[list[Callable[[str], None]]] = []
"""Asked with the call as text, the newest first: raises if the process must not end now."""

_ENDS: Final = {
    "_exit": "os",
    "abort": "os",
    "execv": "os",
    "execve": "os",
    "raise_signal": "signal",
}
"""What ends a process, and the module that people know it by."""

_BELOW: Final = {"os": ("posix", "nt"), "signal": ("_signal",)}
"""Where that module has it from."""


def _standing_for(real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def ask(*arguments: Any, **keywords: Any) -> Any:
        words = [*map(repr, arguments), *(f"{key}={one!r}" for key, one in keywords.items())]
        call = f"{_ENDS[name]}.{name}({', '.join(words)})"
        for refuse in reversed(IN_CHARGE):
            refuse(call)
        return real(*arguments, **keywords)

    ask.__name__ = name
    ask.stands_for = real  # type: ignore[attr-defined]
    return ask


def stand_for() -> None:
    """Put functions that ask in place of Python's own, if they are not there."""
    for name, known in _ENDS.items():
        stands = None
        for module in (known, *_BELOW[known]):
            holder = sys.modules.get(module)
            real = getattr(holder, name, None)
            if real is not None and not hasattr(real, "stands_for"):
                stands = stands or _standing_for(real, name)
                setattr(holder, name, stands)
