"""What is taken for granted about a system for which nobody claimed anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from chaosharness.checkers.harm import KINDS
from chaosharness.checkers.messages import (
    poison_blocks_nobody,
    unhandled_exceptions_block_nobody,
)
from chaosharness.checkers.money import no_money_dropped
from chaosharness.checkers.outcomes.judge import NAME, outcomes_property
from chaosharness.checkers.outcomes.outcome import Options
from chaosharness.checkers.progress import never_stuck
from chaosharness.checkers.property import Property
from chaosharness.checkers.versions import every_event_is_readable
from chaosharness.errors import InvalidDefinition
from chaosharness.schemas.registry import Registry


def assumed(system: Any, *, without: str | Iterable[str] = ()) -> tuple[Property, ...]:
    """Return the properties that need nothing from the user, each with what it assumes.

    Args:
        system: A system, or the brokers, stores and third parties it is made of.
        without: What is not wanted: names of properties (`idempotent`), kinds of finding
            (`effect twice`, see `harm.KINDS`), or a kind at one place
            (`effect twice: mailer.send`).

    Raises:
        InvalidDefinition: A name in `without` is none of them.

    >>> assumed(shop)
    >>> assumed(shop, without=["poison blocks nobody", "effect twice: mailer.send"])
    """
    unwanted = [without] if isinstance(without, str) else [*without]
    kinds = frozenset(name for name in unwanted if name.partition(": ")[0] in KINDS)
    found = [
        outcomes_property(Options(without=kinds, losses=getattr(system, "loses", frozenset()))),
        _assuming(
            unhandled_exceptions_block_nobody(),
            "a handler that raises for ever on the same message is a mistake, not a wish to wait",
        ),
        _assuming(
            poison_blocks_nobody(),
            "a message that nobody can read will come one day, and the others should go on",
        ),
        _assuming(
            never_stuck(),
            "once trouble has passed, all that was begun comes to an end (a loop that by design "
            "never does is begun with env.main(loop, background=True))",
        ),
    ]
    if any(isinstance(part, Registry) for part in getattr(system, "resources", {}).values()):
        what = "where a version of an event lacks an amount, the business should not go on as if"
        found.append(_assuming(no_money_dropped(), f"{what} there were none"))
        found.append(_assuming(every_event_is_readable(), "an event is written to be read"))
    for name in unwanted:
        if name not in kinds and not any(one.name == name for one in found):
            known = ", ".join(one.name for one in found)
            raise InvalidDefinition(
                f"no assumed property is named {name!r}; they are: {known}. Of {NAME!r} single "
                f"kinds can be left out: {', '.join(KINDS)}"
            )
    return tuple(one for one in found if one.name not in unwanted)


def _assuming(one: Property, what: str) -> Property:
    return attrs.evolve(one, assumption=what)
