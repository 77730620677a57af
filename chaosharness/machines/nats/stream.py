"""One stream: what it keeps, in order, and which message ids it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from chaosharness.machines.lease import Alarm
from chaosharness.machines.nats.settings import StreamSettings
from chaosharness.machines.nats.subjects import matches

NEVER: Final = 1 << 62


@attrs.define(eq=False)
class Record:
    """One message in a stream."""

    sequence: int
    subject: str
    body: bytes
    message: Any
    stored_ms: int


class Stream:
    """The messages of a stream. Sequences grow by one, and never come again.

    Args:
        name: Its name.
        settings: What it goes by.
        alarm: Of its machine.
        header_bytes: How many bytes the headers of a message take.

    Attributes:
        readers: The consumers that want a subject, and what facts call them, as far as asked.
        is_emptied: Whether a message goes once its consumers are done with it.
        is_limited: Whether it may be full, or let messages go because others came.
        expired: What went because it was too old: the last of each subject.
    """

    def __init__(
        self,
        name: str,
        settings: StreamSettings,
        alarm: Alarm,
        header_bytes: Callable[[Any], int],
    ) -> None:
        self.name = name
        self.readers: dict[str, tuple[tuple[Any, ...], tuple[str, ...]]] = {}
        self._header_bytes = header_bytes
        self._alarm = alarm
        self.records: dict[int, Record] = {}
        self.last = 0
        self.last_id = ""
        self._known: dict[str, tuple[int, int, Any]] = {}
        self._until: dict[int, int] = {}
        self.expired: dict[str, Record] = {}
        self._keeps: dict[str, bool] = {}
        self.change(settings)

    def change(self, settings: StreamSettings) -> None:
        """Go by other settings from now on."""
        self.settings = settings
        self.is_emptied = settings.retention != "limits"
        most = (settings.msgs_max, settings.msgs_per_subject_max)
        self.is_limited = max(*most, settings.bytes_max, settings.message_bytes_max) > 0
        self._age_ms_max = settings.age_ms_max
        self._keeps.clear()
        self.readers.clear()
        self._alarm.moves += 1

    def keeps(self, subject: str) -> bool:
        """Say whether a subject is one of the stream's."""
        keeps = self._keeps.get(subject)
        if keeps is None:
            keeps = any(matches(pattern, subject) for pattern in self.settings.subjects)
            self._keeps[subject] = keeps
        return keeps

    @property
    def first(self) -> int:
        """The sequence of the oldest message; of the next one where there is none."""
        return next(iter(self.records), self.last + 1)

    # ---- message ids

    def recognise(self, id: str, now: int) -> tuple[int, Any] | None:
        """Return the sequence and the message that had this id, if it was within the window."""
        self._forget(now)
        known = self._known.get(id)
        return None if known is None else known[1:]

    def remember(self, id: str, sequence: int, message: Any, now: int) -> None:
        """Know a message id from now on."""
        self._known.pop(id, None)
        self._known[id] = (now, sequence, message)

    def _forget(self, now: int) -> None:
        window_ms = self.settings.window_ms
        while self._known:
            id, (at_ms, _, _) = next(iter(self._known.items()))
            if now - at_ms < window_ms:
                return
            del self._known[id]

    # ---- coming and going

    def size(self, subject: str, body: bytes, header_bytes: int) -> int:
        """Return how many bytes a message takes, with what the store adds to it.

        Source:
            nats-server 2.15, `server/filestore.go` (`fileStoreMsgSizeRaw`), `server/memstore.go`
            (`memStoreMsgSizeRaw`).
        """
        length = len(subject) + header_bytes + len(body)
        if self.settings.storage == "memory":
            return length + 16
        return length + (34 if header_bytes else 30)

    def bytes_kept(self) -> int:
        """Return how many bytes its messages take."""
        extra, size = self._header_bytes, self.size
        found = self.records.values()
        return sum(size(one.subject, one.body, extra(one.message)) for one in found)

    def is_full(self, subject: str) -> bool:
        """Say whether a message is refused, as `discard` has it."""
        settings = self.settings
        if settings.discard != "new" or not 0 < settings.msgs_max <= len(self.records):
            return False
        most = settings.msgs_per_subject_max
        return not 0 < most <= len(self.of_subject(subject))  # else it takes another's place

    def gives_way(self, subject: str) -> int:
        """Return how many bytes go where another message of a subject comes."""
        there, most = self.of_subject(subject), self.settings.msgs_per_subject_max
        if not 0 < most <= len(there):
            return 0
        oldest = there[0]
        return self.size(subject, oldest.body, self._header_bytes(oldest.message))

    def of_subject(self, subject: str) -> list[Record]:
        """Return the messages of a subject, the oldest first."""
        return [one for one in self.records.values() if one.subject == subject]

    def last_of(self, subject: str) -> int:
        """Return the sequence of the last message of a subject; 0 if there is none."""
        found = (one.sequence for one in reversed(self.records.values()) if one.subject == subject)
        return next(found, 0)

    def skip(self) -> int:
        """Use up a sequence for a message that nobody wants."""
        self.last += 1
        return self.last

    def append(self, subject: str, body: bytes, message: Any, now: int) -> Record:
        """Keep a message."""
        self.last = last = self.last + 1
        record = self.records[last] = Record(last, subject, body, message, now)
        if self._age_ms_max:
            self._alarm.not_before = min(self._alarm.not_before, now + self._age_ms_max)
        return record

    def keep_until(self, sequence: int, until: int | None) -> None:
        """Keep a message for its own time; None: for good, whatever its stream says."""
        self._until[sequence] = NEVER if until is None else until
        if until is not None:
            self._alarm.not_before = min(self._alarm.not_before, until)

    def rolled_up(self, subject: str | None, last: int) -> list[Record]:
        """Return what gives way to the last message: of its subject, or all there is."""
        found = self.records.values()
        return [one for one in found if one.sequence < last and subject in (None, one.subject)]

    def remove(self, sequence: int) -> None:
        """Keep a message no longer."""
        del self.records[sequence]
        self._until.pop(sequence, None)

    def over_limits(self, subject: str) -> Iterator[Record]:
        """Yield what has to go, now that a message has come; whoever asks takes each away."""
        settings = self.settings
        most = settings.msgs_per_subject_max
        if most > 0:
            found = self.of_subject(subject)
            yield from found[: max(len(found) - most, 0)]
        while 0 < settings.msgs_max < len(self.records) and settings.discard == "old":
            yield next(iter(self.records.values()))
        while 0 < settings.bytes_max < self.bytes_kept() and settings.discard == "old":
            yield next(iter(self.records.values()))

    def too_old(self, now: int) -> list[Record]:
        """Return what has been kept for too long."""
        most, own = self.settings.age_ms_max, self._until
        found = [self.records[one] for one, until in own.items() if until <= now]
        if not most:
            return found
        for record in self.records.values():
            if now - record.stored_ms < most:
                break
            if record.sequence not in own:
                found.append(record)
        return found

    def ages(self) -> int | None:
        """Return when the first message is too old; None for never."""
        if not self.records:
            return None
        own, most = self._until, self.settings.age_ms_max
        soonest = min(own.values(), default=NEVER)
        if most:
            aging = (
                one.stored_ms + most for one in self.records.values() if one.sequence not in own
            )
            soonest = min(soonest, next(aging, NEVER))
        return None if soonest == NEVER else soonest
