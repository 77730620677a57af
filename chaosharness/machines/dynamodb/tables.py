"""Tables of DynamoDB: what identifies an item, and in which order items are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from hashlib import md5
from typing import Any, Final

import attrs

from chaosharness.machines.dynamodb.evaluating import Item
from chaosharness.machines.dynamodb.values import (
    SIZE_MAX,
    Invalid,
    Value,
    bytes_of,
    normal,
    type_of,
)

Key = tuple[Any, ...]
NO_MATCH: Final = "The provided key element does not match the schema"


@attrs.frozen(kw_only=True)
class TableSettings:
    """A table.

    Attributes:
        key: The attribute that is the partition key.
        sort: The one that is the sort key, if there is one.
        indexes: Global secondary indexes: for each name its partition and its sort key.
        ttl: The attribute that says when an item expires, in seconds since 1970.
    """

    key: str
    sort: str | None = None
    indexes: Mapping[str, tuple[str, str | None]] = attrs.field(factory=dict)
    ttl: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The attributes that identify an item."""
        return (self.key,) if self.sort is None else (self.key, self.sort)

    def keys_of(self, index: str | None) -> tuple[str, ...]:
        """Return the attributes that a query of an index goes by.

        Raises:
            Invalid: There is no such index.
        """
        if index is None:
            return self.keys
        if index not in self.indexes:
            raise Invalid(f"The table does not have the specified index: {index}")
        return tuple(filter(None, self.indexes[index]))


@attrs.frozen
class Lagging:
    """What eventually consistent reads still see of an item, and until when."""

    item: Item | None
    until_ms: int


class Table:
    """One table and its items."""

    def __init__(self, name: str, settings: TableSettings) -> None:
        self.name = name
        self.settings = settings
        self.items: dict[Key, Item] = {}
        self.lagging: dict[Key, Lagging] = {}

    # ---- keys

    def key_of(self, attributes: Mapping[str, Any], *, exactly: bool) -> Key:
        """Return what identifies an item.

        Raises:
            Invalid: A part of it is not there, is no text, number or bytes, or is empty.
        """
        keys = self.settings.keys
        if exactly and attributes.keys() != set(keys):
            raise Invalid(NO_MATCH)
        found: list[Any] = []
        for name in keys:
            value = attributes.get(name)
            if value is None:
                raise Invalid(
                    f"One or more parameter values were invalid: Missing the key {name} in the item"
                )
            found.append(place_of(value, name))
        return tuple(found)

    def check(self, item: Item) -> Item:
        """Return an item as it is kept.

        Raises:
            Invalid: It is too large, or cannot be kept.
        """
        kept = {name: normal(value) for name, value in item.items()}
        if sum(len(name.encode()) + bytes_of(value) for name, value in kept.items()) > SIZE_MAX:
            raise Invalid("Item size has exceeded the maximum allowed size")
        for partition, sort in self.settings.indexes.values():
            for name in filter(None, (partition, sort)):
                if name in kept:
                    place_of(kept[name], name)
        return kept

    # ---- what is there

    def read(self, key: Key, now: int, *, consistent: bool) -> Item | None:
        """Return an item as a read sees it."""
        late = None if consistent else self.lagging.get(key)
        if late is not None and late.until_ms > now:
            return late.item
        return self.items.get(key)

    def all(self, index: str | None, now: int, *, consistent: bool) -> Iterator[tuple[Key, Item]]:
        """Yield all items that are in an index, in the order of a scan."""
        needed = self.settings.keys_of(index)
        keys = dict.fromkeys((*self.items, *self.lagging))
        for key in sorted(keys, key=scanned):
            item = self.read(key, now, consistent=consistent)
            if item is not None and all(name in item for name in needed):
                yield key, item

    def write(self, key: Key, item: Item | None) -> None:
        """Keep an item, or none."""
        if item is None:
            self.items.pop(key, None)
        else:
            self.items[key] = item


def place_of(value: Value, name: str) -> tuple[str, Any]:
    """Return what orders items by a key.

    Raises:
        Invalid: It can be no key.
    """
    kind = type_of(value)
    held = value[kind]
    if kind == "N":
        return kind, Decimal(held)
    if kind not in ("S", "B"):
        raise Invalid(
            f"One or more parameter values were invalid: Type mismatch for key {name} expected: S "
            f"actual: {kind}"
        )
    if not held:
        raise Invalid(
            "One or more parameter values are not valid. The AttributeValue for a key attribute "
            f"cannot contain an empty string value. Key: {name}"
        )
    return kind, held.encode() if isinstance(held, str) else held


def scanned(key: Key) -> tuple[bytes, Any]:
    """Return where an item comes in a scan: partitions by a hash, sort keys in their order."""
    return md5(repr(key[0]).encode(), usedforsecurity=False).digest(), key[1:]
