"""The odds of single faults, learned from the broken twins of the models.

    python -m benchmarks.learn_odds              # from the counts that are kept
    python -m benchmarks.learn_odds --count      # count anew: every single fault of every twin

Counting takes some minutes and writes `benchmarks/odds_counts.json`: for each twin, and for each
row and column of the table, how many single faults there are and how many of them break its
claim. The table goes to `chaosharness/search/odds_learned.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from math import sqrt
from pathlib import Path

import attrs

from benchmarks.bugs import Bug, of_models
from chaosharness import Schedule
from chaosharness.search.odds import CAP, DOES, FLOOR, Odds, Row, does, row_of
from chaosharness.search.sites import candidates

KEPT = Path(__file__).with_name("odds_counts.json")
TABLE = Path(__file__).resolve().parents[1] / "chaosharness" / "search" / "odds_learned.py"

EACH_MAX = 6
"""Faults of one cell of one twin that count, at most: a large system is one system."""

FAMILIES_MIN = 2
"""Families that a cell must come from, or it is left out."""

CLOSE = 3
"""Percent; a cell this close to its row is left out."""

OF_ROW, OF_KIND = 4, 8
"""With how many faults the estimate of the next coarser place counts."""

Cell = tuple[Row, str]


@attrs.frozen
class Counts:
    """What the single faults of one twin did.

    Attributes:
        name: Of the twin.
        family: See `Bug`.
        cells: `(how many break its claim, how many struck)`.
    """

    name: str
    family: str
    cells: Mapping[Cell, tuple[int, int]]


def count(bug: Bug) -> Counts:
    """Run every single fault at the sites of the calm run."""
    calm = bug.system.run()
    what = does(calm.history)
    cells: dict[Cell, tuple[int, int]] = {}
    for fault in candidates(calm):
        run = bug.system.run(None, Schedule([fault]))
        if not run.unused:
            cell = (row_of(fault), what.get(fault.site.operation, ""))
            broken, struck = cells.get(cell, (0, 0))
            cells[cell] = (broken + bug.breaks(run), struck + 1)
    return Counts(bug.name, bug.family, cells)


# ---- learning


@attrs.define
class Mean:
    """A share of faults that break something."""

    broken: float = 0.0
    struck: float = 0.0
    families: set[str] = attrs.field(factory=set)

    def add(self, broken: float, struck: float, family: str) -> None:
        """Take in some more."""
        self.broken += broken
        self.struck += struck
        self.families.add(family)

    def near(self, coarser: float, count: int) -> float:
        """Return the share, drawn to a coarser estimate as if that were so many faults."""
        return (self.broken + coarser * count) / (self.struck + count)


def learn(known: Iterable[Counts]) -> dict[Row, dict[str, int]]:
    """Return the table: whole percents by row, and by what an operation does."""
    known = list(known)
    sizes: dict[str, int] = {}
    for one in known:
        sizes[one.family] = sizes.get(one.family, 0) + 1
    everything = Mean()
    kinds: dict[str, Mean] = {}
    rows: dict[Row, Mean] = {}
    cells: dict[Cell, Mean] = {}
    for one in known:
        weight = 1 / sqrt(sizes[one.family])
        for (row, what), (broken, struck) in one.cells.items():
            most = weight * min(struck, EACH_MAX)
            for mean in (
                everything,
                kinds.setdefault(kind_of(row), Mean()),
                rows.setdefault(row, Mean()),
                cells.setdefault((row, what), Mean()),
            ):
                mean.add(most * broken / struck, most, one.family)
    found: dict[Row, dict[str, int]] = {}
    overall = everything.near(0.0, 0)
    for row in sorted(rows):
        coarse = rows[row].near(kinds[kind_of(row)].near(overall, OF_KIND), OF_KIND)
        found[row] = {"": percent(coarse)}
        for what in DOES:
            cell = cells.get((row, what), Mean())
            fine = percent(cell.near(coarse, OF_ROW))
            if len(cell.families) >= FAMILIES_MIN and abs(fine - percent(coarse)) > CLOSE:
                found[row][what] = fine
    return found


def kind_of(row: Row) -> str:
    """Return the kind of fault of a row: all but its last words."""
    return row.partition(",")[0].rpartition(" ")[0]


def percent(share: float) -> int:
    """Return a share as a whole percent, within the bounds of the table."""
    return min(CAP, max(FLOOR, round(100 * share)))


def odds_without(known: Iterable[Counts], family: str) -> Odds:
    """Return the odds as those know them who have never seen one family."""
    return Odds(learn(one for one in known if one.family != family))


# ---- files


def kept() -> list[Counts]:
    """Read the counts that are kept."""
    return [
        Counts(
            one["name"],
            one["family"],
            {(row, what): (broken, struck) for row, what, broken, struck in one["cells"]},
        )
        for one in json.loads(KEPT.read_text("utf-8"))
    ]


def keep(known: Iterable[Counts]) -> None:
    """Write the counts, a twin on each line."""
    lines = [
        json.dumps(
            {
                "name": one.name,
                "family": one.family,
                "cells": [[*cell, *counts] for cell, counts in sorted(one.cells.items())],
            }
        )
        for one in known
    ]
    KEPT.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8", newline="\n")


def written(table: Mapping[Row, Mapping[str, int]]) -> str:
    """Return the table as a file of ours."""
    width = max(map(len, table)) + 1
    said = {what for cells in table.values() for what in cells}
    columns = ("any", *(what for what in DOES if what in said))
    lines = [f"{'':{width}}| " + " ".join(f"{column:>7}" for column in columns)]
    for row, cells in table.items():
        numbers = [cells.get("" if column == "any" else column, ".") for column in columns]
        lines.append(f"{row:{width}}| " + " ".join(f"{number:>7}" for number in numbers))
    text = "\n".join(lines)
    return (
        '"""How often a single fault broke a promise of a system with a bug, in percent.\n\n'
        "Written by `python -m benchmarks.learn_odds`. A line for each kind of fault, before or "
        "after\nan operation, with its option (`ms`: a length in ms); a column for what the "
        "operation does,\nwhere that was found to matter. A full stop stands for what the first "
        "column says.\n"
        '"""\n\nfrom typing import Final\n\n'
        f'LEARNED: Final = """\n{text}\n"""\n'
    )


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", action="store_true", help="run every single fault anew")
    if parser.parse_args().count:
        keep(map(count, of_models()))
    TABLE.write_text(written(learn(kept())), "utf-8", newline="\n")
    print(TABLE.read_text("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
