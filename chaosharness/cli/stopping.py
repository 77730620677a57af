"""Being told to stop: Ctrl-C and SIGTERM end a search, in the midst of a run if need be."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import at_line, words_of
from chaosharness.kernel.deadline import called_off_when

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def until_told_to_stop() -> Iterator[Callable[[], None]]:
    """Raise KeyboardInterrupt when a signal arrives; a run that goes on is called off.

    Not in the code under test: it may catch what is raised there, and be judged by what it
    then did. The loop of the run ends when it has control again. A second signal does not wait.

    Yields:
        What raises it as well, to be called where runs are made in other processes.

    Raises:
        InvalidDefinition: KeyboardInterrupt was raised, and by no signal: the code under test
            did that.
    """
    from chaosharness.system import OBSERVERS

    asked: list[int] = []

    def look() -> None:
        if asked:
            raise KeyboardInterrupt

    def never() -> bool:
        look()
        return False

    if threading.current_thread() is not threading.main_thread():
        yield look
        return

    def stop(number: int, frame: Any) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = [signal.signal(one, stop) for one in SIGNALS]
    token = OBSERVERS.set((*OBSERVERS.get(), lambda run: look()))
    try:
        with called_off_when(never):
            yield look
    except KeyboardInterrupt as error:
        if asked:
            raise
        raise InvalidDefinition(
            f"the code under test raised {words_of(error)}{at_line(error)}, and nobody had "
            "pressed Ctrl-C: leave that out"
        ) from error
    finally:
        OBSERVERS.reset(token)
        for one, handler in zip(SIGNALS, before, strict=True):
            signal.signal(one, handler)
