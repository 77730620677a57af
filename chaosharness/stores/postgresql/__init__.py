"""PostgreSQL: a real server, whose statements pass ports, and virtual time for its locks."""

from __future__ import annotations

from chaosharness.stores.postgresql.postgresql import PostgreSQL

__all__ = ["PostgreSQL"]
