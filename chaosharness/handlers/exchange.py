"""What is put in the place of a function or class, and asks at each call whether a run is on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from chaosharness.kernel.scope import SCOPE

__all__ = ["by_scope", "exchange"]


def exchange(real: Any, ours: Any, *, spared: tuple[str, ...] = ()) -> None:
    """Put ours in the place of the real thing, in every module that has it by some name.

    Args:
        real: What is to be found, by identity.
        ours: What stands for it.
        spared: Modules that keep the real one. Ours do in any case.
    """
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is not dict:
            continue
        home = names.get("__name__", "")
        if home.startswith("chaosharness") or home in spared:
            continue
        for name, value in list(names.items()):
            if value is real:
                names[name] = ours


def by_scope(real: Any, ours: Callable[..., Any]) -> Callable[..., Any]:
    """Return what calls `ours(real, ...)` inside a run, and the real one outside."""

    @wraps(real)
    def call(*arguments: Any, **options: Any) -> Any:
        if SCOPE.get() is None:
            return real(*arguments, **options)
        return ours(real, *arguments, **options)

    return call
