"""What is taken for granted about a system for which nobody claimed anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from chaosharness.checkers.effects import never_twice
from chaosharness.checkers.messages import (
    nothing_acknowledged_lost,
    poison_blocks_nobody,
    unhandled_exceptions_block_nobody,
)
from chaosharness.checkers.progress import never_stuck
from chaosharness.checkers.property import Property
from chaosharness.checkers.sameness import idempotent
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.external import External
from chaosharness.externals.gateway import Gateway


def assumed(system: Any, *, without: str | Iterable[str] = ()) -> tuple[Property, ...]:
    """Return the properties that need nothing from the user, each with what it assumes.

    Args:
        system: A system, or the brokers, stores and third parties it is made of.
        without: Names of properties that are not wanted: `idempotent`, or all of a kind
            (`never twice`).

    Raises:
        InvalidDefinition: A name in `without` is none of them.

    >>> assumed(shop)
    >>> assumed(shop, without=["idempotent", "never twice: mailer"])
    """
    parts = [*_parts(system)]
    gateways = [part for part in parts if isinstance(part, Gateway)]
    found = [
        *([_never_charged_twice(gateways)] if gateways else []),
        *(_never_twice(part) for part in parts if isinstance(part, External)),
        _assuming(
            nothing_acknowledged_lost(),
            "every message that was stored matters: who reads its topic or queue handles it, or "
            "puts it aside as a dead letter",
        ),
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
        idempotent(),
    ]
    unwanted = [without] if isinstance(without, str) else [*without]
    for name in unwanted:
        if not any(_is_called(one, name) for one in found):
            known = ", ".join(one.name for one in found)
            raise InvalidDefinition(f"no assumed property is named {name!r}; they are: {known}")
    return tuple(one for one in found if not any(_is_called(one, name) for name in unwanted))


def _parts(system: Any) -> Iterable[Any]:
    parts = getattr(system, "resources", system)
    return parts.values() if isinstance(parts, Mapping) else parts


def _never_charged_twice(gateways: list[Gateway]) -> Property:
    one = never_twice(gateways, "charge", key="order", undone_by="refund", as_in_calm=True)
    where = " or ".join(gateway.name for gateway in gateways)
    what = f"an order is charged once, at {where}, unless it was refunded in between"
    name = one.name.removesuffix(".charge")
    return attrs.evolve(one, name=name, assumption=what)


def _never_twice(external: External) -> Property:
    what = (
        f"doing the same thing twice at {external.name} for one workload item, with the same "
        "arguments and nothing else in between, is a mistake where the calm run does it once "
        "(a repeat that changes nothing there is no effect: it answers External.unchanged)"
    )
    return _assuming(never_twice(external, undone_by=None, as_in_calm=True), what)


def _assuming(one: Property, what: str) -> Property:
    return attrs.evolve(one, assumption=what)


def _is_called(one: Property, name: str) -> bool:
    return one.name == name or one.name.startswith(f"{name}: ")
