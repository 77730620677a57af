"""The cause of a finding, in words: one kind of mistake, and the events that show it.

Each kind is a function that reads the history and finds its own pattern in it, or nothing.
They are asked from the most telling to the most general, and the first that finds something
is told. Where none does, no cause is told: it is never guessed.
"""

from __future__ import annotations

from typing import Final

from chaosharness.reporting.story.causes.case import Case, Cause
from chaosharness.reporting.story.causes.commits import minded_no_failed_commit
from chaosharness.reporting.story.causes.confirmations import took_no_confirmation_for_a_no
from chaosharness.reporting.story.causes.connection import one_connection
from chaosharness.reporting.story.causes.cures import CURES, Cure
from chaosharness.reporting.story.causes.handed import (
    given_back_for_ever,
    ignored,
    kept_too_long,
    let_go,
    never_again,
    never_stored,
    nobody_began,
    offset_passed,
    passed_over,
    stopped_half_way,
    taken_back,
)
from chaosharness.reporting.story.causes.memory import (
    forgotten,
    halves_apart,
    marked_first,
    mixed_up,
    old_knowledge,
    own_mark,
)
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
    older_after_newer,
    overtaken,
    second_beside_first,
    side_by_side,
)
from chaosharness.reporting.story.causes.readers import reader_ended
from chaosharness.reporting.story.causes.repeated import (
    asked_twice,
    done_each_time,
    forgot_its_key,
    key_of_another,
    key_refused,
)
from chaosharness.reporting.story.causes.sagas import (
    answered_too_late,
    came_after_the_end,
    failure_hidden,
    lost_by_what_came_late,
    nobody_undid,
    took_it_for_undone,
    undid_nothing,
    undone_too_soon,
    went_on_under_an_old_lease,
)
from chaosharness.reporting.story.causes.shapes import (
    circle,
    row_of_handlers,
    undone_in_order,
    waits_for_ever,
    waits_for_what_is_aside,
)
from chaosharness.reporting.story.causes.silence import (
    entry_unread,
    gave_up_too_soon,
    led_to_another_decision,
    loop_ended,
    minded_no_refusal,
    relay_never_ran,
    took_silence_for_an_answer,
)
from chaosharness.reporting.story.causes.versions import (
    begun_by_another_version,
    begun_under_another_definition,
    versions_met,
)

PATTERNS: Final = (
    versions_met,
    begun_by_another_version,
    begun_under_another_definition,
    circle,
    row_of_handlers,
    waits_for_what_is_aside,
    waits_for_ever,
    undone_in_order,
    in_the_way,
    one_connection,
    key_refused,
    asked_twice,
    published_early,
    reader_ended,
    let_go,
    taken_back,
    nobody_began,
    given_back_for_ever,
    acknowledged_early,
    offset_passed,
    passed_over,
    never_stored,
    loop_ended,
    relay_never_ran,
    never_announced,
    remembered_first,
    own_mark,
    counted_twice,
    led_to_another_decision,
    took_silence_for_an_answer,
    took_no_confirmation_for_a_no,
    minded_no_refusal,
    minded_no_failed_commit,
    entry_unread,
    lease_over,
    went_on_under_an_old_lease,
    half_committed,
    forgot_its_key,
    key_of_another,
    sent_twice,
    another_answer,
    looked_early,
    overtaken,
    older_after_newer,
    side_by_side,
    gave_up_too_soon,
    second_beside_first,
    kept_too_long,
    answered_too_late,
    undone_too_soon,
    undid_nothing,
    came_after_the_end,
    took_it_for_undone,
    nobody_undid,
    lost_by_what_came_late,
    failure_hidden,
    stopped_half_way,
    halves_apart,
    forgotten,
    mixed_up,
    old_knowledge,
    marked_first,
    done_each_time,
    ignored,
    never_again,
)
"""From the most telling to the most general."""


def cause_of(case: Case) -> Cause | None:
    """Return what a finding came from; None where the history shows no known pattern."""
    if not len(case.history):
        return None
    return next((found for pattern in PATTERNS if (found := pattern(case)) is not None), None)


__all__ = ["CURES", "Case", "Cause", "Cure", "cause_of"]
