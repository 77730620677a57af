"""A worker process: does units until it is told to end, or nobody is there any more."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec

from chaosharness.errors import ChaosharnessError, InvalidDefinition, Nondeterminism
from chaosharness.options import IN_CHARGE
from chaosharness.search.heap import settled_heap
from chaosharness.search.seen import Examiner
from chaosharness.search.workers.channel import Channel, Closed, Late
from chaosharness.search.workers.messages import END, Brief, Farewell, Units
from chaosharness.search.workers.wire import Wire
from chaosharness.search.workers.work import do, printing, ready
from chaosharness.system.twice import Watch

IDLE_S: Final = 600.0
"""A worker that nobody asks for so long ends; it is started anew when it is needed."""

_encode: Final = msgspec.msgpack.Encoder().encode
_read_units: Final = msgspec.msgpack.Decoder(Units)


def serve(channel: Channel, examiner: Examiner, wire: Wire) -> None:
    """Do units until there are no more; a batch that is not wanted any more is left."""
    with settled_heap():
        _serve(channel, examiner, wire)


def _serve(channel: Channel, examiner: Examiner, wire: Wire) -> None:
    watch = Watch(examiner.system)
    watch.calm = examiner.calm
    channel.send(_encode(Farewell()))
    message = channel.receive(IDLE_S)
    while message != END:
        asked = _read_units.decode(message)
        for place, faults in asked.units:
            if hasattr(os, "fork") and channel.has_news():
                break  # of another batch, or the end
            channel.send(_encode(do(examiner, wire, asked.batch, place, faults)))
        message = channel.receive(IDLE_S)
    with printing():  # nobody takes it
        farewell = _farewell(watch)
    channel.send(_encode(farewell))


def _farewell(watch: Watch) -> Farewell:
    """Make the calm run once more: what these runs left behind shows in it."""
    try:
        watch.end()
    except Nondeterminism as error:
        return Farewell("", error.index, str(error), error.survived)
    except ChaosharnessError as error:
        return Farewell("", 0, str(error))
    return Farewell()


def begin() -> None:
    """Be nobody's terminal: who started this process decides when it ends."""
    IN_CHARGE[:] = [_refuse]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _refuse(call: str) -> None:
    """Keep the process alive: who asked makes that run itself, and says where the call is."""
    raise InvalidDefinition(f"{call} was called, which would end the process")


def leave(code: int) -> NoReturn:
    """End this process at once: nothing of it is cleaned up, and nobody is asked."""
    really: Callable[[int], NoReturn] = getattr(os._exit, "stands_for", os._exit)
    really(code)


def main() -> None:
    """Serve whoever started this process: the brief comes first, on standard input."""
    begin()
    channel = Channel(os.dup(0), os.dup(1))
    os.dup2(2, 1)  # whatever code below Python prints is no answer
    sys.stdout = sys.stderr
    try:
        brief = msgspec.msgpack.decode(channel.receive(), type=Brief)
        try:
            examiner, wire = ready(brief)
        except ChaosharnessError as error:
            channel.send(_encode(Farewell(str(error))))
            return
        serve(channel, examiner, wire)
    except (Closed, Late):
        return


if __name__ == "__main__":
    main()
