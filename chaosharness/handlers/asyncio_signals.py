"""Signals in an asyncio loop on virtual time: what it calls when its process is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVarTuple, Unpack

from chaosharness.handlers.asyncio_refusals import RefusingLoop
from chaosharness.handlers.stopping import ENDS, OfLoop, Stopping, forget, register
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope

Ts = TypeVarTuple("Ts")


class SignalLoop(RefusingLoop):
    """Calls what was registered for a signal as asyncio does: after what is ready."""

    incarnation: Incarnation
    tasks: list[asyncio.Task[Any]]

    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts
    ) -> None:
        """Have a callback called when the process is told to stop: at SIGTERM."""
        signal.Signals(sig)  # ValueError where there is none, as asyncio says it
        incarnation = self.incarnation.host or self.incarnation
        register(incarnation, int(sig), OfLoop(self, partial(callback, *args), SCOPE.get()))

    def remove_signal_handler(self, sig: int) -> bool:
        """Call nothing then; say whether something would have been."""
        return forget(self.incarnation.host or self.incarnation, int(sig))

    def signalled(self, call: Callable[[], object], stopping: Stopping, scope: Scope) -> None:
        """Call a handler of a signal from this loop, on behalf of its process.

        What ends a process, `sys.exit`, leaves the loop from there: `asyncio.run` cancels what is
        left of its tasks then, and waits for them.
        """
        context = self.incarnation.world.context.copy()
        context.run(SCOPE.set, scope)

        def run() -> None:
            try:
                call()
            except ENDS:
                for task in [*self.tasks]:
                    task.cancel()
                if not self.incarnation.mains:
                    stopping.raised(SystemExit())
                    return
            except Exception as error:
                stopping.raised(error)
                return
            stopping.worked()

        self.call_soon(run, context=context)

    def cancel_all(self, then: Callable[[Any], object]) -> bool:
        """Cancel the tasks that are left; say if there are any, of whose end `then` is told."""
        left = [task for task in self.tasks if not task.done()]
        if not left:
            return False
        for task in left:
            task.cancel()
        context = self.incarnation.world.context.copy()
        context.run(asyncio.gather, *left, return_exceptions=True).add_done_callback(then)
        return True
