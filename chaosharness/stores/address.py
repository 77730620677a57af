"""What code under test connects to, and which store stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import call_off
from chaosharness.kernel import allowed
from chaosharness.kernel.places import asked_at

MEMORY: Final = ":memory:"


@attrs.frozen
class Address:
    """A database as a client names it: a server's, or a file.

    Attributes:
        scheme: `sqlite`, `postgresql`, `redis`: without a driver.
        host: Of a server; empty where the client leaves it to a default.
        database: Its name there, or the path of the file.
    """

    scheme: str
    host: str
    database: str

    def is_file(self, path: str) -> bool:
        """Say whether a file is meant that a client opens by this path."""
        if self.scheme != "sqlite":
            return False
        path = unquote(path.removeprefix("file:").partition("?")[0]) if "file:" in path else path
        if not path or MEMORY in (path, self.database):
            return (path or MEMORY) == self.database
        mine, its = PurePath(self.database).parts, PurePath(path).parts
        length = min(len(mine), len(its))
        return mine[-length:] == its[-length:]

    def is_server(self, host: str, database: str) -> bool:
        """Say whether a database of a server is meant: what either side leaves open, fits."""
        if self.scheme == "sqlite":
            return False
        return all(
            not mine or not its or mine == its
            for mine, its in ((self.host, host), (self.database, database))
        )


def parsed(url: str) -> Address:
    """Read an address: `postgresql+psycopg://app@db.internal/orders`, or the path of a file."""
    if "://" not in url:
        return Address("sqlite", "", url)
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0].replace("rediss", "redis")
    scheme = "postgresql" if scheme == "postgres" else scheme
    database = unquote(parts.path[1:])
    if scheme == "sqlite":
        return Address(scheme, "", database or MEMORY)
    return Address(scheme, parts.hostname or "", database)


def read(url: str | None) -> Address | None:
    """Read an address; None where there is none."""
    return None if url is None else parsed(url)


def is_address(part: Any, attribute: Any, value: Any) -> None:
    """Refuse what is no address."""
    if value is not None and (not isinstance(value, str) or not value):
        right = 'what the code under test connects to: "sqlite:///orders.db"'
        raise allowed.refused(type(part).__name__, attribute.name, right, value)


def one_of(stores: Iterable[Any], what: Callable[[], str]) -> Any:
    """Return the one store that an address means, or None.

    Args:
        stores: Those that it may mean.
        what: Makes the words for what has the address; asked for each connection, told hardly ever.

    Raises:
        InvalidDefinition: It means several, which calls the run off.
    """
    found = list(stores)
    if len(found) > 1:
        names = " and ".join(repr(one.name) for one in found)
        call_off(
            InvalidDefinition(
                f"{what()} may mean {names}{asked_at()}: say with url= what each of them stands for"
            )
        )
    return found[0] if found else None
