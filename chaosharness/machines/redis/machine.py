"""Redis Streams as a pure machine: an append-only log, groups that share it, and pending lists.

Nothing comes back by itself. An entry that was handed out stays pending for a consumer's name,
until somebody acknowledges it, claims it, or reads as that name again.

Source:
    redis.io, "Redis Streams" and the pages of the commands; redis/redis 7.0, `src/t_stream.c`;
    a running Redis 7.0.15, which the tests compare with where it is found.

Not modelled:
    Several streams in one XREADGROUP; XSETID; replies over 64 bits; memory limits and eviction;
    `inactive` of consumers (7.2). Since Redis 8.2,
    XACKDEL, XDELEX and references of XADD/XTRIM; XREADGROUP ... CLAIM (8.4). A failover that loses
    a group: it is taken to have been made long before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness.machines.machine import (
    Buried,
    CameBack,
    Fact,
    HandedOut,
    Ignored,
    Refusal,
    Settled,
    Stored,
)
from chaosharness.machines.redis import ids, looking, refusals
from chaosharness.machines.redis import operations as op
from chaosharness.machines.redis.ids import StreamId
from chaosharness.machines.redis.stream import Group, Kept, Pending, Stream

NODE_ENTRIES: Final = 100
NODES_MAX: Final = 100
SCANNED: Final = 10


class RedisMachine:
    """All streams of one Redis.

    Args:
        node_entries: `stream-node-max-entries`: what trimming about takes at a time.
        remembers: Whether writes can be lost (`Lose`).
        epoch_ms: What its clock shows at time 0: ids are made of that.
    """

    def __init__(
        self, *, node_entries: int = NODE_ENTRIES, remembers: bool = False, epoch_ms: int = 0
    ) -> None:
        self.streams: dict[str, Stream] = {}
        self.epoch_ms = epoch_ms
        self.node_entries = node_entries
        self._facts: list[Fact] = []
        self._log: list[tuple[int, Any]] | None = [] if remembers else None

    # ---- the contract

    def apply(self, operation: Any, now: int) -> Any:
        """Do what is asked for; return an answer, or a `Refusal`."""
        do = DO.get(type(operation))
        if do is None:
            raise TypeError(f"{operation!r} is no operation of Redis Streams")
        if self._log is not None and type(operation) not in LOOKS:
            self._log.append((now, operation))
        return do(self, operation, now)

    def due(self) -> int | None:
        """Return None: time alone changes nothing. Who claims looks at the clock himself."""
        return None

    def tick(self, now: int) -> None:
        """Let time act: it does nothing."""

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
        facts, self._facts = self._facts, []
        return facts

    def claimable(self, stream: str, group: str, min_idle_ms: int) -> int | None:
        """Return when an entry will have been idle for so long; None if none is pending."""
        found = self._group(stream, group)
        if found is None or not found.pending:
            return None
        return min(one.since_ms for one in found.pending.values()) + min_idle_ms

    def has_new(self, stream: str, group: str) -> bool:
        """Say whether there is anything that the group was not handed yet."""
        there = self.streams.get(stream)
        found = None if there is None else there.groups.get(group)
        return found is not None and there is not None and there.has_some_behind(found.last)

    def _group(self, stream: str, group: str) -> Group | None:
        found = self.streams.get(stream)
        return None if found is None else found.groups.get(group)

    # ---- the log

    def _add(self, operation: op.Add, now: int) -> StreamId | Refusal | None:
        wanted, cut, at_ms = operation.id, operation.cut, now + self.epoch_ms
        if wanted != "*" or cut is not None:
            is_id = ids.next_id(wanted, ids.ZERO, at_ms) is not None
            refusal = _refuse_cut(cut, is_id=is_id)
            if refusal is not None:
                return refusal
            if wanted in ("0", "0-0"):
                return refusals.ZERO_ID
        stream = self.streams.get(operation.stream)
        if stream is None:
            if operation.no_make:
                return None
            stream = self._make(operation.stream)
        one = ids.next_id(wanted, stream.last, at_ms)
        if one is None or one <= stream.last:
            return refusals.OLD_ID
        message = one if operation.message is None else operation.message
        stream.add(Kept(one, operation.fields, message))
        self._facts.append(Stored(message, stream.name, stream.places))
        if cut is not None:
            self._cut(stream, cut)
        return one

    def _make(self, name: str) -> Stream:
        stream = self.streams[name] = Stream(name, self.node_entries)
        return stream

    def _trim(self, operation: op.Trim, now: int) -> int | Refusal:
        refusal = _refuse_cut(operation.cut)
        if refusal is not None:
            return refusal
        stream = self.streams.get(operation.stream)
        return 0 if stream is None else self._cut(stream, operation.cut)

    def _cut(self, stream: Stream, cut: op.Cut) -> int:
        limit = cut.limit
        if limit is None:
            limit = NODES_MAX * self.node_entries if cut.about else 0
        if isinstance(cut.threshold, int):
            gone = stream.trim(length=cut.threshold, first=None, about=cut.about, limit=limit)
        else:
            first = ids.read(str(cut.threshold))
            gone = stream.trim(length=None, first=first, about=cut.about, limit=limit)
        for one in gone:
            self._bury(stream, one, "trimmed")
        return len(gone)

    def _bury(self, stream: Stream, one: Kept, why: str) -> None:
        """Say that an entry is gone, for each group that was not handed it yet.

        Where it is pending, somebody may be at work on it still: see `_forget`.
        """
        for group in stream.groups.values():
            if one.id > group.last:
                self._facts.append(Buried(one.message, group.place, None, why))

    def _forget(self, group: Group, pending: Pending) -> None:
        """Let go of what is pending and gone from the stream: it cannot be handed out again."""
        del group.pending[pending.id]
        fact = Buried(pending.message, group.place, None, "trimmed or deleted", pending.times)
        self._facts.append(fact)

    def _delete(self, operation: op.Delete, now: int) -> int | Refusal:
        wanted = [ids.read(one) for one in operation.ids]
        stream = self.streams.get(operation.stream)
        if stream is None:
            return 0
        gone = 0
        if None in wanted:
            return refusals.BAD_ID
        for one in wanted:
            assert one is not None
            kept = stream.delete(one)
            if kept is not None:
                self._bury(stream, kept, "deleted")
                gone += 1
        return gone

    def _delete_stream(self, operation: op.DeleteStream, now: int) -> int:
        stream = self.streams.pop(operation.stream, None)
        if stream is None:
            return 0
        for one in stream:
            self._bury(stream, one, "stream deleted")
        return 1

    def _length(self, operation: op.Length, now: int) -> int:
        stream = self.streams.get(operation.stream)
        return 0 if stream is None else len(stream)

    def _range(self, operation: op.Range, now: int) -> list[op.Entry] | Refusal:
        bounds = ids.bounds(operation.start, operation.end)
        if bounds is None:
            return refusals.BAD_ID
        stream = self.streams.get(operation.stream)
        if stream is None:
            return []
        found = [_entry(one) for one in stream if bounds[0] <= one.id <= bounds[1]]
        if operation.backwards:
            found.reverse()
        return found if operation.count is None else found[: max(operation.count, 0)]

    def _read(self, operation: op.Read, now: int) -> list[op.Entry] | Refusal:
        stream = self.streams.get(operation.stream)
        start = _position(operation.id, ids.ZERO if stream is None else stream.last)
        if start is None:
            return refusals.BAD_ID
        found = [] if stream is None else stream.behind(start, operation.count or None)
        return [_entry(one) for one in found]

    # ---- groups

    def _create_group(self, operation: op.CreateGroup, now: int) -> str | Refusal:
        stream = self.streams.get(operation.stream)
        if operation.read is not None and operation.read < -1:
            return refusals.READ_WRONGLY
        if stream is None and not operation.make:
            return refusals.NO_KEY
        last = _position(operation.id, ids.ZERO if stream is None else stream.last)
        if last is None:
            return refusals.BAD_ID
        if stream is None:
            stream = self._make(operation.stream)
        if operation.group in stream.groups:
            return refusals.GROUP_EXISTS
        place = f"{operation.stream}:{operation.group}"
        stream.groups[operation.group] = Group(place, last, _known(operation.read))
        stream.places = (*stream.places, place)
        return "OK"

    def _managed(self, stream: str, group: str) -> Group | Refusal:
        if stream not in self.streams:
            return refusals.NO_KEY
        return self._group(stream, group) or refusals.no_group_of_key(stream, group)

    def _set_id(self, operation: op.SetId, now: int) -> str | Refusal:
        if operation.read is not None and operation.read < -1:
            return refusals.READ_WRONGLY
        group = self._managed(operation.stream, operation.group)
        if isinstance(group, Refusal):
            return group
        last = _position(operation.id, self.streams[operation.stream].last)
        if last is None:
            return refusals.BAD_ID
        group.last, group.read = last, _known(operation.read)
        return "OK"

    def _destroy_group(self, operation: op.DestroyGroup, now: int) -> int | Refusal:
        stream = self.streams.get(operation.stream)
        if stream is None:
            return refusals.NO_KEY
        group = stream.groups.pop(operation.group, None)
        if group is None:
            return 0
        stream.places = tuple(one.place for one in stream.groups.values())
        for one in group.in_order():
            self._facts.append(Buried(one.message, group.place, None, "group deleted", one.times))
        return 1

    def _create_consumer(self, operation: op.CreateConsumer, now: int) -> int | Refusal:
        group = self._managed(operation.stream, operation.group)
        if isinstance(group, Refusal):
            return group
        if operation.consumer in group.consumers:
            return 0
        group.seen(operation.consumer, now)
        return 1

    def _delete_consumer(self, operation: op.DeleteConsumer, now: int) -> int | Refusal:
        group = self._managed(operation.stream, operation.group)
        if isinstance(group, Refusal):
            return group
        group.consumers.pop(operation.consumer, None)
        gone = group.of(operation.consumer)
        for one in gone:
            del group.pending[one.id]
            self._facts.append(
                Buried(one.message, group.place, None, "consumer deleted", one.times)
            )
        return len(gone)

    # ---- reading

    def _read_group(self, operation: op.ReadGroup, now: int) -> list[op.Entry] | Refusal:
        group = self._group(operation.stream, operation.group)
        if group is None:
            return refusals.no_group_to_read(operation.stream, operation.group)
        if operation.id == "$":
            return refusals.DOLLAR
        start = ids.ZERO if operation.id == ">" else ids.read(operation.id)
        if start is None:
            return refusals.BAD_ID
        if operation.id != ">":
            group.seen(operation.consumer, now)
            return self._read_again(operation, group, start, now)
        stream = self.streams[operation.stream]
        entries = stream.behind(group.last, operation.count or None)
        found: list[op.Entry] = []
        if entries:
            group.seen(operation.consumer, now)  # who finds nothing is no consumer yet
        for kept in entries:
            stream.advance(group, kept.id)
            self._hand_out(operation, group, kept, now)
            found.append(op.Entry(kept.id, kept.fields, kept.message, 1))
        return found

    def _hand_out(self, operation: op.ReadGroup, group: Group, kept: Kept, now: int) -> None:
        """Hand out an entry for the first time, or again as if it were: SETID went back."""
        consumer, id, message = operation.consumer, kept.id, kept.message
        holder = operation.holder or consumer
        self._facts.append(HandedOut(message, group.place, holder, 1, False, id))
        if operation.no_ack:
            self._facts.append(Settled(message, group.place, holder))
        else:
            group.pending[id] = Pending(id, message, consumer, holder, now, 1)

    def _read_again(
        self, operation: op.ReadGroup, group: Group, start: StreamId, now: int
    ) -> list[op.Entry]:
        """Hand out what is pending for a consumer already."""
        stream = self.streams[operation.stream]
        count = operation.count or len(group.pending)
        found: list[op.Entry] = []
        for one in group.of(operation.consumer, ids.after(start))[:count]:
            kept = stream.get(one.id)
            if kept is None:
                found.append(op.Entry(one.id, None, one.message, one.times))
                continue
            one.since_ms = now
            one.times += 1
            one.holder = operation.holder or operation.consumer
            found.append(self._again(group, kept, one))
        return found

    def _again(self, group: Group, kept: Kept, one: Pending) -> op.Entry:
        fact = HandedOut(kept.message, group.place, one.holder, one.times, False, kept.id)
        self._facts.append(fact)
        return _entry(kept, one.times)

    def _ack(self, operation: op.Ack, now: int) -> int | Refusal:
        group = self._group(operation.stream, operation.group)
        if group is None:
            return 0
        wanted: list[StreamId] = []
        for id in operation.ids:
            read = ids.read(id) if isinstance(id, str) else id
            if read is None:
                return refusals.BAD_ID
            wanted.append(read)
        done = 0
        for one in wanted:
            pending = group.pending.pop(one, None)
            if pending is not None:
                done += 1
                self._facts.append(Settled(pending.message, group.place, pending.holder))
                continue
            kept = self.streams[operation.stream].get(one)
            if kept is not None:
                self._facts.append(Ignored(kept.message, group.place, "it was not pending"))
        return done

    # ---- claiming

    def _claim(self, operation: op.Claim, now: int) -> list[op.Entry] | Refusal:
        group = self._group(operation.stream, operation.group)
        if group is None:
            return refusals.no_group(operation.stream, operation.group)
        wanted = [ids.read(one) for one in operation.ids]
        last = ids.ZERO if operation.last is None else ids.read(operation.last)
        if None in wanted or last is None:
            return refusals.BAD_ID
        group.last = max(group.last, last)
        stream = self.streams[operation.stream]
        since_ms = now - max(operation.idle_ms or 0, 0)
        if operation.time_ms is not None:
            since_ms = min(operation.time_ms - self.epoch_ms, now)
        found: list[op.Entry] = []
        for one in wanted:
            assert one is not None
            pending = group.pending.get(one)
            kept = stream.get(one)
            if kept is None:
                if pending is not None:
                    self._forget(group, pending)
                continue
            if pending is None:
                if not operation.force:
                    continue
                pending = Pending(one, kept.message, "", None, now, 1)
                group.pending[one] = pending
            elif operation.min_idle_ms and now - pending.since_ms < operation.min_idle_ms:
                continue
            found.append(self._take_over(operation, group, kept, pending, now, since_ms))
        return found

    def _auto_claim(self, operation: op.AutoClaim, now: int) -> op.Claimed | Refusal:
        start = ids.read(operation.start)
        if start is None:
            return refusals.BAD_ID
        if operation.count < 1:
            return refusals.NO_COUNT
        group = self._group(operation.stream, operation.group)
        if group is None:
            return refusals.no_group(operation.stream, operation.group)
        stream = self.streams[operation.stream]
        waiting = group.in_order(start)
        entries: list[op.Entry] = []
        deleted: list[StreamId] = []
        left, scans = operation.count, operation.count * SCANNED
        while waiting and left and scans:
            scans -= 1
            pending = waiting.pop(0)
            kept = stream.get(pending.id)
            if kept is None:
                self._forget(group, pending)
                deleted.append(pending.id)
                left -= 1
                continue
            if operation.min_idle_ms and now - pending.since_ms < operation.min_idle_ms:
                continue
            entries.append(self._take_over(operation, group, kept, pending, now, now))
            left -= 1
        return op.Claimed(waiting[0].id if waiting else ids.ZERO, entries, deleted)

    def _take_over(
        self,
        operation: op.Claim | op.AutoClaim,
        group: Group,
        kept: Kept,
        pending: Pending,
        now: int,
        since_ms: int,
    ) -> op.Entry:
        """Give a pending entry to whoever claims it."""
        group.seen(operation.consumer, now)
        before = pending.holder
        pending.consumer = operation.consumer
        pending.holder = operation.holder or operation.consumer
        pending.since_ms = since_ms
        times = operation.times if isinstance(operation, op.Claim) else None
        if times is not None:
            pending.times = times
        elif not operation.just_id:
            pending.times += 1
        if operation.just_id:  # the id alone: nothing was handed out
            return op.Entry(kept.id, None, kept.message, pending.times)
        if before is not None:
            self._facts.append(CameBack(kept.message, group.place, before, "claimed"))
        return self._again(group, kept, pending)

    # ---- losing

    def _lose(self, operation: op.Lose, now: int) -> None:
        """Be what was written before a moment, as a replica or an append-only file has it."""
        assert self._log is not None, "this machine remembers nothing: remembers=True"
        kept = [
            (at, one)
            for at, one in self._log[:-1]
            if at < operation.since_ms or isinstance(one, op.CreateGroup)
        ]
        again = RedisMachine(node_entries=self.node_entries, epoch_ms=self.epoch_ms)
        for at, one in kept:
            again.apply(one, at)
        before, self.streams = self.streams, again.streams
        self._log = kept
        for name, stream in before.items():
            now_there = self.streams.get(name)
            for entry in stream:
                if now_there is None or now_there.get(entry.id) is None:
                    for place in stream.places:
                        fact = Buried(entry.message, place, None, "lost with its server")
                        self._facts.append(fact)


def _refuse_cut(cut: op.Cut | None, *, is_id: bool = True) -> Refusal | None:
    """Return why a cut is not made, in the order in which Redis reads what it is given."""
    if cut is not None and isinstance(cut.threshold, int):
        if cut.threshold < 0:
            return refusals.NEGATIVE_LENGTH
    elif cut is not None and ids.read(str(cut.threshold)) is None:
        return refusals.BAD_ID
    if not is_id:
        return refusals.BAD_ID
    if cut is not None and cut.limit is not None and not cut.about:
        return refusals.LIMIT_IS_EXACT
    return None


def _position(words: str, last: StreamId) -> StreamId | None:
    """Return what a group counts as handed out already."""
    return last if words == "$" else ids.read(words)


def _known(read: int | None) -> int | None:
    return None if read == -1 else read


def _entry(kept: Kept, times: int = 0) -> op.Entry:
    return op.Entry(kept.id, kept.fields, kept.message, times)


Do = Callable[[RedisMachine, Any, int], Any]
DO: Final[dict[type, Do]] = {
    op.Add: RedisMachine._add,
    op.Trim: RedisMachine._trim,
    op.Delete: RedisMachine._delete,
    op.DeleteStream: RedisMachine._delete_stream,
    op.Length: RedisMachine._length,
    op.Range: RedisMachine._range,
    op.Read: RedisMachine._read,
    op.CreateGroup: RedisMachine._create_group,
    op.SetId: RedisMachine._set_id,
    op.DestroyGroup: RedisMachine._destroy_group,
    op.CreateConsumer: RedisMachine._create_consumer,
    op.DeleteConsumer: RedisMachine._delete_consumer,
    op.ReadGroup: RedisMachine._read_group,
    op.Ack: RedisMachine._ack,
    op.Claim: RedisMachine._claim,
    op.AutoClaim: RedisMachine._auto_claim,
    op.Exists: looking.exists,
    op.Type: looking.kind,
    op.PendingSummary: looking.pending_summary,
    op.PendingRange: looking.pending_range,
    op.Streams: looking.stream,
    op.Groups: looking.groups,
    op.Consumers: looking.consumers,
    op.Lose: RedisMachine._lose,
}

LOOKS: Final = frozenset(
    (
        *(op.Length, op.Range, op.Read, op.PendingSummary, op.PendingRange),
        *(op.Streams, op.Groups, op.Consumers, op.Exists, op.Type),
    )
)
