"""Processes of this machine that do the units of one search.

They are forked where the platform can: then they have the system as it is loaded here. Else
each loads it anew, by its target. A process that dies or says nothing is replaced, and what
it had not answered is done again: by then the same, since a unit is a pure function.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from chaosharness.errors import Nondeterminism
from chaosharness.schedule import Schedule
from chaosharness.search.seen import Examiner, Seen
from chaosharness.search.workers import serve
from chaosharness.search.workers.channel import Channel, Closed
from chaosharness.search.workers.messages import END
from chaosharness.search.workers.process import (
    PATIENCE_S,
    Seat,
    Worker,
)
from chaosharness.search.workers.wire import Wire
from chaosharness.search.workers.work import seen_of, units_of


class Pool:
    """Some processes that do the units of one search.

    Args:
        examiner: Of the search, after its calm run.
        count: Processes, from 1.
        anew: Returns what starts a process that loads the system anew; by default processes
            are forked, and have it as it is here.
        patience_s: How long a process may take for one unit.

    Raises:
        InvalidDefinition: The system cannot be told to a process that loads it anew.
    """

    def __init__(
        self,
        examiner: Examiner,
        count: int,
        anew: Callable[[Examiner], Callable[[], Worker]] | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        calm = examiner.calm
        assert calm is not None
        self.examiner = examiner
        self.wire = Wire(calm)
        self._batch = 0
        begin = self._fork if anew is None else anew(examiner)
        self.seats: list[Seat] = []
        try:
            for _ in range(count):
                self.seats.append(Seat(begin, patience_s))
            for seat in self.seats:
                seat.greet()
        except BaseException:
            self.kill()
            raise

    @property
    def replaced(self) -> int:
        """How many processes had to be replaced."""
        return sum(one.replaced for one in self.seats)

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
            serve.begin()
            for seat in self.seats:
                seat.worker.channel.close()  # or a sibling would keep it open for ever
            os.close(theirs[1])
            os.close(ours[0])
            serve.serve(Channel(theirs[0], ours[1]), self.examiner, self.wire)
        except BaseException:  # whatever it is: the code of our caller must not go on twice
            serve.leave(1)
        serve.leave(0)

    # ---- doing units

    def results(
        self, schedules: Sequence[Schedule], until_s: float | None = None
    ) -> Iterator[Seen]:
        """Have the schedules run, and yield what each showed, in their order.

        Args:
            schedules: They.
            until_s: For how long an answer is waited for, by `perf_counter`; None: for any time.

        Raises:
            OutOfTime: There was none by then.
            ChaosharnessError: A schedule ends each process that runs it, or does so only there.
        """
        self._batch += 1
        units = units_of(schedules)
        count = len(self.seats)
        for at, seat in enumerate(self.seats):
            seat.ask(self._batch, units[at::count])
        for place, schedule in enumerate(schedules):
            answer = self.seats[place % count].answer(until_s)
            yield seen_of(answer, schedule, self.examiner, self.wire)

    # ---- ending

    def close(self) -> None:
        """Have all processes end.

        Raises:
            Nondeterminism: In one of them, the calm run is not what it was before all others.
        """
        told = []
        workers = [seat.worker for seat in self.seats]
        for worker in workers:
            with suppress(Closed):
                worker.channel.send(END)
        for seat in self.seats:
            found = seat.worker.last_words(seat.patience_s)
            seat.worker.end(by_force=found is None)
            if found is not None and found.differs:
                told.append(found)
        self.seats = []
        for one in told:
            raise Nondeterminism.told(one.differs, index=one.index, survived=one.survived)

    def kill(self) -> None:
        """End all processes at once."""
        for seat in self.seats:
            seat.worker.end(by_force=True)
        self.seats = []
