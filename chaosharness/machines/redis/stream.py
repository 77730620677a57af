"""One stream: its entries in nodes, its groups, and what is pending in each.

Source:
    redis/redis 7.0, `src/t_stream.c`: `streamAppendItem`, `streamTrim`, `streamDeleteItem`.

Not modelled:
    A node is also full at 4,096 bytes (`stream-node-max-bytes`); here it is by its count alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Any

import attrs

from chaosharness.machines.redis import ids
from chaosharness.machines.redis.ids import StreamId


@attrs.define(eq=False)
class Kept:
    """An entry in a stream."""

    id: StreamId
    fields: Any
    message: Any


@attrs.define(eq=False)
class Node:
    """So many entries in one piece of memory. One that is deleted keeps its room."""

    last: StreamId
    first: StreamId = ids.ZERO
    taken: int = 0
    kept: dict[StreamId, Kept] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Pending:
    """An entry in somebody's hands: a lease without an end. Nothing but a claim takes it back.

    Attributes:
        id: Which entry.
        message: What it held, also when it is deleted.
        consumer: For whom it is pending.
        holder: Who that is, for facts.
        since_ms: From when it is idle.
        times: How often it was handed out, or what a claim said.
    """

    id: StreamId
    message: Any
    consumer: str
    holder: Any
    since_ms: int
    times: int


class Group:
    """A consumer group: how far it has read, who is in it, and what is pending.

    Attributes:
        read: How many entries it has been handed since the stream began; None: nobody knows.
    """

    __slots__ = ("consumers", "last", "pending", "place", "read")

    def __init__(self, place: str, last: StreamId, read: int | None = None) -> None:
        self.place = place
        self.last = last
        self.read = read
        self.consumers: dict[str, int] = {}
        self.pending: dict[StreamId, Pending] = {}

    def seen(self, consumer: str, now: int) -> None:
        """Know that a consumer is there; one that is new becomes one."""
        self.consumers[consumer] = now

    def in_order(self, start: StreamId = ids.ZERO) -> list[Pending]:
        """Return what is pending from an id on, the oldest id first."""
        return [self.pending[one] for one in sorted(self.pending) if one >= start]

    def of(self, consumer: str, start: StreamId = ids.ZERO) -> list[Pending]:
        """Return what is pending for one consumer."""
        return [one for one in self.in_order(start) if one.consumer == consumer]


class Stream:
    """Entries in the order of their ids, and the groups that read them.

    Attributes:
        places: The groups that read it, each a place of its own for facts.
        added: How many entries it has ever had.
        deleted: The highest id that XDEL took; what is trimmed leaves no hole.
        first: The lowest id that is there.
    """

    def __init__(self, name: str, node_entries: int) -> None:
        self.name = name
        self.last = self.first = self.deleted = ids.ZERO
        self.added = 0
        self.groups: dict[str, Group] = {}
        self.places: tuple[str, ...] = ()
        self._kept: dict[StreamId, Kept] = {}
        self._nodes: list[Node] = []
        self._lasts: list[StreamId] = []  # of each node
        self._node_entries = node_entries

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._kept.values())

    def get(self, one: StreamId) -> Kept | None:
        """Return an entry, unless it is not there."""
        return self._kept.get(one)

    def behind(self, last: StreamId, count: int | None) -> list[Kept]:
        """Return the first entries behind an id: so many, or all where that is below 0."""
        if count is not None and count < 0:
            count = None
        found: list[Kept] = []
        first = bisect_right(self._lasts, last)
        for node in self._nodes[first:]:
            kept = node.kept
            begin = bisect_right([*kept], last) if node is self._nodes[first] else 0
            room = None if count is None else begin + count - len(found)
            found += islice(kept.values(), begin, room)
            if count is not None and len(found) == count:
                break
        return found

    def has_some_behind(self, last: StreamId) -> bool:
        """Say whether there is an entry behind an id."""
        if last >= self.last:
            return False
        for one in reversed(self._kept):
            return one > last
        return False

    def add(self, one: Kept) -> None:
        """Append an entry, whose id is higher than all before."""
        id, nodes = one.id, self._nodes
        assert id > self.last
        if not nodes or nodes[-1].taken >= self._node_entries:
            nodes.append(Node(id, id))
            self._lasts.append(id)
        node = nodes[-1]
        node.kept[id] = self._kept[id] = one
        self.last = node.last = self._lasts[-1] = id
        node.taken += 1
        self.added += 1
        if len(self._kept) == 1:
            self.first = id

    def delete(self, one: StreamId) -> Kept | None:
        """Delete an entry; what is pending stays so."""
        for node in self._nodes:
            if one in node.kept:
                self.deleted = max(self.deleted, one)
                return self._drop(node, one)
        return None

    def _drop(self, node: Node, one: StreamId) -> Kept:
        found = node.kept.pop(one)
        del self._kept[one]
        if not node.kept:
            at = self._nodes.index(node)
            del self._nodes[at], self._lasts[at]
        if one == self.first:
            self.first = next(iter(self._kept), ids.ZERO)
        return found

    def trim(
        self, *, length: int | None, first: StreamId | None, about: bool, limit: int
    ) -> list[Kept]:
        """Let the oldest entries go; return them.

        Args:
            length: How many to keep.
            first: The lowest id to keep.
            about: Whether only whole nodes go.
            limit: How many may go at most; 0: all.
        """
        gone: list[Kept] = []
        for node in list(self._nodes):
            if length is not None and len(self) <= length:
                break
            if limit and len(gone) + len(node.kept) > limit:
                break
            if length is not None:
                whole = len(self) - len(node.kept) >= length
            else:
                whole = first is not None and node.last < first
            if not whole and about:
                break
            for one in list(node.kept):
                if not whole:
                    if length is not None and len(self) <= length:
                        break
                    if first is not None and one >= first:
                        break
                gone.append(self._drop(node, one))
            if not whole:
                break
        return gone

    # ---- how far somebody is

    @property
    def node_keys(self) -> list[StreamId]:
        """The id that each node began with."""
        return [one.first for one in self._nodes]

    def has_hole_behind(self, one: StreamId) -> bool:
        """Say whether XDEL may have taken something between an id and what is there."""
        return bool(self._kept) and self.deleted >= max(self.first, one)

    def counted(self, one: StreamId) -> int | None:
        """Return how many entries there were up to an id since the stream began, if it is known."""
        if not self.added:
            return 0
        if one == self.last or (not self._kept and one < self.last):
            return self.added
        if one > self.last:
            return None
        if self.deleted == ids.ZERO or self.deleted < self.first:
            before = self.added - len(self._kept)
            if one < self.first:
                return before
            if one == self.first:
                return before + 1
        return None

    def advance(self, group: Group, one: StreamId) -> None:
        """Have a group be handed an entry for the first time."""
        if group.read is not None and not self.has_hole_behind(one):
            group.read += 1
        elif self.added:
            group.read = self.counted(one)
        group.last = one

    def lag(self, group: Group) -> int | None:
        """Return how many entries a group was not handed yet, if it is known."""
        if not self.added:
            return 0
        read = group.read
        if read is None or self.has_hole_behind(group.last):
            read = self.counted(group.last)
        return None if read is None else self.added - read
