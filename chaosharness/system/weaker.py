"""The same system on products that promise less: which ways there are, and what is opened then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from chaosharness.brokers import GUARANTEES
from chaosharness.brokers.guarantees import Guarantee


@attrs.frozen
class Way:
    """One way in which the brokers of a system may promise less.

    Attributes:
        name: `standard`.
        rows: What is given up, one row a broker that has it.
        parts: Which brokers those are, in the same order.
        instead: What is opened in the place of each.
    """

    name: str
    rows: tuple[Guarantee, ...]
    parts: tuple[str, ...]
    instead: Mapping[str, Any]

    @property
    def words(self) -> str:
        """What it runs on: `SQS standard`."""
        return " and ".join(dict.fromkeys(map(str, self.rows)))

    @property
    def stronger(self) -> str:
        """What it gives up: `FIFO`."""
        return " and ".join(dict.fromkeys(row.stronger for row in self.rows))

    @property
    def loses(self) -> frozenset[str]:
        """Those that may lose what they have confirmed: asked for here, so it is judged."""
        rows = zip(self.rows, self.parts, strict=True)
        return frozenset(part for row, part in rows if row.delivery == "at most once")


def ways_of(resources: Mapping[str, Any]) -> dict[str, Way]:
    """Return each way in which the parts of a system may promise less, by its name."""
    found: dict[str, list[tuple[Guarantee, str, Any]]] = {}
    for name, part in resources.items():
        for row in GUARANTEES.get(type(part), ()):
            weaker = row.weaken(part)
            if weaker != part:
                found.setdefault(row.name, []).append((row, name, weaker))
    return {
        name: Way(
            name,
            tuple(row for row, _, _ in many),
            tuple(part for _, part, _ in many),
            {part: weaker for _, part, weaker in many},
        )
        for name, many in found.items()
    }


class Weaker:
    """A system on brokers that promise less: `system.weaker.standard`, for each name there is.

    Iterate over it for the names; `ways` says what each gives up.
    """

    def __init__(self, name: str, ways: Mapping[str, Way], make: Callable[[Way], Any]) -> None:
        self._name = name
        self._make = make
        self.ways = ways

    def __iter__(self) -> Iterator[str]:
        return iter(self.ways)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        way = self.ways.get(name)
        if way is None:
            known = ", ".join(self.ways) or "nothing: its brokers promise as little as they can"
            raise AttributeError(f"system {self._name!r} has no weaker {name!r}; it has {known}")
        return self._make(way)
