"""Answers of the machine of Redis Streams, as they go over the wire.

Source:
    redis.io, "Redis serialization protocol specification", and the pages of the commands. XREAD,
    XREADGROUP and XINFO answer maps in RESP3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaosharness.machines.machine import Refusal
from chaosharness.machines.redis import StreamId, ids
from chaosharness.machines.redis import operations as op


def reply_of(asked: Any, answer: Any, connection: Any = None) -> Any:
    """Return an answer of the machine as a client reads it.

    Args:
        asked: The operation.
        answer: What the machine says.
        connection: Who reads it: there are two protocols.
    """
    if isinstance(answer, Refusal):
        words = answer.text if answer.code == "ERR" else f"{answer.code} {answer.text}"
        import redis  # not above: where it is met as it is imported, its adapter imports this

        return redis.ResponseError(words)
    match asked:
        case op.Add():
            return None if answer is None else _id(answer)
        case op.CreateGroup() | op.SetId():
            return b"OK"
        case op.Type():
            return _text(answer)
        case op.Range():
            return [_entry(one) for one in answer]
        case op.Claim():
            return _claimed(answer, asked.just_id)
        case op.AutoClaim():
            gone = [_id(one) for one in answer.deleted]
            return [_id(answer.start), _claimed(answer.entries, asked.just_id), gone]
        case op.PendingSummary():
            consumers = [[_text(name), b"%d" % times] for name, times in answer.consumers.items()]
            ends = [None if one is None else _id(one) for one in (answer.first, answer.last)]
            return [answer.count, *ends, consumers or None]
        case op.PendingRange():
            return [[_id(one.id), _text(one.consumer), one.idle_ms, one.times] for one in answer]
        case op.Streams():
            return _stream(answer, asked.full, connection)
        case op.Groups():
            return [_group(one, connection) for one in answer]
        case op.Consumers():
            return [_consumer(one, connection) for one in answer]
    return answer


def as_entries(found: Iterable[tuple[str, list[op.Entry]]], connection: Any) -> Any:
    """Return what a read answers: entries of each stream, or nothing."""
    rows = [(_text(stream), [_entry(one) for one in entries]) for stream, entries in found]
    if not rows:
        return None
    if connection.protocol_version == 2:
        return [list(row) for row in rows]
    return dict(rows)


# ---- XINFO


def _map(connection: Any, **pairs: Any) -> Any:
    """Return a map: in the older protocol its names and values in turn."""
    named = {name.replace("_", "-").encode(): value for name, value in pairs.items()}
    if connection.protocol_version == 2:
        return [one for pair in named.items() for one in pair]
    return named


def _stream(it: op.StreamInfo, full: bool, connection: Any) -> Any:
    entries = [_entry(one) for one in it.entries]
    if full:
        assert not isinstance(it.groups, int)
        rest: dict[str, Any] = {
            "entries": entries,
            "groups": [_full_group(one, connection) for one in it.groups],
        }
    else:
        first, last = (entries[0], entries[-1]) if entries else (None, None)
        rest = {"groups": it.groups, "first_entry": first, "last_entry": last}
    return _map(
        connection,
        length=it.length,
        radix_tree_keys=it.keys,
        radix_tree_nodes=it.nodes,
        last_generated_id=_id(it.last),
        max_deleted_entry_id=_id(it.deleted),
        entries_added=it.added,
        recorded_first_entry_id=_id(it.first),
        **rest,
    )


def _group(it: op.GroupInfo, connection: Any) -> Any:
    return _map(
        connection,
        name=_text(it.name),
        consumers=it.consumers,
        pending=it.pending,
        last_delivered_id=_id(it.last),
        entries_read=it.read,
        lag=it.lag,
    )


def _full_group(it: op.GroupInfo, connection: Any) -> Any:
    assert not isinstance(it.consumers, int)
    return _map(
        connection,
        name=_text(it.name),
        last_delivered_id=_id(it.last),
        entries_read=it.read,
        lag=it.lag,
        pel_count=it.pending,
        pending=[[_id(one), _text(whose), at_ms, times] for one, whose, at_ms, times in it.held],
        consumers=[
            _map(
                connection,
                name=_text(one.name),
                seen_time=one.seen_ms,
                pel_count=one.pending,
                pending=[[_id(held), at_ms, times] for held, at_ms, times in one.held],
            )
            for one in it.consumers
        ],
    )


def _consumer(it: op.ConsumerInfo, connection: Any) -> Any:
    return _map(connection, name=_text(it.name), pending=it.pending, idle=it.idle_ms)


# ---- parts


def _id(one: StreamId) -> bytes:
    return ids.text(one).encode()


def _text(words: str) -> bytes:
    return words.encode("utf-8", "surrogateescape")


def _claimed(entries: list[op.Entry], just_id: bool) -> list[Any]:
    return [_id(one.id) if just_id else _entry(one) for one in entries]


def _entry(one: op.Entry) -> list[Any]:
    return [_id(one.id), None if one.fields is None else _fields(one)]


def _fields(one: op.Entry) -> list[bytes]:
    """Return the fields of an entry; one that came by a port has `value`, `key` and its headers."""
    fields = one.fields
    if isinstance(fields, list):
        return [word for pair in fields for word in pair]
    message = one.message
    found = [b"value", bytes(fields or b"")]
    named = {} if message is None else {"key": message.key, **message.headers}
    for name, value in named.items():
        if value is not None:
            found += [_text(name), value if isinstance(value, bytes) else _text(str(value))]
    return found
