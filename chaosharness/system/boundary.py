"""The boundary between the critical path and what is aside, as it is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at


@attrs.frozen
class Boundary:
    """What is on the critical path, and what is aside, by name."""

    critical: frozenset[str]
    side: frozenset[str]


def drawn(
    parts: Iterable[Any], services: Mapping[str, Any], resources: Mapping[str, Any]
) -> Boundary:
    """Return the boundary: what is not on the critical path is aside; brokers are on no side.

    Raises:
        InvalidDefinition: There is no such part; or one side is empty.
    """
    names = [part if isinstance(part, str) else getattr(part, "name", part) for part in parts]
    for name in names:
        _check(name, services, resources)
    critical = frozenset(names)
    if not any(name.partition(".")[0] in services for name in critical):
        raise InvalidDefinition(
            "critical_path names no service: say which services, or handlers such as "
            f"'orders.on_paid', must not depend on the others{asked_at()}"
        )
    stores = {name for name, one in resources.items() if not hasattr(one, "topics")}
    side = (services.keys() | stores) - critical - {name.partition(".")[0] for name in critical}
    if not side & services.keys() and not any("." in name for name in critical):
        raise InvalidDefinition(
            "critical_path leaves no service aside: call it when all services are added, and "
            f"name those only that must not depend on the others{asked_at()}"
        )
    return Boundary(critical, frozenset(side))


def _check(name: Any, services: Mapping[str, Any], resources: Mapping[str, Any]) -> None:
    known = [*services, *resources]
    service = name.partition(".")[0] if isinstance(name, str) else name
    if isinstance(name, str) and (name in known or service in services):
        return
    near = get_close_matches(str(name), known, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    raise InvalidDefinition(
        f"critical_path names {name!r}, which is no part of the system yet;{hint} it has: "
        f"{', '.join(known)}{asked_at()}"
    )
