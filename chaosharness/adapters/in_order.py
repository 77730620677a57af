"""Sets that are gone through in the order in which they were filled.

Libraries keep connections, queues and callbacks in sets, and go through them when they connect
again or close. A set goes by hashes, which are addresses in memory: another order in each process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakSet


class InOrder(set[Any]):
    """Stands for `set`; knows adding, taking away, looking up and going through."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._order = dict.fromkeys(items)
        super().__init__(self._order)

    def add(self, item: Any) -> None:
        """Take one more."""
        self._order.setdefault(item)
        super().add(item)

    def discard(self, item: Any) -> None:
        """Let one go, if it is there."""
        self._order.pop(item, None)
        super().discard(item)

    def remove(self, item: Any) -> None:
        """Let one go."""
        super().remove(item)
        self._order.pop(item, None)

    def clear(self) -> None:
        """Let all go."""
        self._order.clear()
        super().clear()

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._order))


class FrozenInOrder(frozenset[Any]):
    """Stands for `frozenset`."""

    _order: tuple[Any, ...]

    def __new__(cls, items: Iterable[Any] = ()) -> FrozenInOrder:
        """Keep the order of what it is made from."""
        order = tuple(dict.fromkeys(items))
        self = super().__new__(cls, order)
        self._order = order
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(self._order)


class WeakInOrder(WeakSet[Any]):
    """Stands for `WeakSet`: holds what it is given for as long as others do."""

    def __init__(self, data: Any = None) -> None:
        self._nth: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._next = 0
        super().__init__(data)

    def add(self, item: Any) -> None:
        """Take one more."""
        if item not in self._nth:
            self._nth[item] = self._next
            self._next += 1
        super().add(item)

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=self._nth.__getitem__))
