"""Trackers of errors, spans and numbers: what they tell somebody outside is lost, and named.

Sentry, Elastic APM, PostHog and their like send in a thread of their own, and are made to do
without an answer. It is of no concern to the system, as a datagram with a number is not. So their
connections are refused where no part of the system stands for the address, and a report names it.

*Not modelled*: What a tracker sends while the user's code waits for it, or from compiled code.
"""

from __future__ import annotations

import errno
import os
import sys
from types import FrameType
from typing import Final

from chaosharness.kernel.places import is_own
from chaosharness.kernel.scope import SCOPE

__all__ = ["is_lost", "refuse_lost"]

TRACKERS: Final = frozenset(
    (
        *("bugsnag", "datadog", "ddtrace", "elasticapm", "honeybadger", "logfire", "newrelic"),
        *("opentelemetry", "posthog", "raven", "rollbar", "scout_apm", "sentry_sdk"),
    )
)


def is_lost(to: str) -> bool:
    """Say whether what is asked of an address is a tracker's own affair; and take note of it.

    Where the user's code stands below, it may be that which asks: trackers wrap clients of others.
    """
    found = ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_own(frame):
            return False
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        found = package if package in TRACKERS else found
        frame = frame.f_back
    scope = SCOPE.get()
    if found and scope is not None:
        scope.world.past.add(f"what {found} sends to {to}")
    return bool(found)


def refuse_lost(to: str) -> None:
    """Refuse a connection as a host does at which nobody listens, if it is a tracker's."""
    if is_lost(to):
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
