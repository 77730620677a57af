"""Every set of three faults of a small model, with few bytes kept of each."""

from benchmarks.triples import search
from models.protocols.replication import replication_with_a_least_number


def test_less_than_a_hundred_bytes_are_kept_of_a_set():
    books, largest = search(replication_with_a_least_number())
    levels = books.levels()
    assert all(level.complete for level in levels)
    assert levels[3].tried > 3_000
    assert largest < 100 * sum(level.tried for level in levels)
