"""anyio: its threads run beside the event loop, as `asyncio.to_thread` does. FastAPI and Starlette
run plain `def` endpoints so.

Source:
    anyio 4, "Working with threads".

Not modelled:
    Limits of threads; `anyio.from_thread`, from such a function back into the event loop. anyio on
    trio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final

from chaosharness.adapters.dispatch import Library, Seam


async def _in_thread(
    real: Any,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    abandon_on_cancel: bool = False,
    limiter: Any = None,
) -> Any:
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, context.run, func, *args)


LIBRARY: Final = Library(
    "anyio",
    tested=">=4.1,<5",
    seams=(
        Seam(
            "anyio._backends._asyncio:AsyncIOBackend.run_sync_in_worker_thread",
            ("func", "args", "abandon_on_cancel", "limiter"),
            _in_thread,
        ),
    ),
)
