"""Seven protocols of the literature on lineage-driven fault injection, and what mends them.

`broadcast` (simple, retry and classic; mended by both together), `commit` (two-phase commit, with
and without the cooperative termination protocol; mended by a log), `three_phase` (right as long as
processes only die, broken where messages are lost as well) and `replication` (a leader and
its in-sync replicas; mended by a smallest number of them).

Their processes keep what they know in memory, and one that dies has lost it: where a log is
kept, it is a store. Each message is a call from one service to another.

Source:
    Alvaro, Rosen, Hellerstein, "Lineage-driven Fault Injection", SIGMOD 2015, and its programs
    in Dedalus (`delivery/*.ded`, `commit/*.ded`, `kafka.ded` of the repository `palvaro/molly`).

Not modelled:
    Its rounds: there all messages of a node leave at one moment, so that it dies before or after
    all of them; here it may die between any two. Its processes that die stay dead; here they
    start anew and know nothing, and claims ask nothing of who has died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

from chaosharness import Env, History, RemoteError

NO_ANSWER: Final = (TimeoutError, ConnectionError, RemoteError)
"""What a caller sees when it does not know whether it was heard, or knows that it was not."""


PAUSE_MAX_S: Final = 300
"""Between two attempts to reach somebody, at most."""


class Peer:
    """What all processes of these protocols do: call others by name, and work beside that."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ask(self, peer: str, endpoint: str, value: Any) -> Any:
        """Call a peer once; None if no answer comes within a second."""
        try:
            return await self.env.call(peer, endpoint, value, timeout_s=1)
        except NO_ANSWER:
            return None

    async def insist(self, peer: str, endpoint: str, value: Any) -> Any:
        """Call a peer until it answers something: again after a second, two, four, and so on."""
        pause_s = 1
        while (answer := await self.ask(peer, endpoint, value)) is None:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return answer

    def meanwhile(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the handler that runs, and after it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def alive(history: History, names: Iterable[str]) -> list[str]:
    """Return which of some services never died."""
    dead = {service_of(event.actor) for event in history.of("crash")}
    return [name for name in names if name not in dead]


def service_of(actor: str) -> str:
    """Return the service of an actor: `b` of `b#1/2`."""
    return actor.partition("#")[0]
