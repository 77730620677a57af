"""The cause of a finding, in words: one kind of mistake, and the events that show it.

Each kind is a function that reads the history and finds its own pattern in it, or nothing.
They are asked from the most telling to the most general, and the first that finds something
is told. Where none does, no cause is told: it is never guessed.
"""

from __future__ import annotations

from typing import Final

from chaosharness.reporting.story.causes.case import Case, Cause
from chaosharness.reporting.story.causes.cures import CURES, Cure
from chaosharness.reporting.story.causes.messages import (
    acknowledged_early,
    another_answer,
    counted_twice,
    half_committed,
    in_the_way,
    never_announced,
    published_early,
    remembered_first,
    sent_twice,
)
from chaosharness.reporting.story.causes.order import (
    lease_over,
    looked_early,
    overtaken,
    second_beside_first,
)
from chaosharness.reporting.story.causes.repeated import asked_twice
from chaosharness.reporting.story.causes.shapes import circle, undone_in_order
from chaosharness.reporting.story.causes.silence import (
    gave_up_too_soon,
    led_to_another_decision,
    loop_ended,
    minded_no_refusal,
    relay_never_ran,
    took_silence_for_an_answer,
)
from chaosharness.reporting.story.causes.versions import versions_met

PATTERNS: Final = (
    versions_met,
    circle,
    undone_in_order,
    in_the_way,
    asked_twice,
    published_early,
    acknowledged_early,
    loop_ended,
    relay_never_ran,
    never_announced,
    remembered_first,
    counted_twice,
    led_to_another_decision,
    took_silence_for_an_answer,
    minded_no_refusal,
    lease_over,
    half_committed,
    sent_twice,
    another_answer,
    looked_early,
    overtaken,
    gave_up_too_soon,
    second_beside_first,
)
"""From the most telling to the most general."""


def cause_of(case: Case) -> Cause | None:
    """Return what a finding came from; None where the history shows no known pattern."""
    if not len(case.history):
        return None
    return next((found for pattern in PATTERNS if (found := pattern(case)) is not None), None)


__all__ = ["CURES", "Case", "Cause", "Cure", "cause_of"]
