"""tqdm: its monitor is a thread, begun with the first bar of a process, that watches a clock.

In a run there is none: a bar is redrawn by who moves it. What bars print is as ever.

Source:
    tqdm 4.67, `tqdm/std.py` (`__new__`) and `tqdm/_monitor.py`; its documentation, "FAQ and Known
    Issues": "set `tqdm.monitor_interval = 0` to disable" the monitor.

Not modelled:
    A bar that the monitor would redraw because nobody moves it for ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Swap
from chaosharness.kernel.scope import SCOPE


class _Still:
    """A monitor that watches nothing."""

    def report(self) -> bool:
        """Say that it is at work, or each bar would begin another."""
        return True

    def exit(self) -> None:
        """End."""


def _beginning(real: Any) -> Callable[..., Any]:
    def begin(*arguments: Any) -> Any:
        return real(*arguments) if SCOPE.get() is None else _Still()

    return begin


LIBRARY: Final = Library("tqdm", tested=">=4.60,<5", swaps=(Swap("tqdm.std:TMonitor", _beginning),))
