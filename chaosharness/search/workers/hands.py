"""Who makes the runs of a search beside the process that searches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Literal, get_args

import msgspec

from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.search.seen import Examiner
from chaosharness.search.workers.pool import Pool
from chaosharness.search.workers.process import RELAY, SERVE, Worker, spawn
from chaosharness.search.workers.work import brief_for

Start = Literal["fork", "spawn"]


def hands(
    workers: int, *, target: str = "", start: Start | None = None, dask: str = ""
) -> Callable[[Examiner], Pool] | None:
    """Return what starts them once the calm run is known; None for nobody.

    Args:
        workers: Processes of this machine.
        target: Where the system is found.
        start: How a process is started: by default forked, where that is the custom.
        dask: The address of a Dask scheduler instead.

    Raises:
        InvalidDefinition: An argument is wrong.
        ChaosharnessError: Dask is not installed.
    """
    if dask:
        _check(dask)
        return lambda examiner: Pool(examiner, 1, partial(_anew, target, [RELAY, dask]))
    start = (_custom() if start is None else start) if workers else "fork"
    if start not in get_args(Start):
        raise InvalidDefinition(
            f"processes cannot be started by {start!r}; there are: {', '.join(get_args(Start))}"
        )
    if not workers:
        return None
    anew = partial(_anew, target, [SERVE]) if start == "spawn" else None
    return lambda examiner: Pool(examiner, workers, anew)


def _custom() -> Start:
    """Return how processes are started on this platform."""
    return "fork" if sys.platform.startswith("linux") else "spawn"


def _anew(target: str, words: list[str], examiner: Examiner) -> partial[Worker]:
    """Return what starts a process that loads the system anew."""
    who = "a process that is not forked" if words == [SERVE] else "Dask"
    brief = msgspec.msgpack.encode(brief_for(examiner, target, who=who))
    return partial(spawn, words, brief)


def _check(dask: object) -> None:
    """Refuse what is no address, and a scheduler that lives in this process."""
    if not isinstance(dask, str):
        raise InvalidDefinition(
            f"dask={dask!r} is no address of a scheduler, such as 'tcp://127.0.0.1:8786': a client "
            "cannot be used in this process, where clocks stand still while a run goes on; say "
            "dask=client.scheduler.address"
        )
    if find_spec("distributed") is None:
        raise ChaosharnessError(
            "runs on Dask need Dask, which is not installed: pip install 'chaosharness[dask]'"
        )
    scheduler = sys.modules.get("distributed.scheduler")
    for one in tuple(getattr(getattr(scheduler, "Scheduler", None), "_instances", ())):
        if getattr(one, "address", "") == dask:
            raise InvalidDefinition(
                f"the Dask scheduler at {dask} lives in this process, where clocks stand still "
                "while a run goes on: start it in another one, with 'dask scheduler' and 'dask "
                "worker'"
            )
