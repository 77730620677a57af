"""What stands behind `celery worker`: its options, as its own parser reads them."""

from __future__ import annotations

from typing import Any, Final

import click
from celery.bin.worker import worker as COMMAND

from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off

SLOTS: Final = 2
"""Processes of a pool whose number nobody names: a real worker has as many as its machine cores."""

_NUMBERS: Final = ("concurrency", "prefetch_multiplier")
_LISTS: Final = ("queues", "exclude_queues", "include")
_REFUSED: Final = (
    *("beat", "autoscale", "detach", "purge", "statedb", "time_limit", "soft_time_limit"),
    "disable_prefetch",
)


def options_of(argv: Any) -> dict[str, Any]:
    """Return what the arguments of `celery worker` ask for, as a worker takes it."""
    words = [*(argv or ["worker"])]
    if "worker" not in words:
        raise ValueError(
            "The worker sub-command must be specified in argv.\n"
            "Use app.start() to programmatically start other commands."
        )
    del words[: words.index("worker") + 1]
    parser = COMMAND.make_parser(click.Context(COMMAND))
    try:
        given, _, _ = parser.parse_args(words)
    except click.UsageError as error:
        call_off(InvalidDefinition(f"celery worker{asked_at()}: {error.format_message()}"))
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in _REFUSED and value:
            not_modelled("celery", "worker", f"--{name.replace('_', '-')}")
        elif name in _LISTS:
            found[name] = value.split(",")
        elif name in _NUMBERS:
            if not str(value).isdigit():
                not_modelled("celery", "worker", f"--{name.replace('_', '-')} {value}")
            found[name] = int(value)
        elif name in ("pool", "pool_cls"):
            found["pool"] = value
    return found
