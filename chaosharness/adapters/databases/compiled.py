"""SQL that SQLAlchemy has compiled: kept for the process, and not for each engine.

SQLAlchemy compiles a statement once for an engine. A service makes its engines when it starts, in
each run and after each crash, so that all would be compiled again each time. Here engines whose
dialects are alike in every value share what was compiled. A dialect that holds anything else (a
serializer of the user's, events) is left alone.

Source:
    SQLAlchemy 2.0.31 to 2.1: `sql/elements.py` (`ClauseElement._compile_w_cache`),
    `engine/default.py` (`DefaultDialect`), "SQL Compilation Caching".

Not modelled:
    `query_cache_size`, but for 0; what `echo` says of the cache: `[kept]`, and not since when.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from sqlalchemy.util import LRUCache

from chaosharness.adapters.dispatch import Library, Seam

_KEPT_MAX: Final = 500
"""Statements of one kind of dialect, as SQLAlchemy has it for an engine."""

_ASIDE: Final = frozenset(
    (
        "_on_connect_isolation_level",
        "dbapi",
        "identifier_preparer",
        "loaded_dbapi",
        "_type_memos",
        "positional",
        "type_compiler",
        "type_compiler_instance",
    )
)
"""What a dialect makes of its class and of its other values."""

_ALIKE: Final[dict[tuple[Any, ...], tuple[Any, MutableMapping[Any, Any]]]] = {}
_MARK: Final = "_chaosharness_alike"


def _compiled(real: Any, self: Any, dialect: Any, **options: Any) -> Any:
    """Compile a statement, or take what was compiled for a dialect like this one."""
    if options.get("compiled_cache") is None:
        return real(self, dialect, **options)
    found = vars(dialect).get(_MARK)
    if found is None and "server_version_info" in vars(dialect):
        found = _like(dialect)
        setattr(dialect, _MARK, found)
    if not found:  # it has not asked its server yet, or is like no other
        return real(self, dialect, **options)
    options["compiled_cache"] = found[1]
    return real(self, found[0], **options)


def _like(dialect: Any) -> tuple[Any, ...]:
    """Return the first dialect that was like this one, and what was compiled for it."""
    values = _values(dialect)
    if values is None:
        return ()
    key = (type(dialect), values)
    return _ALIKE.setdefault(key, (dialect, LRUCache(_KEPT_MAX)))


def _values(dialect: Any) -> tuple[tuple[str, Any], ...] | None:
    """Return what a dialect was told or has learnt; None where it holds more than plain values."""
    found = []
    for name, value in sorted(vars(dialect).items()):
        if name in _ASIDE:
            continue
        if not _is_plain(value):
            return None
        found.append((name, value))
    return tuple(found)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | type)


def _said(real: Any, self: Any) -> str:
    """Say of a statement's SQL what is so in every run: since when it is kept is not."""
    return str(real(self)) if self.compiled is None else "kept"


LIBRARY: Final = Library(
    "SQLAlchemy",
    tested=">=2.0.31,<2.2",
    part="compiled statements",
    seams=(
        Seam(
            "sqlalchemy.sql.elements:ClauseElement._compile_w_cache",
            (
                "self",
                "dialect",
                "compiled_cache",
                "column_keys",
                "for_executemany",
                "schema_translate_map",
                "kw",
            ),
            _compiled,
        ),
        Seam(
            "sqlalchemy.engine.default:DefaultExecutionContext._get_cache_stats", ("self",), _said
        ),
    ),
)
