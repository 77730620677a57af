"""asgiref: its threads run beside the event loop. Django runs plain views under ASGI so.

Source:
    asgiref 3, `sync.py`: `SyncToAsync` runs a function in a thread with a copy of the context, and
    what it sets there is seen after it.

Not modelled:
    `AsyncToSync`, which runs an event loop of its own (async views of a WSGI application); one
    thread for all that is `thread_sensitive`.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Seam


async def _in_thread(real: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    context = copy_context()
    work = partial(self.func, *args, **kwargs)
    try:
        return await asyncio.get_running_loop().run_in_executor(None, context.run, work)
    finally:
        for variable, value in context.items():
            if not variable.name.startswith("chaosharness.") and variable.get(None) is not value:
                variable.set(value)


LIBRARY: Final = Library(
    "asgiref",
    tested=">=3.7,<4",
    seams=(Seam("asgiref.sync:SyncToAsync.__call__", ("self", "args", "kwargs"), _in_thread),),
)
