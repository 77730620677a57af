"""What may strike whom, as rows: refusals, documentation and the search read the same ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import attrs

from chaosharness.faults import ON_REQUEST, Crash, Fault, GracefulStop, Pause
from chaosharness.handlers.port import Surface
from chaosharness.kernel.site import Phase

At = str
"""The kind of an operation, in a product's own words: `publish`, `deliver`, `delete`."""

Kind = tuple[type[Fault], str, str]
"""A fault, what it means there, and where that was read."""

PROCESS: Final = "any process"
STALL: Final[Kind] = (Pause, "the process stalls", PROCESS)
DEATH: Final[Kind] = (Crash, "the process dies", PROCESS)
STALLS: Final = (STALL, DEATH)
ANYWHERE: Final = "wherever a process can die"
"""Where a process can be told to stop: no place has a row of its own for that."""


def stop_of(condition: str, source: str) -> Kind:
    """Return what a product makes of a process that is told to stop."""
    return (GracefulStop, condition, f"POSIX, SIGTERM; {source}")


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


class MakeRows(Protocol):
    """Makes rows of one product: one for each fault and each profile."""

    def __call__(
        self,
        profiles: tuple[str, ...],
        at: At,
        phase: Phase,
        *kinds: Kind,
        searched: bool = True,
    ) -> tuple[Row, ...]:
        """Return them, fault by fault."""


def rows_of(product: str) -> MakeRows:
    """Return what makes the rows of a product."""

    def make(
        profiles: tuple[str, ...],
        at: At,
        phase: Phase,
        *kinds: Kind,
        searched: bool = True,
    ) -> tuple[Row, ...]:
        return tuple(
            Row(product, profile, at, phase, fault, source, condition, searched)
            for fault, condition, source in kinds
            for profile in profiles
        )

    return make


def surface_of(rows: Iterable[Row], profile: str, at: At, *also: str) -> Surface:
    """Return which faults may strike at one kind of operation, by the rows of a product.

    Args:
        rows: Those of a product.
        profile: Which of them count.
        at: The kind of operation.
        also: More profiles whose rows count there, as well as those of the first.
    """
    mine = [row for row in rows if row.profile in (profile, *also) and row.at == at]

    def kinds(phase: Phase, *, searched: bool) -> tuple[type[Fault], ...]:
        found = [one.fault for one in mine if one.phase == phase and one.searched >= searched]
        return tuple(dict.fromkeys(found))

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
        asked: Kinds that a search tries only where a broker says so: they are marked with °. Those
            that it tries only where `kinds` names them are marked with †.
    """
    lines = ["| at | on | fault | what it means | source |", "|---|---|---|---|---|"]
    seen: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        mark = " °" if row.fault in asked else " †" if row.fault in ON_REQUEST else ""
        if row.searched or mark:
            words = (row.at, f"{row.phase}: {row.fault.__name__}{mark}", row.condition, row.source)
            seen.setdefault(words, []).append(row.profile)
    for (at, fault, condition, source), profiles in seen.items():
        lines.append(f"| {at} | {', '.join(profiles)} | {fault} | {condition} | {source} |")
    return "\n".join(lines) + "\n"
