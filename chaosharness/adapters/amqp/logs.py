"""What client libraries log of trouble: inside a run the history tells it, and a search meets it
thousands of times. Where nobody has set up logging, Python would print it all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from chaosharness.adapters.dispatch import inside


class OutsideOfRuns(logging.Handler):
    """Does what Python does where nobody has set up logging, and nothing inside a run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, as Python's handler of last resort."""
        last = logging.lastResort
        if inside() or logging.root.handlers or last is None or record.levelno < last.level:
            return
        last.handle(record)


def quiet_in_runs(*names: str) -> None:
    """Have these loggers print nothing inside runs, unless the user has set up logging."""
    for name in names:
        logging.getLogger(name).addHandler(OutsideOfRuns())


def silence_in_runs(*names: str) -> None:
    """Have loggers of a library that prints by itself print nothing inside runs.

    Nor do they take filters there: they live longer than a run, and would keep what it made.
    """
    for name in names:
        logger = logging.getLogger(name)
        logger.addFilter(_is_outside)
        logger.addFilter = _outside_only(logger.addFilter)  # type: ignore[assignment,method-assign]


def _is_outside(record: logging.LogRecord) -> bool:
    return not inside()


def _outside_only(real: Callable[[Any], None]) -> Callable[[Any], None]:
    def add(one: Any) -> None:
        if not inside():
            real(one)

    return add
