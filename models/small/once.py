"""A third party that does each thing once for each order, and says so when asked again."""

from __future__ import annotations


class Known(Exception):
    """This was done before, or was undone before it could be: nothing happens (HTTP 409)."""


class Once:
    """What all of them have in common: they keep the order's id as an idempotency key."""

    def __init__(self) -> None:
        self.done: set[tuple[str, str]] = set()

    def once(self, what: str, order: str) -> None:
        """Remember that something is done for an order.

        Raises:
            Known: It is done already.
        """
        if (what, order) in self.done:
            raise Known(f"{what} {order}")
        self.done.add((what, order))
