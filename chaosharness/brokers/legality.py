"""What may strike whom, as rows: refusals, documentation and the search read the same ones."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from chaosharness.faults import Fault
from chaosharness.handlers.port import Surface
from chaosharness.kernel.site import Phase

At = str
"""The kind of an operation, in a product's own words: `publish`, `deliver`, `delete`."""


@attrs.frozen
class Row:
    """One fault that a product can legally suffer.

    Attributes:
        product: `SQS`.
        profile: A setting of the product that decides: `standard`, `fifo`.
        at: The kind of operation.
        phase: Before it takes effect, or after.
        fault: What strikes.
        source: Where that was read, or how it is known.
        condition: What it takes, or what it means there.
        searched: Whether a search tries it. The rest strike when written by hand, but each is the
            same as another that is tried.
    """

    product: str
    profile: str
    at: At
    phase: Phase
    fault: type[Fault]
    source: str
    condition: str = ""
    searched: bool = True


def surface_of(rows: Iterable[Row], profile: str, at: At) -> Surface:
    """Return which faults may strike at one kind of operation, by the rows of a product."""
    mine = [row for row in rows if (row.profile, row.at) == (profile, at)]

    def kinds(phase: Phase, *, searched: bool) -> tuple[type[Fault], ...]:
        return tuple(one.fault for one in mine if one.phase == phase and one.searched >= searched)

    return Surface(
        kinds("before", searched=False),
        kinds("after", searched=False),
        kinds("before", searched=True),
        kinds("after", searched=True),
    )


def table(rows: Iterable[Row], asked: tuple[type[Fault], ...] = ()) -> str:
    """Return rows as a Markdown table: what a search tries, each fault of an operation once.

    Args:
        rows: Those of a product.
        asked: Kinds that a search tries only where a broker says so: they are marked with °.
    """
    lines = ["| at | on | fault | what it means | source |", "|---|---|---|---|---|"]
    seen: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        mark = " °" if row.fault in asked else ""
        if row.searched or mark:
            words = (row.at, f"{row.phase}: {row.fault.__name__}{mark}", row.condition, row.source)
            seen.setdefault(words, []).append(row.profile)
    for (at, fault, condition, source), profiles in seen.items():
        lines.append(f"| {at} | {', '.join(profiles)} | {fault} | {condition} | {source} |")
    return "\n".join(lines) + "\n"
