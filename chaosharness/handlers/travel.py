"""time-machine without pytest, which it imports wherever that is installed.

That is a quarter of what `import chaosharness` costs outside of tests. In a run of pytest it is
there already, and time-machine's own plugin is complete.

Not modelled:
    A program that imports us, and only then calls `pytest.main` for tests that use the fixture or
    the mark of time-machine: import pytest first there.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import time_machine


def _alone(name: str, without: str) -> Any:
    """Import a module that can do without another one, without that one."""
    if name in sys.modules or without in sys.modules:
        return import_module(name)
    sys.modules[without] = None  # type: ignore[assignment]
    try:
        return import_module(name)
    finally:
        del sys.modules[without]


if not TYPE_CHECKING:
    time_machine = _alone("time_machine", "pytest")

__all__ = ["time_machine"]
