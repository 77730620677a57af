"""Small systems, each in a right version and with one bug planted: for the properties.

`TWINS` names each property, the function that builds its twin (`broken=True`, or right), and
the claims that a team would make about it besides the ones that fit every system.
"""

from collections.abc import Callable

import attrs

from chaosharness import System
from chaosharness.checkers import (
    Property,
    announced,
    compensation_complete,
    compensation_in_reverse,
    conserved,
    every_event_carries_an_id,
    every_event_is_heard,
    every_saga_settles,
    idempotent,
    joins_complete,
    never_charged_twice,
    never_compensates_what_did_not_happen,
    never_stuck,
    never_twice,
    no_call_chain,
    no_event_cycle,
    no_ghost_event,
    nothing_acknowledged_lost,
    order_per_key,
    poison_blocks_nobody,
    side_effects_never_touch_critical_path,
    unhandled_exceptions_block_nobody,
)
from tests.checkers.charging_twins import (
    counter,
    fallback,
    gives_up,
    keeps_the_goods,
    of,
    refunds_blindly,
    statuses,
    two_mails,
    undoes_forwards,
    undoes_half,
)
from tests.checkers.flow_twins import (
    asks_again_aside,
    forgets_whose,
    one_after_the_other,
    tells_nobody,
    waits_aside,
)
from tests.checkers.messaging_twins import (
    competes,
    ghost,
    haggles,
    insists,
    join,
    mails_first,
    poisoned,
    rejects,
    silent,
    skips,
    waits,
)

GENERIC: tuple[Property, ...] = (
    never_charged_twice(),
    idempotent(),
    nothing_acknowledged_lost(),
    no_ghost_event(),
    never_stuck(),
    poison_blocks_nobody(),
    unhandled_exceptions_block_nobody(),
    order_per_key(),
    no_event_cycle(),
    every_saga_settles(),
    compensation_complete({"charge": "refund", "reserve": "release"}),
    compensation_in_reverse({"reserve": "release", "charge": "refund"}),
    never_compensates_what_did_not_happen({"charge": "refund", "reserve": "release"}),
)
"""Claims that fit every system here: silent where their words do not occur."""


@attrs.frozen
class Twin:
    """A property, and the system that only it catches when broken.

    Attributes:
        claim: The property.
        build: Builds the system.
        shows: Whether what comes out of a run shows it as well.
    """

    claim: Property
    build: Callable[..., System]
    shows: bool = False

    def claims(self) -> list[Property]:
        """Return all that is claimed of the system: what fits every system, and its own."""
        kind = self.claim.name.partition(" on ")[0]
        others = [one for one in GENERIC if one.name != kind]
        return [*others, self.claim]


TWINS = (
    Twin(never_charged_twice(["stripe", "adyen"]), fallback, shows=True),
    Twin(never_twice("mailer", "send", key="to"), two_mails),
    Twin(idempotent(), counter),
    Twin(every_saga_settles(), gives_up),
    Twin(
        every_saga_settles(states=statuses, settled=("paid", "parked")),
        gives_up,
    ),
    Twin(never_compensates_what_did_not_happen({"charge": "refund"}), refunds_blindly, shows=True),
    Twin(compensation_complete({"charge": "refund", "reserve": "release"}), undoes_half),
    Twin(compensation_in_reverse({"reserve": "release", "charge": "refund"}), undoes_forwards),
    Twin(conserved("stock", aside=of("aside:"), sold=of("sold:")), keeps_the_goods),
    Twin(nothing_acknowledged_lost(), skips, shows=True),
    Twin(nothing_acknowledged_lost(), rejects, shows=True),
    Twin(order_per_key("orders"), competes),
    Twin(poison_blocks_nobody(), poisoned),
    Twin(unhandled_exceptions_block_nobody(tries_max=10), insists),
    Twin(never_stuck(), waits),
    Twin(no_event_cycle(turns_max=2), haggles),
    Twin(no_ghost_event(), ghost),
    Twin(announced("db", "orders", "created"), silent, shows=True),
    Twin(joins_complete(["paid", "reserved"], "confirmed"), join, shows=True),
    Twin(
        side_effects_never_touch_critical_path(critical=["payments", "bank"], side=["mail"]),
        mails_first,
    ),
    Twin(
        side_effects_never_touch_critical_path(critical=["payments", "bank"], side=["mail"]),
        waits_aside,
    ),
    Twin(
        side_effects_never_touch_critical_path(critical=["payments", "bank"], side=["mail"]),
        asks_again_aside,
    ),
    Twin(every_event_is_heard(), tells_nobody),
    Twin(every_event_carries_an_id(), forgets_whose),
    Twin(no_call_chain(), one_after_the_other),
)
