"""Buckets: what key-value and object stores hold, in the streams that they are made of.

nats-py's own code makes them of a stream each, and asks that by publishing, by reading messages,
and by ordered consumers. A bucket is a store of its own in a history's last words, and what is put
into it no word to anybody: that it was put twice is found if it can be seen in what it holds.

Source:
    nats-py 2.16, `js/kv.py`, `js/object_store.py`; NATS architecture, ADR-8 (key-value) and ADR-20
    (objects).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import attrs

from chaosharness.brokers.nats.nats import OpenNATS
from chaosharness.machines.nats.stream import Record

KV: Final = "KV_"
OBJECTS: Final = "OBJ_"
OPERATION: Final = "KV-Operation"
GONE: Final = ("DEL", "PURGE")
CHUNKS: Final = "C"


def called(subject: str) -> str:
    """Return what sites call a subject: chunks of an object have another one each time."""
    words = subject.split(".")
    if words[0] == "$O" and len(words) > 3 and words[2] == CHUNKS:
        return ".".join((*words[:3], "*"))
    return subject


def know_bucket(desk: OpenNATS, stream: str) -> None:
    """Know a bucket that code has made: it is a store from now on."""
    if stream.startswith((KV, OBJECTS)):
        desk.buckets.add(stream)
        name = f"{desk.name}.{stream.partition('_')[2]}"
        desk.world.states.setdefault(name, Bucket(name, desk, stream))


def is_of_bucket(desk: OpenNATS, subject: str) -> bool:
    """Say whether a bucket keeps a subject."""
    keeper = desk.machine.keeper(subject) if desk.buckets else None
    return keeper is not None and keeper.name in desk.buckets


@attrs.define(eq=False)
class Bucket:
    """What one bucket holds when a run is over."""

    name: str
    desk: OpenNATS
    stream: str

    def final(self) -> dict[str, Any]:
        """Return `{"items": {key: value}}`, by key: what is deleted is not there.

        And, under `"ran_out"`, what was there until its own time was over, as it last was.
        """
        self.desk.machine.tick(self.desk.world.now)
        stream = self.desk.machine.streams.get(self.stream)
        if stream is None:
            return {"items": {}}
        tell = _entries if self.stream.startswith(KV) else _objects
        items = dict(sorted(tell({one.subject: one for one in stream.records.values()})))
        gone = dict(sorted(tell(stream.expired)))
        gone = {key: value for key, value in gone.items() if key not in items}
        return {"items": items, "ran_out": gone} if gone else {"items": items}


def _entries(last: dict[str, Record]) -> Iterator[tuple[str, Any]]:
    for subject, record in last.items():
        if record.message.headers.get(OPERATION) not in GONE:
            yield subject.split(".", 2)[2], record.body.decode(errors="backslashreplace")


def _objects(last: dict[str, Record]) -> Iterator[tuple[str, Any]]:
    for subject, record in last.items():
        if subject.split(".")[2] == CHUNKS:
            continue
        with suppress(ValueError, KeyError):
            info = json.loads(record.body)
            if not info.get("deleted"):
                yield info["name"], {"size": info["size"], "digest": info["digest"]}
