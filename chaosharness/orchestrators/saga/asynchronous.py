"""The same orchestrator for services on asyncio or trio: actions and `send` may be awaited.

*Source*: as of `orchestrator.py`: what is decided, and when it is written, is its own.
*Not modelled*: a database that is awaited: transactions are short, and block the loop meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Literal

from chaosharness.machines.machine import Refusal
from chaosharness.orchestrators.saga.definition import Saga
from chaosharness.orchestrators.saga.machine import Resolve
from chaosharness.orchestrators.saga.orchestrator import PASSING, Held, Orchestrator, _next
from chaosharness.orchestrators.saga.records import Outcome, Phase, Reply

__all__ = ["AsyncOrchestrator"]


class AsyncOrchestrator:
    """Runs the sagas of one definition in `async` code: await each of its methods.

    Args:
        saga: What it runs.
        db: As of `Orchestrator`: its transactions block the event loop while they last.
        options: As of `Orchestrator`. Functions in `calls`, `send` and `sleep` may be `async`, on
            asyncio or trio; those in `local` are plain.

    Raises:
        InvalidDefinition: As of `Orchestrator`; a local action is `async`.
    """

    def __init__(self, saga: Saga, db: sqlite3.Connection, **options: Any) -> None:
        self._sagas = Orchestrator(saga, db, **options)

    async def start(self, id: str, value: Any = None) -> None:
        """Start a saga, once for each id, and go on with it as far as it goes (N12)."""
        await self._work(self._sagas.begin(id, value))

    async def on_reply(self, reply: Reply) -> None:
        """Take the reply to a command: the handler of a queue or topic of replies."""
        await self._work(self._sagas.hear(reply))

    async def resolve(
        self,
        id: str,
        step: str,
        outcome: Outcome | Literal["retry"],
        value: Any = None,
        *,
        why: str = "",
        phase: Phase = "do",
    ) -> Refusal | None:
        """Say what a person has found out about a parked step; as `Orchestrator.resolve`."""
        held, refusal = self._sagas.settle(id, Resolve(step, outcome, value, why, phase))
        await self._work(held)
        return refusal

    async def run(self) -> None:
        """Look after what is due, and what others left behind, for ever: `env.main(sagas.run)`."""
        while True:
            await self.look_after()
            await _awaited(lambda: self._sagas.sleep(self._sagas.poll_s))

    async def look_after(self) -> None:
        """Look after what is due now, and what others left behind."""
        for id in self._sagas.due():
            try:
                await self._work(self._sagas.take_over(id))
            except PASSING:
                continue

    async def _work(self, held: Held | None) -> None:
        doing = self._sagas.doing(held)
        ask = next(doing, None)
        while ask is not None:
            try:
                value = await _awaited(ask)
            except Exception as error:
                ask = _next(doing.throw, error)
            else:
                ask = _next(doing.send, value)


async def _awaited(ask: Callable[[], Any]) -> Any:
    value = ask()
    return await value if isawaitable(value) else value
