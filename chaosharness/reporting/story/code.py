"""The user's own lines where it was decided: at the faults, and at what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.kernel.lines import Line
from chaosharness.reporting.story.legible import clip, listed
from chaosharness.reporting.story.step import Step

PLACES_MAX: Final = 4


@attrs.frozen
class Place:
    """A line of the user's code, and the steps of the story that it asked for.

    Attributes:
        line: The line.
        steps: Numbers of the steps.
        found: Whether what was found was asked for there.
        source: The line and those around it, each with its number, without the indentation
            that they share.
    """

    line: Line
    steps: tuple[int, ...]
    found: bool
    source: tuple[tuple[int, str], ...]


def places(steps: Sequence[Step], found: Counterexample) -> tuple[Place, ...]:
    """Return the lines behind the decisive steps, in the order of the story.

    Where what was found is how it all ended, nothing was asked for at a line: then what was done
    otherwise than in the run that passes is decisive, too.
    """
    of_a_deed = any(step.found and _line_of(step, found) is not None for step in steps)
    asked: dict[Line, list[Step]] = {}
    for step in steps:
        decisive = step.found or step.fault or step.tone in ("crash", "lost")
        if decisive or (step.extra and not of_a_deed):
            line = _line_of(step, found)
            if line is not None:
                asked.setdefault(line, []).append(step)
    shown = sorted(asked, key=lambda line: not any(step.found for step in asked[line]))
    kept = set(shown[:PLACES_MAX])
    return tuple(
        Place(
            line,
            tuple(step.number for step in by),
            any(step.found for step in by),
            _dedented(line.source),
        )
        for line, by in asked.items()
        if line in kept
    )


def _line_of(step: Step, found: Counterexample) -> Line | None:
    lines = (found.line_of(event) for event in step.events)
    return next((line for line in lines if line is not None), None)


def _dedented(source: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    lines = [(number, text.expandtabs(4)) for number, text in source]
    common = min((len(text) - len(text.lstrip()) for _, text in lines if text.strip()), default=0)
    return tuple((number, clip(text[common:], 120)) for number, text in lines)


def steps_in_words(place: Place) -> str:
    """Name the steps of a place: `step 3`, `steps 3, 6 and 9`."""
    numbers = [str(number) for number in place.steps]
    return f"step{'' if len(numbers) == 1 else 's'} {listed(numbers)}"
