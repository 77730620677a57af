"""Whether a run is the same when it is made again: when a campaign begins, and when it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from chaosharness.errors import Nondeterminism
from chaosharness.handlers.written import noting_files
from chaosharness.kernel.history import History, RawEvent, encode
from chaosharness.kernel.lines import Line, noting_lines
from chaosharness.system.outside import changed, outside
from chaosharness.system.run import OBSERVERS, Run
from chaosharness.system.system import System

__all__ = ["Watch", "compare", "compare_texts", "text_of"]


def compare(
    first: History,
    second: History,
    *,
    schedule: str,
    survived: Sequence[str] = (),
    lines: Mapping[int, Line] = MappingProxyType({}),
    files: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """See that two histories of one schedule are the same.

    Args:
        first: One.
        second: The other.
        schedule: What both were runs of, in words.
        survived: What is known to have changed in between, outside of the services.
        lines: The user's line for each event of another such run, by index.
        files: Files that code of another such run has written, and at which line.

    Raises:
        Nondeterminism: They are not.
    """
    if first.raw == second.raw:
        return
    mine, other = [[text_of(raw) for raw in history.raw] for history in (first, second)]
    compare_texts(mine, other, schedule, survived, lines, files)


def text_of(raw: RawEvent) -> str:
    """Return an event in its one spelling."""
    return encode(raw).decode("utf-8", "surrogatepass")


def compare_texts(
    first: list[str],
    second: list[str],
    schedule: str,
    survived: Sequence[str] = (),
    lines: Mapping[int, Line] = MappingProxyType({}),
    files: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """See that two histories are the same, event by event.

    Raises:
        Nondeterminism: They are not; it shows the first event that differs.
    """
    count = min(len(first), len(second))
    at = next((at for at in range(count) if first[at] != second[at]), count)
    if at == len(first) == len(second):
        return
    sides = [in_words(side[at]) if at < len(side) else "(no event)" for side in (first, second)]
    line = lines.get(at)
    raise Nondeterminism(
        index=at,
        first=sides[0],
        second=sides[1],
        schedule=schedule,
        survived=survived,
        files=[f"{path} at {place}" for path, place in files.items()],
        asked_at=f"{line.at} in {line.function}" if line is not None else "",
    )


def in_words(event: str) -> str:
    """Return an event for people, from its one spelling: who did what, and with which values."""
    at_ms, kind, process, operation, entity, _, _, data = json.loads(event)
    item = f" for item {entity}" if entity else ""
    values = "".join(f" {name}={json.dumps(value)}" for name, value in data.items())
    what = f"{kind} {operation}".strip()
    return f"{at_ms / 1000:.3f} s {process}: {what}{item}:{values}"


class Watch:
    """Sees that the calm run of a system stays the same while it is run many times.

    State that outlives a crash in the harness, and not in production, makes what is tested another
    system: its runs differ from the first one on, or after one in which it was left behind.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.calm: Run | None = None
        self._before = outside(system.given())

    def begin(self, items: Iterable[Any] | None = None, calm: Run | None = None) -> None:
        """Make the calm run twice.

        Args:
            items: The workload; the examples of the entry by default.
            calm: Its calm run, where that has just been made.

        Raises:
            Nondeterminism: The two differ. It names what has changed outside of the services.
        """
        if calm is None:
            self.note(items)
        else:
            self.calm = calm
        self.end("Schedule()")

    def note(self, items: Iterable[Any] | None = None) -> None:
        """Make the calm run once, for `end`."""
        self.calm = self._run(items)

    def end(self, what: str = "Schedule(), the first one and one after all others") -> None:
        """Make the calm run once more.

        Raises:
            Nondeterminism: It is not what it was.
        """
        if self.calm is None:
            return
        again = self._run(self.calm.items)
        if again.history.raw == self.calm.history.raw:
            return
        after = outside(self.system.given())
        names = self.system.module_state.names
        survived = changed(self._before, after, names)
        with noting_lines() as noted, noting_files() as files:
            self._run(self.calm.items)
        first, lines = self.calm.history, noted.lines()
        compare(first, again.history, schedule=what, survived=survived, lines=lines, files=files)

    def _run(self, items: Iterable[Any] | None) -> Run:
        token = OBSERVERS.set(())
        try:
            return self.system.run(None if items is None else tuple(items))
        finally:
            OBSERVERS.reset(token)
