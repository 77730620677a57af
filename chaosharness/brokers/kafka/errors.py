"""What a producer sees of a record that is never taken."""

from __future__ import annotations


class RecordTooLarge(ValueError):
    """A record is larger than its producer, or the cluster, takes."""


class InvalidRecord(ValueError):
    """A record has no key, and its topic is compacted (INVALID_RECORD)."""
