"""Errors that left the code that was told them: nobody decided anything."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from chaosharness.checkers.reading import HANDLE, read
from chaosharness.kernel.history import History, RawEvent

CLIENT: Final = "client"
DONE: Final = frozenset({"write", "commit", "note", "publish"})


class Escapes:
    """Where errors left handlers, tasks and main loops in a run.

    What left a handler comes again, a main loop begins anew, and at a task nobody looks any
    more. A client that got the error was told no, and so was whoever made the message a
    dead letter: there somebody decided.

    Args:
        history: The run.
    """

    def __init__(self, history: History) -> None:
        self._raw = history.raw
        self._history = history

    @cached_property
    def _raised(self) -> dict[int, list[int]]:
        """Return where an error left the code, by the piece of work."""
        found: dict[int, list[int]] = {}
        roots = read(self._history).roots
        for index in self._history.places_of("raised"):
            raw, root = self._raw[index], roots[index]
            if not raw[2].startswith(CLIENT) and self._left(raw, root):
                found.setdefault(root, []).append(index)
        return found

    def _left(self, raw: RawEvent, root: int) -> bool:
        """Say whether an error left a task, a handler or a main loop, to be tried again.

        Where its message was acknowledged all the same, it was skipped; where that was put
        aside, whoever gets it there decides.
        """
        reading = read(self._history)
        operation, handed = raw[3], reading.handed.get(root)
        if operation == "":
            return True
        if handed is None:
            return "/" not in operation
        outermost = raw[2] == handed.to and (operation.endswith(HANDLE) or "/" not in operation)
        return outermost and handed.acked < 0 and handed.sent.index not in self._buried

    @cached_property
    def _buried(self) -> frozenset[int]:
        return frozenset(message for message, _ in read(self._history).dead)

    @cached_property
    def _unsaid(self) -> frozenset[int]:
        """Return the publishes whose answer was not ok."""
        replies = (self._raw[at] for at in self._history.places_of("reply"))
        return frozenset(raw[6] for raw in replies if not _is_ok(raw))

    def escaped(self, index: int) -> bool:
        """Say whether an error that some code was told left it, with nothing done in between.

        What another third party did is something, also where its answer was lost: it was asked
        since the error had been caught, and the error that left the code is another one.

        Args:
            index: The event that told it.
        """
        root = read(self._history).roots[index]
        left = next((one for one in self._raised.get(root, ()) if one > index), -1)
        if left < 0 or self._raw[root][1] == "arrive":
            return False
        roots, operation = read(self._history).roots, self._raw[index][3]
        return not any(
            roots[at] == root and (self._did_something(at) or self._did_effect(at, operation))
            for at in range(index + 1, left)
        )

    def passed_on(self, index: int) -> bool:
        """Say whether an error left the service that was told it, for one that had called it.

        Args:
            index: The event that told it.
        """
        _, _, actor, operation, *_ = self._raw[index]
        handler = operation.partition("/")[0]
        roots = read(self._history).roots
        mine = [
            at
            for at in range(index + 1, len(self._raw))
            if roots[at] == roots[index] and self._raw[at][2] == actor
        ]
        for at in mine:
            if self._raw[at][1] == "raised" and self._raw[at][3] == f"{handler}{HANDLE}":
                return self._is_endpoint(actor, roots[index])
            if self._did_something(at):
                return False
        return False

    def _is_endpoint(self, actor: str, root: int) -> bool:
        handed = read(self._history).handed.get(root)
        return handed is None or handed.to != actor

    def _did_effect(self, at: int, operation: str) -> bool:
        """Say whether an event is an effect that something else than an operation had."""
        return self._raw[at][1] == "effect" and self._raw[at][3] != operation

    def _did_something(self, at: int) -> bool:
        """Say whether something was done at an event: then the error had been caught."""
        raw = self._raw[at]
        if raw[1] == "reply":
            return _is_ok(raw)
        return raw[1] in DONE and "error" not in (raw[7] or ()) and at not in self._unsaid


def _is_ok(raw: RawEvent) -> bool:
    return bool(raw[7].get("outcome") == "ok")
