"""What users set of a connection, and what of that is undone before its next owner has it."""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING, Any

from chaosharness.stores.sqlite.calmly import CalmConnection
from chaosharness.stores.sqlite.locks import count_changes, get_isolation, set_isolation


class ConfiguredConnection(CalmConnection):
    """A connection, and what was set of it."""

    __slots__ = ()

    if TYPE_CHECKING:

        def commit(self) -> None:
            """Commit the open transaction, at its site."""

    @property
    def total_changes(self) -> int:
        """Rows changed through this connection since it was made."""
        return count_changes(self) - self._zero

    @property
    def isolation_level(self) -> Any:
        """How sqlite3 opens transactions by itself; None: it does not."""
        return get_isolation(self)

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        if level is None:
            self.commit()
        set_isolation(self, level)
        self._calm = False
        self._spoilt = True
        self._implicit = level is not None
        self._exclusive = isinstance(level, str) and level.upper() == "EXCLUSIVE"

    if sys.version_info >= (3, 12):

        @property
        def autocommit(self) -> int:
            """How transactions are controlled, as PEP 249 has it."""
            return int(vars(sqlite3.Connection)["autocommit"].__get__(self))

        @autocommit.setter
        def autocommit(self, value: int) -> None:
            if value is True:
                self.commit()
            vars(sqlite3.Connection)["autocommit"].__set__(self, value)
            self._calm = False
            self._spoilt = True
            legacy = value == sqlite3.LEGACY_TRANSACTION_CONTROL
            self._implicit = legacy and self.isolation_level is not None
            self._private = self._private or not legacy

    def deserialize(self, *_: Any, **__: Any) -> None:
        """Refuse: it would cut the connection off from its store."""
        raise sqlite3.NotSupportedError("deserialize would replace the store under test")

    def setlimit(self, *arguments: Any, **keywords: Any) -> Any:
        """Set a limit of this connection; return what it was."""
        self._private = self._spoilt = True
        return super().setlimit(*arguments, **keywords)

    def _extend(self, method: str, arguments: Any, keywords: Any) -> None:
        """Remember what the user adds to a connection: its copies need it too."""
        self._spoilt = True
        self._extras.append((method, arguments, keywords))
        self._copy = None
        getattr(super(), method)(*arguments, **keywords)

    def create_function(self, *arguments: Any, **keywords: Any) -> None:
        """Add an SQL function."""
        self._extend("create_function", arguments, keywords)

    def create_aggregate(self, *arguments: Any, **keywords: Any) -> None:
        """Add an aggregate function."""
        self._extend("create_aggregate", arguments, keywords)

    def create_window_function(self, *arguments: Any, **keywords: Any) -> None:
        """Add a window function."""
        self._extend("create_window_function", arguments, keywords)

    def create_collation(self, *arguments: Any, **keywords: Any) -> None:
        """Add a collation."""
        self._extend("create_collation", arguments, keywords)

    def set_authorizer(self, *arguments: Any, **keywords: Any) -> None:
        """Have each access to a column authorized."""
        self._extend("set_authorizer", arguments, keywords)

    def set_trace_callback(self, *arguments: Any, **keywords: Any) -> None:
        """Be told of each statement that SQLite runs."""
        self._extend("set_trace_callback", arguments, keywords)

    def set_progress_handler(self, *arguments: Any, **keywords: Any) -> None:
        """Be called while SQLite works."""
        self._extend("set_progress_handler", arguments, keywords)
