"""A process that has units done on a Dask cluster, and speaks like a worker that does them.

A process of its own, since an engine's client has threads that read clocks, and during a run
those of a whole process are pinned.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import msgspec

from chaosharness.errors import ChaosharnessError
from chaosharness.search.workers.channel import Channel, Closed, Late
from chaosharness.search.workers.messages import END, Answer, Farewell, Faults, Units
from chaosharness.search.workers.outpost import work
from chaosharness.search.workers.serve import IDLE_S, begin, leave

CONNECT_S: Final = 5
RETRIES: Final = 2

NOBODY_S: Final = 30
"""So long a cluster may be without any worker: one that is started anew takes some seconds."""

_LOOK_S: Final = 1

_encode: Final = msgspec.msgpack.Encoder().encode


def client_of(address: str) -> Any:
    """Return a client of a Dask scheduler.

    Raises:
        ChaosharnessError: Dask is not installed, or nobody answers there.
    """
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise ChaosharnessError(
            "runs on Dask need Dask, which is not installed: pip install 'chaosharness[dask]'"
        ) from None
    try:
        return distributed.Client(address, timeout=CONNECT_S)
    except Exception as error:
        words = str(error).splitlines() or [type(error).__name__]
        raise ChaosharnessError(f"no Dask scheduler answers at {address!r}: {words[0]}") from None


class Relay:
    """Gives units to a cluster, and their answers back in order."""

    def __init__(self, client: Any, brief: bytes) -> None:
        self.client = client
        self.brief = brief
        first = client.submit(work, brief, 0, [], pure=False)
        first.result()  # the target is there, and its calm run is the same

    def answers(self, batch: int, units: Sequence[tuple[int, Faults]]) -> list[bytes]:
        """Have some units done; return an `Answer` for each, encoded."""
        count = min(len(units), max(sum(self.client.ncores().values()), 1))
        shares = [units[at::count] for at in range(count)]
        tasks = [self._submit(batch, share) for share in shares]
        found: dict[int, bytes] = {}
        for share, task in zip(shares, tasks, strict=True):
            places = [place for place, _ in share]
            found.update(zip(places, self._result(task, batch, places), strict=True))
        return [found[place] for place, _ in units]

    def _submit(self, batch: int, share: Sequence[tuple[int, Faults]]) -> Any:
        return self.client.submit(work, self.brief, batch, share, pure=False, retries=RETRIES)

    def _result(self, task: Any, batch: int, places: Sequence[int]) -> list[bytes]:
        try:
            done: list[bytes] = self._waited_for(task)
        except Exception as error:
            words = " ".join(str(error).split())
            if not isinstance(error, ChaosharnessError):
                words = f"{type(error).__name__}: {words}"
            return [_encode(Answer(batch, place, error=words)) for place in places]
        return done

    def _waited_for(self, task: Any) -> list[bytes]:
        """Return what a task came to; raise where nobody is left to do it, for long enough.

        The engine itself would wait for ever: somebody might come.
        """
        nobody_s = 0
        while not task.done():
            wait([task], _LOOK_S)
            nobody_s = 0 if self.client.ncores() else nobody_s + _LOOK_S
            if nobody_s >= NOBODY_S:
                raise ChaosharnessError(
                    f"no worker: the Dask cluster has had none for {NOBODY_S} s, start some"
                )
        done: list[bytes] = task.result()
        return done


def wait(tasks: Sequence[Any], seconds: float) -> None:
    """Wait until tasks are done, but no longer than that."""
    with suppress(TimeoutError):
        import_module("distributed").wait(tasks, timeout=seconds)


def serve(channel: Channel, relay: Relay) -> None:
    """Do units until there are no more."""
    channel.send(_encode(Farewell()))
    while (message := channel.receive(IDLE_S)) != END:
        asked = msgspec.msgpack.decode(message, type=Units)
        for answer in relay.answers(asked.batch, asked.units):
            channel.send(answer)
    channel.send(_encode(Farewell()))


def main(address: str) -> None:
    """Serve whoever started this process: the brief comes first, on standard input."""
    begin()
    channel = Channel(os.dup(0), os.dup(1))
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        brief = channel.receive()
        try:
            relay = Relay(client_of(address), brief)
        except Exception as error:
            ours = isinstance(error, ChaosharnessError)
            words = str(error) if ours else f"Dask failed with {type(error).__name__}: {error}"
            channel.send(_encode(Farewell(words)))
            return
        serve(channel, relay)
    except (Closed, Late):
        return
    finally:
        sys.stderr.flush()
        leave(0)  # the client's own farewell takes seconds, and nobody waits for it


if __name__ == "__main__":
    main(sys.argv[1])
