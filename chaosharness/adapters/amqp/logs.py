"""What client libraries log of trouble: inside a run the history tells it, and a search meets it
thousands of times. Where nobody has set up logging, Python would print it all the same."""

from __future__ import annotations

import logging

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


def silence_in_runs(prefix: str) -> None:
    """Have the loggers of a library that prints by itself print nothing inside runs."""
    for name, logger in [*logging.root.manager.loggerDict.items()]:
        if name.partition(".")[0] != prefix or not isinstance(logger, logging.Logger):
            continue
        if _outside not in logger.filters:
            logger.addFilter(_outside)


def _outside(record: logging.LogRecord) -> bool:
    return not inside()
