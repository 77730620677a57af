"""`os._exit` and `os.abort`: they would end the process that tests, and with it the result.

Neither raises an audit event. So they are stood for, once and for good, by functions that
ask whoever is in charge: the guards while code under test runs, the command line around it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

IN_CHARGE: Final[list[Callable[[str], None]]] = []
"""Asked with the call as text, the newest first: raises if the process must not end now."""

_NAMES: Final = ("_exit", "abort")
_REAL: Final = {name: getattr(os, name) for name in _NAMES}


def _standing_for(name: str) -> Callable[..., Any]:
    def ask(*arguments: Any) -> Any:
        call = f"os.{name}({', '.join(map(repr, arguments))})"
        for refuse in reversed(IN_CHARGE):
            refuse(call)
        return _REAL[name](*arguments)

    ask.__name__ = name
    return ask


def stand_for() -> None:
    """Put the two functions in place of Python's own, if they are not there."""
    for name, real in _REAL.items():
        if getattr(os, name) is real:
            setattr(os, name, _standing_for(name))
