"""Names that appear, or are bound anew, while a run lasts: of modules, classes and objects.

`setattr(shop, "SEEN", ...)`, `globals()["SEEN"] = ...` and `State.seen = ...` leave no trace in
the code that could be read beforehand. So the names themselves are compared.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from functools import lru_cache
from operator import is_
from types import FunctionType, ModuleType
from typing import Any

from chaosharness.handlers.held import MISSING, Held, assign


class Names(Held):
    """The names of a module (given as its dict), a class, or an object (its dict).

    Two underscores in front are Python's own business, a module that is bound was imported,
    and what else is moved by itself is left alone (`but`).
    """

    __slots__ = ("_but", "_own", "_whole", "apart")

    def __init__(
        self,
        name: str,
        thing: Any,
        *,
        but: Collection[str] = (),
        apart: Collection[str] = (),
        own: Collection[str] | None = None,
        whole: bool = True,
    ) -> None:
        """See the class.

        Args:
            name: Where it is found.
            thing: The dict, or the class.
            but: Names that are left alone.
            apart: The same, since the user said so.
            own: Where given, a new name counts only if it is among these, or what it is
                bound to is plain: libraries that complete a class do so with objects of theirs.
            whole: Whether to look at more than the number of names, before any is new.
        """
        super().__init__(name, thing)
        self.apart = frozenset(apart)
        self._but = self.apart.union(but)
        self._own = own
        self._whole = whole

    def agree(self, other: Names) -> None:
        """Look at the names that another one of the same thing looks at."""
        self._but, self._own = other._but, other._own
        self._whole = self._whole or other._whole

    def _now(self) -> Any:
        return vars(self.thing) if isinstance(self.thing, type) else self.thing

    def take(self) -> Any:
        now = self._now()
        return dict(now), list(now.values())

    def put(self, held: Any) -> None:
        names, now = held[0], dict(self._now())
        for name, value in now.items():
            if name not in names and self._counts(name, value):
                assign(self.thing, name, MISSING)
        for name, value in names.items():
            was = now.get(name, MISSING)
            if was is not value and self._counts(name, value) and self._counts(name, was):
                assign(self.thing, name, value)

    def is_as(self, held: Any) -> bool:
        names, values = held
        now = self._now()
        if len(now) == len(values) and (not self._whole or all(map(is_, now.values(), values))):
            return True
        same = all(
            names.get(name, MISSING) is value or not self._counts(name, value)
            for name, value in now.items()
        ) and all(name in now or not self._counts(name, value) for name, value in names.items())
        self._whole = self._whole or not same
        return same

    def seen(self, outside: Any, was: Any, now: Any) -> Any:
        together = dict(outside[0])
        for name in was[0].keys() - now[0].keys():
            together.pop(name, None)
        for name, value in now[0].items():
            if was[0].get(name, MISSING) is not value:
                together[name] = value
        return together, list(together.values())

    def own(self, first: Any, seen: Any) -> list[str]:
        """Name what was bound anew; what else is bound there is not moved by this."""
        before, after = first[0], seen[0]
        return [
            f"{self.name}.{name}"
            for name in dict.fromkeys((*before, *after))
            if before.get(name, MISSING) is not after.get(name, MISSING)
        ]

    def _counts(self, name: Any, value: Any) -> bool:
        if not isinstance(name, str) or name.startswith("__") or name in self._but:
            return False
        if isinstance(value, ModuleType):
            return False
        return self._own is None or name in self._own or type(value) in _PLAIN


_PLAIN = frozenset(
    (type(None), bool, int, float, str, bytes, tuple, list, dict, set, frozenset, object)
)


class Members(Held):
    """The attributes of the members of an `Enum`."""

    __slots__ = ("_members",)

    def __init__(self, name: str, thing: type[Enum]) -> None:
        super().__init__(name, thing)
        self._members = [vars(one) for one in thing.__members__.values()]

    def take(self) -> Any:
        return [(dict(one), list(one.values())) for one in self._members]

    def put(self, held: Any) -> None:
        for names, (before, _) in zip(self._members, held, strict=True):
            for name in [one for one in names if one not in before]:
                del names[name]
            names.update(before)

    def is_as(self, held: Any) -> bool:
        return all(
            len(names) == len(values) and all(map(is_, names.values(), values))
            for names, (_, values) in zip(self._members, held, strict=True)
        )


@lru_cache(maxsize=1_024)
def words_of_code(kind: type) -> frozenset[str]:
    """Return every name that the methods of a class mention: its own attributes are among them."""
    words: set[str] = set()
    for one in kind.__mro__:
        for name, value in vars(one).items():
            words.add(name)
            code = getattr(value, "__code__", None)
            if isinstance(value, FunctionType) and code is not None:
                words.update(code.co_names)
    return frozenset(words)
