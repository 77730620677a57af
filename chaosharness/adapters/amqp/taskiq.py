"""taskiq on RabbitMQ: its receiver as it is, on aio-pika. Each task acts for its own message.

A broker is made when a module is imported, and holds connections once it has started. What modules
hold is each process's own, and so is what it holds.

Source:
    taskiq 0.13, `receiver/receiver.py` (`Receiver.callback`, `Receiver.listen`), `api/receiver.py`
    (`run_receiver_task`); taskiq-aio-pika 0.6, `broker.py` (`listen`).

Not modelled:
    `taskiq worker`, which starts processes: give `env.main` a function that awaits
    `run_receiver_task(broker, run_startup=True)`. Result backends, schedulers, process pools;
    brokers but taskiq-aio-pika's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from chaosharness.adapters.amqp.handling import Handling, carried, handling, line_of
from chaosharness.adapters.amqp.logs import quiet_in_runs
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.handlers.port import current_scope


async def _callback(real: Any, self: Any, message: Any, raise_err: bool = False) -> None:
    """Run a task, on behalf of the message that it came by."""
    own = current_scope("taskiq.receiver")
    held = _handling(self, message)
    if held is None:
        await real(self, message, raise_err)
    else:  # each message has an asyncio task of its own
        await carried(own, held, lambda: real(self, message, raise_err))


def _handling(receiver: Any, message: Any) -> Handling | None:
    incoming: Any = getattr(getattr(message, "ack", None), "__self__", None)
    line = None if incoming is None else line_of(incoming.channel)
    if line is None:
        return None
    try:
        name = receiver.broker.formatter.loads(message=message.data).task_name
        task = receiver.broker.find_task(name)
    except Exception:  # its own code meets the same, and says so
        return None
    if task is None:
        return None
    own = current_scope("taskiq.receiver")
    return handling(own, _users(task), line, incoming.delivery_tag)


def _users(task: Any) -> Callable[[], None]:
    """Return what is called as the user calls the task: taskiq has renamed the function."""

    def named() -> None: ...

    named.__name__ = task.original_func.__name__.removesuffix("__taskiq_original")
    return named


ROUND_S = 0.05
"""How long a round of taskiq's loop takes that begins with an error."""


async def _listen(real: Any, self: Any, finish_event: Any) -> None:
    """Listen; a process that is gone does not begin again, as its loop otherwise would.

    While the connection is lost, listening ends at once, and taskiq's loop begins it again at once,
    with a line in the log: that takes time, in which aio-pika connects again.
    """
    scope = current_scope("taskiq.listen")
    try:
        await real(self, finish_event)
    except BaseException as error:
        if not scope.incarnation.alive or scope.world.ending is not None:
            raise asyncio.CancelledError from None
        if isinstance(error, Exception):
            await asyncio.sleep(ROUND_S)
        raise


LIBRARY: Final = Library(
    "taskiq",
    tested=">=0.13,<0.14",
    seams=(
        Seam(
            "taskiq.receiver.receiver:Receiver.callback",
            ("self", "message", "raise_err"),
            _callback,
        ),
        Seam("taskiq.receiver.receiver:Receiver.listen", ("self", "finish_event"), _listen),
    ),
    warm=lambda: quiet_in_runs("taskiq"),
)
