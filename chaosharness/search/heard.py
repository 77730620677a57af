"""What the user's code prints and logs where a run is made several times: once is enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from chaosharness.handlers.streams import standing_in, stream
from chaosharness.handlers.unlogged import unlogged
from chaosharness.system.run import OBSERVERS


@contextmanager
def heard_once() -> Iterator[None]:
    """Hand on what the first run within prints and logs, and nothing of those after it."""
    heard = [True]
    silence = ExitStack()

    def take(beyond: Any, piece: bytes) -> None:
        if heard and beyond is not None:
            beyond.write(piece.decode("utf-8", "backslashreplace"))

    def seen(run: object) -> None:
        if heard:
            heard.clear()
            silence.enter_context(unlogged())

    output = stream(partial(take, sys.stdout), sys.stdout, "<stdout>")
    error = stream(partial(take, sys.stderr), sys.stderr, "<stderr>")
    token = OBSERVERS.set((*OBSERVERS.get(), seen))
    try:
        with silence, standing_in(output, error):
            yield
    finally:
        OBSERVERS.reset(token)
