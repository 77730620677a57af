"""The boundary between the critical path and what is aside, as it is declared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from inspect import isclass, signature
from typing import Any, Final

import attrs

from chaosharness.checkers.books import tables_of
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.gateway import Gateway, GatewayClient
from chaosharness.handlers.places import asked_at
from chaosharness.kernel import allowed
from chaosharness.kernel.history import History

_ADDRESSES: Final = ("routes", "host")
"""What parts have that only say where others are found: a host name, an address."""


@attrs.frozen
class Boundary:
    """What is on the critical path, and what is aside, by name.

    Attributes:
        critical: What is on it: services, single handlers, stores, third parties.
        side: What is aside.
        ignored: What may differ.
        at: The user's line that drew it.
    """

    critical: frozenset[str]
    side: frozenset[str]
    ignored: frozenset[str] = frozenset()
    at: str = ""


def drawn(
    parts: Iterable[Any],
    services: Mapping[str, Any],
    resources: Mapping[str, Any],
    ignore: frozenset[str] = frozenset(),
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
    return Boundary(critical, frozenset(side), ignore, asked_at())


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


# ---- names that only a run can show


def strange_handler(boundary: Boundary, handlers: Iterable[str]) -> str:
    """Say which handler on the critical path its service does not have; nothing if it has them all.

    A service whose handlers are unknown, since a library's application has them, may have any.

    Args:
        boundary: The boundary.
        handlers: Handlers and loops, `orders.on_paid`: those that services were given, and those
            that a run without faults came by.
    """
    known: dict[str, set[str]] = {}
    for place in handlers:
        service, dot, _ = place.partition(".")
        if dot:
            known.setdefault(service, set()).add(place)
    for name in sorted(boundary.critical):
        service, dot, _ = name.partition(".")
        there = known.get(service)
        if dot and there and name not in there:
            near = allowed.meant(name, there)
            return (
                f"critical_path names {name!r}, which is no handler of {service!r}; it has: "
                f"{allowed.listed(sorted(there))}{f'.{near}' if near else ''}{boundary.at}"
            )
    return ""


def strange_ignored(boundary: Boundary, resources: Mapping[str, Any], history: History) -> str:
    """Say which name to be ignored nothing has; nothing if something has each.

    Args:
        boundary: The boundary.
        resources: The parts of the system: what they say of their tables and methods.
        history: A run without faults.
    """
    if not boundary.ignored:
        return ""
    places, fields = set(resources), _fields(history)
    schemas = "".join(str(getattr(one, "schema", "")) for one in resources.values())
    fields.update(re.findall(r"\w+", schemas))
    more = any(map(_may_have_more, resources.values()))
    for name, part in resources.items():
        server = _server_of(part)
        for method, parameters in _methods(server if isclass(server) else None):
            places |= {method, f"{name}.{method}"}
            fields |= parameters
        for topic in getattr(part, "topics", None) or ():
            places |= {str(topic), f"{name}.{topic}"}
    places |= _places(history)
    for name in sorted(boundary.ignored - places):
        if name.rpartition(".")[2] in fields:  # a column or field, of whatever it is in
            continue
        owner = resources.get(name.partition(".")[0])
        if more and (owner is None or _may_have_more(owner)):
            continue
        near = allowed.meant(name, places | fields, least=0.75)
        there = "" if near else f"; there are: {allowed.listed(sorted(places))}"
        return (
            f"critical_path ignores {name!r}, which is no store, table, column, third party, "
            f"method, topic or field here{there}{f'.{near}' if near else ''}{boundary.at}"
        )
    return ""


def _server_of(part: Any) -> Any:
    return GatewayClient if isinstance(part, Gateway) else getattr(part, "server", None)


def _may_have_more(part: Any) -> bool:
    """Say whether a part may have names that a run without faults does not come by.

    What a function answers to, nobody knows; a broker whose topics are not declared, and a store
    without a schema, get them from code that trouble alone may reach.
    """
    server = _server_of(part)
    if server is not None:
        return not isclass(server)
    if hasattr(part, "schema"):
        return not part.schema
    if getattr(part, "topics", None):
        return False
    return not any(hasattr(part, name) for name in _ADDRESSES)


def _methods(server: Any) -> Iterator[tuple[str, set[str]]]:
    """Yield what a third party can be asked for, each with the names of what it takes."""
    for name in dir(server) if server is not None else ():
        method = getattr(server, name, None)
        if name.startswith("_") or not callable(method):
            continue
        try:
            yield name, set(signature(method).parameters) - {"self"}
        except (TypeError, ValueError):
            yield name, set()


def _places(history: History) -> set[str]:
    """Return the tables, methods and topics that a run came by."""
    found: set[str] = set()
    for event in history.of("state", "effect", "publish"):
        if event.kind == "state":
            names = [table for table, _ in tables_of(event.data or {})]
            owner = event.actor
        else:
            names = [str(event.data.get("method" if event.kind == "effect" else "topic"))]
            owner = event.actor if event.kind == "effect" else str(event.data.get("broker"))
        for name in filter(None, names):
            found |= {owner, name, f"{owner}.{name}"}
    return found


def _fields(history: History) -> set[str]:
    """Return the names of columns and fields that a run came by."""
    found: set[str] = set()
    for event in history.of("state", "effect", "publish"):
        found |= set(_names_in(event.data))
    return found


def _names_in(value: Any) -> Iterator[str]:
    match value:
        case Mapping():
            for name, one in value.items():
                yield str(name)
                yield from _names_in(one)
        case list() | tuple():
            for one in value:
                yield from _names_in(one)
        case bytes():
            yield from re.findall(r'"(\w+)"\s*:', value.decode("utf-8", "backslashreplace"))
        case str() if value[:1] in "{[":
            yield from re.findall(r'"(\w+)"\s*:', value)
