"""What lies behind an id in a stream, held against a look at each entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosharness.machines.redis.ids import StreamId
from chaosharness.machines.redis.stream import Kept, Stream

IDS = st.tuples(st.integers(1, 4), st.integers(0, 3))
GONE = st.lists(IDS, max_size=8)


def made(added: set[StreamId], gone: list[StreamId]) -> Stream:
    """Return a stream with nodes of three, from which some entries are deleted."""
    stream = Stream("s", 3)
    for one in sorted(added):
        stream.add(Kept(one, b"", one))
    for one in gone:
        stream.delete(one)
    return stream


@given(st.sets(IDS, max_size=14), GONE, IDS, st.one_of(st.none(), st.integers(-1, 6)))
def test_what_is_behind_an_id(
    added: set[StreamId], gone: list[StreamId], last: StreamId, count: int | None
) -> None:
    stream = made(added, gone)
    behind = [one for one in sorted(added - {*gone}) if one > last]
    few = behind if count is None or count < 0 else behind[:count]
    assert [one.id for one in stream.behind(last, count)] == few
    assert stream.has_some_behind(last) is bool(behind)


def test_a_stream_that_forgets_where_its_nodes_end_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = made({(1, 0), (1, 1), (1, 2), (2, 0)}, [])
    monkeypatch.setattr(stream, "_lasts", [(1, 2), (1, 2)])
    assert stream.behind((1, 2), None) == []
