"""SQLite: the library itself, with ports for its statements and virtual time for its locks."""

from __future__ import annotations

from chaosharness.stores.sqlite.sqlite import SQLite

__all__ = ["SQLite"]
