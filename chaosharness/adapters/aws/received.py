"""Messages of a receive, which say on whose behalf code runs as it goes from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


class Received(list[Any]):
    """What a receive answers. Going to a message says that code runs on its behalf from then on."""

    __slots__ = ("go_to",)

    def __init__(self, messages: list[Any], go_to: Callable[[int], None]) -> None:
        super().__init__(messages)
        self.go_to = go_to

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            self.go_to(index)
            yield list.__getitem__(self, index)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            self.go_to(range(len(self))[index])
        return list.__getitem__(self, index)

    def pop(self, index: Any = -1) -> Any:
        """Take one out, and act on its behalf."""
        self.go_to(range(len(self))[index])
        rest = self.go_to
        at = range(len(self))[index]
        self.go_to = lambda nth: rest(nth if nth < at else nth + 1)
        return super().pop(index)
