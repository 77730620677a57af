"""A store of values by key."""

from __future__ import annotations

from chaosharness.stores.keyvalue.keyvalue import KeyValue

__all__ = ["KeyValue"]
