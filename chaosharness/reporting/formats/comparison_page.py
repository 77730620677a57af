"""Systems side by side as a page: what each survives, what it costs, who knows the flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from chaosharness.reporting.formats.html import templates

COSTS: Final = {
    "items": "workload items",
    "published": "messages stored by a broker",
    "delivered": "deliveries to a consumer",
    "commits": "transactions",
    "calls": "calls",
    "latency_ms": "virtual ms to the last commit or effect",
}
FLOW: Final = {
    "handlers": "handlers",
    "events": "sorts of message",
    "senders": "services that say what comes next",
    "busiest": "who knows the most of it",
    "unseen": "sorts of message that it never sees",
    "circles": "circles",
}


@attrs.frozen(kw_only=True)
class Column:
    """One system on the page.

    Attributes:
        name: Of the system.
        target: Where it is.
        outcome: How it came out over all kinds of fault.
        claims: How many claims it was judged by.
        untested: Claims that no run put to the test.
        unproved: Why its calm run proves nothing; empty where it does.
        survival: By kind of fault: how it ended, in words, and what broke by which schedule.
        costs: What the calm run took, by name.
        flow: Who knows the flow, by name.
        way: What leads from the one effect to the other.
        services: Who changes for a new step between them.
    """

    name: str
    target: str
    outcome: str
    claims: int
    untested: Sequence[str]
    unproved: str
    survival: Mapping[str, tuple[str, str, Sequence[tuple[str, str]]]]
    costs: Mapping[str, int]
    flow: Mapping[str, str]
    way: Sequence[str]
    services: Sequence[str]

    @property
    def tells(self) -> bool:
        """Say whether something broke, or was never tested."""
        broke = any(broken for _, _, broken in self.survival.values())
        return bool(broke or self.untested or self.unproved)


def comparison_html(columns: Sequence[Column], *, between: tuple[str, str] | None = None) -> str:
    """Render systems side by side as one self-contained HTML page, dark and light.

    Args:
        columns: The systems.
        between: The two effects that a new step would stand between.
    """
    kinds = [
        kind
        for kind in columns[0].survival
        if any(one.survival[kind][0] != "nowhere" for one in columns)
    ]
    costs = [
        (words, [(one.costs[name], _share(one, columns, name)) for one in columns])
        for name, words in COSTS.items()
    ]
    flow = [(words, [one.flow[name] for one in columns]) for name, words in FLOW.items()]
    survivors = [one.name for one in columns if one.outcome == "survives"]
    return (
        templates()
        .get_template("comparison.html.jinja")
        .render(
            columns=columns,
            headline=_headline(columns, survivors),
            kinds=kinds,
            costs=costs,
            flow=flow,
            between=between,
            same_size=len({one.costs["items"] for one in columns}) == 1,
        )
    )


def _share(one: Column, columns: Sequence[Column], name: str) -> int:
    """Return how long the bar is, in percent of the longest."""
    most = max(each.costs[name] for each in columns)
    return round(100 * one.costs[name] / most) if most else 0


def _headline(columns: Sequence[Column], survivors: Sequence[str]) -> str:
    if len(survivors) == len(columns):
        return "All survive every single fault"
    broken = [one.name for one in columns if one.outcome == "broken"]
    if broken:
        verb = "breaks" if len(broken) == 1 else "break"
        return f"{', '.join(broken)} {verb}"
    return "Not all is known"
