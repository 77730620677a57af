"""Properties: named claims about a run, judged from its history and nothing else."""

from __future__ import annotations

from chaosharness.checkers.announcements import announced, joins_complete, no_ghost_event
from chaosharness.checkers.assumptions import assumed
from chaosharness.checkers.books import Books, conserved
from chaosharness.checkers.critical_path import side_effects_never_touch_critical_path
from chaosharness.checkers.dead_letters import (
    dead_letters_at_most,
    dead_letters_overwrite_nothing_newer,
    dead_letters_were_tried,
)
from chaosharness.checkers.effects import never_charged_twice, never_twice
from chaosharness.checkers.flow_claims import (
    events_say_enough,
    every_event_carries_an_id,
    every_event_is_heard,
    no_call_chain,
)
from chaosharness.checkers.ids import ids_travel
from chaosharness.checkers.messages import (
    no_event_cycle,
    nothing_acknowledged_lost,
    order_per_key,
    poison_blocks_nobody,
    unhandled_exceptions_block_nobody,
)
from chaosharness.checkers.money import no_money_dropped
from chaosharness.checkers.outcomes.judge import idempotent
from chaosharness.checkers.progress import never_stuck
from chaosharness.checkers.property import (
    Evidence,
    Finding,
    Property,
    always,
    eventually,
    sometimes,
)
from chaosharness.checkers.reactions import event_graph
from chaosharness.checkers.sagas import (
    compensation_complete,
    compensation_in_reverse,
    every_saga_settles,
    never_compensates_what_did_not_happen,
)
from chaosharness.checkers.versions import every_event_is_readable

__all__ = [
    "Books",
    "Evidence",
    "Finding",
    "Property",
    "always",
    "announced",
    "assumed",
    "compensation_complete",
    "compensation_in_reverse",
    "conserved",
    "dead_letters_at_most",
    "dead_letters_overwrite_nothing_newer",
    "dead_letters_were_tried",
    "event_graph",
    "events_say_enough",
    "eventually",
    "every_event_carries_an_id",
    "every_event_is_heard",
    "every_event_is_readable",
    "every_saga_settles",
    "idempotent",
    "ids_travel",
    "joins_complete",
    "never_charged_twice",
    "never_compensates_what_did_not_happen",
    "never_stuck",
    "never_twice",
    "no_call_chain",
    "no_event_cycle",
    "no_ghost_event",
    "no_money_dropped",
    "nothing_acknowledged_lost",
    "order_per_key",
    "poison_blocks_nobody",
    "side_effects_never_touch_critical_path",
    "sometimes",
    "unhandled_exceptions_block_nobody",
]
