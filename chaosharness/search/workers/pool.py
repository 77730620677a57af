"""Processes of this machine that do the units of one search.

They are forked where the platform can: then they have the system as it is loaded here. Else
each loads it anew, by its target. A process that dies or says nothing is replaced, and what
it had not answered is done again: by then the same, since a unit is a pure function.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal, get_args

import attrs
import msgspec

from chaosharness.errors import ChaosharnessError, InvalidDefinition, Nondeterminism
from chaosharness.schedule import Schedule
from chaosharness.search.seen import Examiner, Seen
from chaosharness.search.workers.channel import Channel, Closed, Late
from chaosharness.search.workers.serve import END, Farewell, begin, serve
from chaosharness.search.workers.wire import Wire
from chaosharness.search.workers.work import Answer, Units, brief_for, seen_of, units_of

Start = Literal["fork", "spawn"]

PATIENCE_S: Final = 120.0
"""How long a process may take for one unit, in real seconds: far more than the watchdog gives."""

TRIES: Final = 3
"""Processes that may die of one unit, before it is called its fault."""

_MODULE: Final = "chaosharness.search.workers.serve"
_encode: Final = msgspec.msgpack.Encoder().encode
_read_answer: Final = msgspec.msgpack.Decoder(Answer)
_read_farewell: Final = msgspec.msgpack.Decoder(Farewell)


def default_start() -> Start:
    """Return how processes are started here: forked, where that is the custom of the platform."""
    return "fork" if sys.platform.startswith("linux") else "spawn"


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


class Pool:
    """Some processes that do units.

    Args:
        examiner: Of the search, after its calm run.
        count: Processes, from 1.
        target: Where the system is found.
        start: How a process is started; `default_start` by default.

    Raises:
        InvalidDefinition: The system cannot be told to a process that loads it anew.
    """

    def __init__(
        self,
        examiner: Examiner,
        count: int,
        *,
        target: str = "",
        start: Start | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        start = default_start() if start is None else start
        if start not in get_args(Start):
            raise InvalidDefinition(
                f"processes cannot be started by {start!r}; there are: {', '.join(get_args(Start))}"
            )
        self.examiner = examiner
        self.patience_s = patience_s
        self.replaced = 0
        calm = examiner.calm
        assert calm is not None
        self.wire = Wire(calm)
        self._batch = 0
        self._start: Callable[[], Worker] = self._fork
        if start == "spawn":
            who = "a process that is not forked"
            self._brief = _encode(brief_for(examiner, target, who=who))
            self._start = self._spawn
        self.workers: list[Worker] = []
        try:
            for _ in range(count):
                self.workers.append(self._start())
            for worker in self.workers:
                self._greet(worker)
        except BaseException:
            self.kill()
            raise

    # ---- starting

    def _fork(self) -> Worker:
        theirs, ours = os.pipe(), os.pipe()  # to read, to write: of each direction
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the watchdog's thread
            pid = os.fork()
        if pid:
            os.close(theirs[0])
            os.close(ours[1])
            return Worker(pid, Channel(ours[0], theirs[1]))
        try:
            begin()
            for other in self.workers:
                other.channel.close()  # or a sibling would keep it open for ever
            os.close(theirs[1])
            os.close(ours[0])
            serve(Channel(theirs[0], ours[1]), self.examiner, self.wire)
        except BaseException:  # whatever it is: the code of our caller must not go on twice
            os._exit(1)
        os._exit(0)

    def _spawn(self) -> Worker:
        paths = [one or os.getcwd() for one in sys.path]
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
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
            channel.send(self._brief)
        return worker

    def _greet(self, worker: Worker) -> None:
        try:
            found = _read_farewell.decode(worker.channel.receive(self.patience_s))
        except (Closed, Late):
            raise ChaosharnessError(
                f"a process for the runs of {self.examiner.system.name!r} did not come up"
            ) from None
        if found.trouble:
            raise ChaosharnessError(found.trouble.partition(": ")[2])

    # ---- doing units

    def results(self, schedules: Sequence[Schedule]) -> Iterator[Seen]:
        """Have the schedules run, and yield what each showed, in their order.

        Raises:
            ChaosharnessError: A schedule ends each process that runs it, or does so only there.
        """
        self._batch += 1
        units = units_of(schedules)
        count = len(self.workers)
        for at in range(count):
            self._ask(at, units[at::count])
        for place, schedule in enumerate(schedules):
            answer = self._answer(place, units)
            yield seen_of(answer, schedule, self.examiner, self.wire)

    def _ask(self, at: int, units: Sequence[tuple[int, list[dict[str, object]]]]) -> None:
        if units:
            with suppress(Closed):  # it is met when the answer is read
                self.workers[at].channel.send(_encode(Units(self._batch, list(units))))

    def _answer(self, place: int, units: Sequence[tuple[int, list[dict[str, object]]]]) -> Answer:
        """Return the answer to one unit, of whichever process gives it at last."""
        count = len(self.workers)
        at = place % count
        how = ""
        for _ in range(TRIES):
            channel = self.workers[at].channel
            try:
                while True:
                    answer = _read_answer.decode(channel.receive(self.patience_s))
                    if (answer.batch, answer.place) == (self._batch, place):
                        return answer
            except Closed:
                how = self._replace(at)
            except Late:
                self._replace(at)
                how = f"gave no answer within {self.patience_s:g} s"
            self._ask(at, units[place::count])
        raise ChaosharnessError(
            f"the process that was to run {Schedule.from_json(units[place][1])!r} {how}, "
            f"{TRIES} times: something in the code under test ends or blocks the whole process. "
            "Run that schedule alone to see it."
        )

    def _replace(self, at: int) -> str:
        """Put a new process in the place of one that is no good; say how that one ended."""
        self.replaced += 1
        how = self.workers[at].end(by_force=True)
        self.workers[at] = self._start()
        self._greet(self.workers[at])
        return how

    # ---- ending

    def close(self) -> None:
        """Have all processes end.

        Raises:
            Nondeterminism: In one of them, the calm run is not what it was before all others.
        """
        told = []
        for worker in self.workers:
            with suppress(Closed):
                worker.channel.send(END)
        for worker in self.workers:
            found = _last_words(worker.channel, self.patience_s)
            worker.end(by_force=found is None)
            if found is not None and found.differs:
                told.append(found)
        self.workers = []
        for one in told:
            raise Nondeterminism.told(one.differs, index=one.index, survived=one.survived)

    def kill(self) -> None:
        """End all processes at once."""
        for worker in self.workers:
            worker.end(by_force=True)
        self.workers = []


def _last_words(channel: Channel, patience_s: float) -> Farewell | None:
    """Return what a process says at its end, after answers that nobody asks for any more."""
    try:
        while True:
            message = channel.receive(patience_s)
            try:
                return _read_farewell.decode(message)
            except msgspec.ValidationError:
                continue
    except (Closed, Late):
        return None
