"""How an application on an event loop is told that its server shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Closing"]


class Closing:
    """The end of one application: asked for by its process, waited for by what serves it."""

    def __init__(self) -> None:
        self._asked: asyncio.Future[None] | None = None
        self._told: Callable[[], None] = lambda: None

    def ask(self, told: Callable[[], None]) -> None:
        """Ask it to end; `told` is called when it has: at once where it never began."""
        if self._asked is None or self._asked.done():
            told()
        else:
            self._told = told
            self._asked.set_result(None)

    def expect(self) -> asyncio.Future[None]:
        """Return what is done when it is asked to end."""
        self._asked = asyncio.get_running_loop().create_future()
        return self._asked

    def never(self) -> None:
        """It has nothing to end."""
        self._asked = None

    def has_ended(self) -> None:
        """Tell whoever has asked."""
        self._told()
