"""Logs of code that ends with its run: it was taken away, and what it says of that is of no world.

A library that catches everything (`except BaseException: logger.exception(...)`) would print a
traceback of ours each time a run is over. And what libraries say of trouble where nobody has set up
logging, a search would have Python print thousands of times: the history tells it.
"""

from __future__ import annotations

import logging
from typing import Final

from chaosharness.kernel.places import is_installed
from chaosharness.kernel.scope import SCOPE

__all__ = ["unlogged"]

_handle: Final = logging.Logger.handle
_silent = 0


def _handle_unless_silent(self: logging.Logger, record: logging.LogRecord) -> None:
    if not _silent:
        _handle(self, record)


def _is_wanted(record: logging.LogRecord) -> bool:
    """Say whether Python prints a record though nobody has set up logging."""
    return SCOPE.get() is None or not is_installed(record.pathname)


class unlogged:
    """Have loggers drop what they are told meanwhile.

    The class of loggers is changed once and for good: one that is changed with each run loses its
    method cache from Python 3.13 on.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        global _silent  # noqa: PLW0603
        if logging.Logger.handle is _handle:
            logging.Logger.handle = _handle_unless_silent  # type: ignore[method-assign]
            if logging.lastResort is not None:
                logging.lastResort.addFilter(_is_wanted)
        _silent += 1

    def __exit__(self, *_: object) -> None:
        global _silent  # noqa: PLW0603
        _silent -= 1
