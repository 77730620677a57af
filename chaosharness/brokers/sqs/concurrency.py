"""How many calls of a Lambda function go on at a time: what its mapping and its account allow.

Source:
    AWS Lambda Developer Guide, "Configuring scaling behavior for SQS event source mappings"
    (maximum concurrency: 2 to 1,000; the mapping then asks for no more than it may call with),
    "Configuring reserved concurrency" and "Backoff strategy for throttled invocations" (throttled
    calls are tried again until the visibility timeout is over; then the messages come again, one
    receive older). How long the pauses are is not documented: here 1 s, then twice as long each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

PAUSE_MS: Final = 1_000

Begin = Callable[[], None]


class Slots:
    """The calls of one function, over all its execution environments.

    Args:
        asking_max: How many environments ask the queue at a time; None for all.
        calls_max: How many calls go on at a time; None for any number.
    """

    def __init__(self, asking_max: int | None, calls_max: int | None) -> None:
        self.asking_max = asking_max
        self.calls_max = calls_max
        self._asking: set[object] = set()
        self._waiting: deque[tuple[object, Begin]] = deque()
        self._calls = 0

    def may_ask(self, who: object, begin: Begin) -> bool:
        """Say whether somebody may ask now; else `begin` is called when it may."""
        if self.asking_max is None or who in self._asking:
            return True
        if len(self._asking) < self.asking_max:
            self._asking.add(who)
            return True
        if all(other is not who for other, _ in self._waiting):
            self._waiting.append((who, begin))
        return False

    def leave(self, who: object) -> None:
        """Have somebody who is gone make room for the next."""
        self._waiting = deque(one for one in self._waiting if one[0] is not who)
        if who in self._asking:
            self._asking.remove(who)
            if self._waiting:
                next_one, begin = self._waiting.popleft()
                self._asking.add(next_one)
                begin()

    def take(self) -> bool:
        """Begin a call, if there may be one more; say whether it is so."""
        if self.calls_max is not None and self._calls >= self.calls_max:
            return False
        self._calls += 1
        return True

    def give_back(self) -> None:
        """End a call."""
        self._calls -= 1


def pause_ms(nth: int) -> int:
    """Return how long a call waits that was throttled for the nth time, from 1."""
    return PAUSE_MS << (nth - 1)
