"""Whose is it: what a run leaves behind is given to the workload items, by their texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.values import leaves, parse


class Owners:
    """The workload items, and the texts by which they are recognised.

    A text is an item's own if no other item has it: what mentions, as a whole word, own
    texts of exactly one item is that item's (`o1:refund` is `o1`'s), in JSON as well. Whole
    numbers count in fields that are named like an id.

    Args:
        items: The items as plain values, in order.
        names: What the user says they are recognised by, for each item; None where that
            is to be found out.
    """

    def __init__(self, items: Sequence[Any], names: Sequence[Iterable[str]] | None = None) -> None:
        texts = [texts_of(item) for item in items]
        if names is not None:
            texts = [dict.fromkeys(one) for one in names]
        count = Counter(text for one in texts for text in one)
        self.count = len(items)
        self.texts = texts
        self.unique = {
            text: number for number, one in enumerate(texts, 1) for text in one if count[text] == 1
        }
        self._home = self._homes(texts)
        longest = sorted(self.unique, key=lambda text: (-len(text), text))
        words = "|".join(re.escape(text) for text in longest)
        pattern = rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])"
        self._pattern = re.compile(pattern) if words else None

    def _homes(self, texts: Sequence[Iterable[str]]) -> list[int]:
        """Return under which item each is kept: items that look the same are one."""
        homes = [0]
        first: dict[frozenset[str], int] = {}
        for number, one in enumerate(texts, 1):
            homes.append(first.setdefault(frozenset(one) or frozenset({f"\0{number}"}), number))
        return homes

    def home(self, entity: int) -> int:
        """Return the item under which the work of an item is kept."""
        return self._home[entity] if entity < len(self._home) else entity

    def of(self, value: Any) -> frozenset[int]:
        """Return the items that a value mentions."""
        if self._pattern is None:
            return frozenset()
        return frozenset(
            number for path, leaf in leaves(value) for number in self._mentioned(path, leaf)
        )

    def _mentioned(self, path: tuple[str, ...], leaf: Any) -> Iterable[int]:
        found: set[int] = set()
        name = path[-1] if path else ""
        if name and (named := self._in_text(name)):
            found |= named
        if isinstance(leaf, str):
            found |= self._in_text(leaf)
        elif type(leaf) is int and "id" in words_in(name) and str(leaf) in self.unique:
            found.add(self.unique[str(leaf)])
        return found

    def _in_text(self, text: str) -> set[int]:
        assert self._pattern is not None
        return {self.unique[word] for word in self._pattern.findall(text)}

    def owner(self, value: Any, entity: int) -> int:
        """Return the item a value belongs to: that it mentions, else that was worked for."""
        mentioned = self.of(value)
        return next(iter(mentioned)) if len(mentioned) == 1 else self.home(entity)


def texts_of(item: Any) -> dict[str, None]:
    """Return the texts in an item, and the whole numbers that are named like an id."""
    found: dict[str, None] = {}
    for path, leaf in leaves(parse(item)):
        if isinstance(leaf, str) and leaf:
            found[leaf] = None
        elif type(leaf) is int and path and "id" in words_in(path[-1]):
            found[str(leaf)] = None
    return found


def names_by(function: Any, items: Iterable[Any]) -> list[tuple[str, ...]]:
    """Return what the user's function says each item is recognised by."""
    return [several(function(item)) for item in items]


def several(name: Any) -> tuple[str, ...]:
    """Return one name or several as texts."""
    if isinstance(name, list | tuple | set | frozenset):
        return tuple(sorted(map(str, name)))
    return (str(name),)
