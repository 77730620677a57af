"""What all slices of all soaks in a folder ran: it adds up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from chaosharness.campaign import Coverage, Level, runs_in_words


@attrs.define
class Total:
    """What was run, by anybody.

    Attributes:
        slices: Slices that were written down.
        runs: Executions that looked for a violation.
        chance: Random schedules among them.
        faults_max: Faults that a random schedule could have.
        cells: How often each fault struck at each operation.
        levels: Of all schedules with so many faults: the text of the one that was run farthest.
        tested: How many runs put each claim to the test.
    """

    slices: int = 0
    runs: int = 0
    chance: int = 0
    faults_max: int = 0
    cells: dict[tuple[str, str, str], int] = attrs.field(factory=dict)
    levels: dict[int, Level] = attrs.field(factory=dict)
    tested: dict[str, int] = attrs.field(factory=dict)

    @classmethod
    def of(cls, slices: Iterable[Mapping[str, Any]]) -> Total:
        """Add up; what cannot be read counts nothing."""
        total = cls()
        for one in slices:
            try:
                total.add(one)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
        return total

    def add(self, one: Mapping[str, Any]) -> None:
        """Add one slice."""
        cells = {tuple(key.split("\t")): int(times) for key, times in one["cells"].items()}
        levels = [Level(**level) for level in one["levels"]]
        runs, chance, most = int(one["runs"]), int(one["random"]), int(one["faults_max"])
        for key, times in cells.items():
            phase, operation, kind = key
            cell = (phase, operation, kind)
            self.cells[cell] = self.cells.get(cell, 0) + times
        for level in levels:
            known = self.levels.get(level.faults)
            if known is None or (level.complete, level.tried) > (known.complete, known.tried):
                self.levels[level.faults] = level
        for name, times in one["tested"].items():
            self.tested[name] = self.tested.get(name, 0) + int(times)
        self.slices += 1
        self.runs += runs
        self.chance += chance
        self.faults_max = max(self.faults_max, most)

    def coverage(self) -> Coverage:
        """Return it as coverage."""
        return Coverage(
            levels=tuple(self.levels[faults] for faults in sorted(self.levels)),
            random=self.chance,
            faults_max=self.faults_max,
            cells=self.cells,
        )

    def sentences(self) -> tuple[str, ...]:
        """Say what was run, one line each."""
        slices = f"{self.slices:,} slice{'' if self.slices == 1 else 's'}"
        return (f"{runs_in_words(self.runs)} in {slices}", *self.coverage().sentences())


def slice_of(
    *,
    seed: int,
    searched: int,
    before: Mapping[str, int],
    coverage: Coverage,
    tested: dict[str, int],
) -> dict[str, Any]:
    """Return what one slice ran, as plain values.

    Args:
        seed: Of chance.
        searched: Runs that looked for a violation.
        before: How often each fault had struck when the slice began, by cell.
        coverage: What the search put to the test, since it began.
        tested: How many runs of the slice put each claim to the test.
    """
    cells = {"\t".join(cell): times for cell, times in coverage.cells.items()}
    return {
        "seed": seed,
        "runs": searched,
        "random": coverage.random,
        "faults_max": coverage.faults_max,
        "cells": {name: times - before.get(name, 0) for name, times in cells.items()},
        "levels": [attrs.asdict(one) for one in coverage.levels],
        "tested": tested,
    }
