"""One worker process, as whoever started it sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from time import perf_counter
from typing import Final

import attrs
import msgspec

from chaosharness.errors import ChaosharnessError
from chaosharness.kernel.deadline import OutOfTime, deadline
from chaosharness.schedule import Schedule
from chaosharness.search.workers.channel import Channel, Closed, Late
from chaosharness.search.workers.messages import Answer, Farewell, Faults, Units

PATIENCE_S: Final = 120.0
"""How long a process may take for one unit, in real seconds: far more than the watchdog gives."""

LOOK_S: Final = 0.5
"""Who waits for a process looks so often whether the search was ended: Ctrl-C does not wait."""

TRIES: Final = 3
"""Processes that may die of one unit, before it is called its fault."""

SERVE: Final = "chaosharness.search.workers.serve"
RELAY: Final = "chaosharness.search.workers.relay"
"""Modules that such a process runs: does units itself, or has them done by a Dask cluster."""

_encode: Final = msgspec.msgpack.Encoder().encode
_read_answer: Final = msgspec.msgpack.Decoder(Answer)
_read_farewell: Final = msgspec.msgpack.Decoder(Farewell)


@attrs.define(eq=False)
class Worker:
    """One process.

    Attributes:
        pid: Its number.
        channel: To it and from it.
        process: It, where it was not forked.
    """

    pid: int
    channel: Channel
    process: subprocess.Popen[bytes] | None = None

    def greet(self, patience_s: float) -> None:
        """Wait until it is ready.

        Raises:
            ChaosharnessError: It cannot do units, in its own words; or it did not come up.
        """
        try:
            found = _read_farewell.decode(self.channel.receive(patience_s))
        except (Closed, Late):
            raise ChaosharnessError("a process that was to make runs did not come up") from None
        if found.trouble:
            raise ChaosharnessError(found.trouble)

    def ask(self, batch: int, units: list[tuple[int, Faults]]) -> None:
        """Give it units to do. That it is gone is met when an answer is read."""
        if units:
            with suppress(Closed):
                self.channel.send(_encode(Units(batch, units)))

    def answer(self, batch: int, place: int, patience_s: float) -> Answer:
        """Return its answer to a unit; answers that nobody asks for any more are passed over.

        Raises:
            Closed: It is gone.
            Late: It says nothing.
            OutOfTime: The search is over meanwhile.
        """
        while True:
            left_s = self._waited(patience_s)
            found = _read_answer.decode(self.channel.receive(left_s))
            if (found.batch, found.place) == (batch, place):
                return found

    def _waited(self, patience_s: float) -> float:
        """Wait for news, and look now and then whether somebody ends the search.

        Returns:
            What is left of the patience.
        """
        is_over = deadline()
        while is_over is not None and patience_s > 0:
            if self.channel.has_news(min(patience_s, LOOK_S)):
                return patience_s
            patience_s = max(patience_s - LOOK_S, 0)
            if is_over():
                raise OutOfTime
        return patience_s

    def last_words(self, patience_s: float) -> Farewell | None:
        """Return what it says at its end; None if it says nothing."""
        try:
            while True:
                message = self.channel.receive(patience_s)
                try:
                    return _read_farewell.decode(message)
                except msgspec.ValidationError:
                    continue  # an answer
        except (Closed, Late):
            return None

    def end(self, *, by_force: bool) -> str:
        """Wait until it is gone, and say how it went."""
        self.channel.close()
        if by_force:
            with suppress(ProcessLookupError):
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        if self.process is not None:
            return _ended(self.process.wait())
        _, status = os.waitpid(self.pid, 0)
        return _ended(os.waitstatus_to_exitcode(status))


def _ended(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


def spawn(words: Sequence[str], brief: bytes) -> Worker:
    """Start a process that loads the system anew.

    Args:
        words: The module that it runs, and what that is told.
        brief: A `Brief`, encoded.
    """
    paths = [one or os.getcwd() for one in sys.path]
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert process.stdin is not None and process.stdout is not None
    channel = Channel(os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()))
    process.stdin.close()
    process.stdout.close()
    worker = Worker(process.pid, channel, process)
    with suppress(Closed):
        channel.send(brief)
    return worker


class Seat:
    """A place for one process after another: one that is no good is replaced.

    What it had not answered is done again: by then the same, since a unit is a pure function.

    Args:
        start: Starts a process.
        patience_s: How long it may take for one unit.

    Attributes:
        worker: The process that sits there now.
        replaced: How often it was another before.
    """

    def __init__(self, start: Callable[[], Worker], patience_s: float = PATIENCE_S) -> None:
        self._start = start
        self.patience_s = patience_s
        self.worker = start()
        self.replaced = 0
        self._batch = 0
        self._left: list[tuple[int, Faults]] = []

    def greet(self) -> None:
        """Wait until the process is ready."""
        self.worker.greet(self.patience_s)

    def ask(self, batch: int, units: list[tuple[int, Faults]]) -> None:
        """Give units to do; answers to earlier ones are not wanted any more."""
        self._batch, self._left = batch, units
        self.worker.ask(batch, units)

    def answer(self, until_s: float | None = None) -> Answer:
        """Return the answer to the next unit, of whichever process gives it at last.

        Args:
            until_s: For how long it is waited for, by `perf_counter`; None: for any time.

        Raises:
            OutOfTime: There was none by then.
            ChaosharnessError: The unit ends each process that does it.
        """
        place, faults = self._left[0]
        how = ""
        for _ in range(TRIES):
            left_s = inf if until_s is None else max(until_s - perf_counter(), 0.0)
            try:
                found = self.worker.answer(self._batch, place, min(self.patience_s, left_s))
            except Closed:
                how = self._replace()
            except Late:
                if left_s < self.patience_s:
                    raise OutOfTime from None
                self._replace()
                how = f"gave no answer within {self.patience_s:g} s"
            else:
                del self._left[0]
                return found
            self.worker.ask(self._batch, self._left)
        raise ChaosharnessError(
            f"the process that was to run {Schedule.from_json(faults)!r} {how}, {TRIES} times: "
            "something in the code under test ends or blocks the whole process. Run that schedule "
            "alone to see it."
        )

    def _replace(self) -> str:
        """Put a new process in the place of one that is no good; say how that one ended."""
        self.replaced += 1
        how = self.worker.end(by_force=True)
        self.worker = self._start()
        self.greet()
        return how
