"""Commits that nobody waits for, and who is told what became of them.

Source:
    Apache Kafka 3.9, javadoc of `KafkaConsumer.commitAsync`: commits are sent in the order in which
    they are asked for, nothing sends one again, and callbacks are called in the same order, inside
    `poll` and `close`. All of them go over one connection to the coordinator: who gets no answer to
    one hears of it before the next is answered.

Not modelled:
    `close` waits for no answer that is still to come, and nor does a commit that is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs

from chaosharness.handlers.unwaited import unwaited
from chaosharness.kernel.scope import Scope

Then = Callable[[Any, BaseException | None], Any]


@attrs.define(eq=False)
class Asked:
    """One commit that was asked for."""

    offsets: Any
    then: Then | None
    answered: bool = False
    error: BaseException | None = None


class AskedCommits:
    """The commits of one consumer that nobody waits for.

    Args:
        heard: Called when the first of those that were asked for is answered.
    """

    def __init__(self, heard: Callable[[], Any] | None = None) -> None:
        self._asked: deque[Asked] = deque()
        self._heard = heard
        self.any = False

    @property
    def due(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._asked) and self._asked[0].answered

    def ask(
        self,
        scope: Scope,
        port: Callable[[], Any],
        offsets: Any,
        then: Then | None,
        settled: Callable[[BaseException | None], Any] | None = None,
    ) -> None:
        """Pass a port on behalf of a scope, while its code goes on.

        Args:
            scope: Who asks.
            port: Commits.
            offsets: What is committed, as `then` is to be told.
            then: Called with that, and with an error or None.
            settled: Called with the latter as soon as it is known.
        """
        asked = Asked(offsets, then)
        self._asked.append(asked)
        self.any = True

        def done(_: Any, error: BaseException | None) -> None:
            asked.answered, asked.error = True, error
            scope.world.effects += then is not None  # somebody is to be told something new
            if settled is not None:
                settled(error)
            if self._heard is not None and self.due:
                self._heard()

        unwaited(scope, port, done)

    def calls(self) -> Iterator[tuple[Callable[[Any], Any] | None, Any]]:
        """Yield who is to be called with what, in the order of the commits."""
        while self.due:
            asked = self._asked.popleft()
            yield (None if asked.then is None else partial(asked.then, asked.offsets)), asked.error

    def tell(self) -> None:
        """Call all who are to be told something now."""
        for call, error in self.calls():
            if call is not None:
                call(error)
