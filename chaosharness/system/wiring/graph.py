"""The event graph before any item has come in: subscriptions, and what their code says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from copy import copy
from typing import Any

from chaosharness.checkers.flow import UNKNOWN, EventGraph, Node
from chaosharness.system.parts import CLIENT, name_of
from chaosharness.system.system import System
from chaosharness.system.wires import Deed, Port, Wire
from chaosharness.system.wiring.code import Reader

HANDLERS = ("consume", "serve", "task", "main")


def static_graph(system: System) -> EventGraph:
    """Return who reacts to what as the subscriptions and the code say it, before any item comes in.

    The services are built, and nothing is sent to them. What handlers publish is read from their
    source; a topic that stands in no code (it comes from a row, or a message) is unknown, and
    the handler is among `unread`.

    >>> static_graph(shop).possible_circles()

    Source:
        Python's own rules for names; `chaosharness.system.wiring.code`.

    Not modelled:
        Code of workflows beside their activities, web applications, callbacks of Airflow; sorts of
        event within one topic.
    """
    twin = copy(system)
    wires: list[Wire] = []
    twin.wires = wires
    twin._calm, twin._families, twin._same = {}, {}, set()
    twin.run(())
    known = _known(wires)
    parts = system.resources
    edges: dict[tuple[Node, Node], int] = defaultdict(int)
    unread: set[str] = set()
    told: dict[Node, set[tuple[str, str]]] = {}
    listening: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for place, function, given in _functions(system, wires):
        reader = Reader(known)
        reader.read(function, given)
        handler = Node("handler", place)
        for deed in reader.deeds:
            node = _node(deed)
            edges[handler, node] += 1
            if deed.kind != "effect":
                told.setdefault(node, set()).update(_goes_to(deed, parts))
            if deed.name is None:
                unread.add(place)
        for wire in wires:
            if wire.kind == "consumer" and any(wire.value is one for one in reader.heard):
                for source in wire.sources:
                    listening[wire.part, source].append(handler)
    for wire in wires:
        if wire.kind in ("consume", "serve", "task"):
            for source in wire.sources:
                listening[wire.part, source].append(Node("handler", wire.place))
    for where, handlers in listening.items():
        events = [node for node, ends in told.items() if where in ends]
        for node in events or [_unsent(where, wires)]:
            for handler in handlers:
                edges[node, handler] += 1
    return EventGraph(
        dict(edges),
        frozenset(),
        {},
        unread=frozenset(unread),
        static=True,
        critical=system.critical,
    )


def _known(wires: list[Wire]) -> Callable[[Any], Port | None]:
    """Return what tells the ports that services were given from all other objects."""
    ports: dict[int, tuple[Any, Port]] = {}
    for wire in wires:
        if wire.kind in ("publisher", "client", "consumer"):
            ports[id(wire.value)] = (wire.value, Port(wire.kind, wire.part))
        elif wire.kind == "env":
            ports[id(wire.value)] = (wire.value, Port("env", wire.place))

    def known(value: Any) -> Port | None:
        found = ports.get(id(value))
        return None if found is None or found[0] is not value else found[1]

    return known


def _functions(system: System, wires: list[Wire]) -> list[tuple[str, Any, list[list[Any]]]]:
    """Return the code that reacts to something, or begins something, with what it is given."""
    found: list[tuple[str, Any, list[list[Any]]]] = []
    seen: set[tuple[str, int]] = set()
    entry = system._entry
    if entry is not None:
        found.append((f"{CLIENT}.{name_of(entry)}", entry, [[Port("env", CLIENT)]]))
    for wire in wires:
        if wire.kind in HANDLERS and (wire.place, id(wire.value)) not in seen:
            seen.add((wire.place, id(wire.value)))
            found.append((wire.place, wire.value, []))
    return found


def _node(deed: Deed) -> Node:
    name = UNKNOWN if deed.name is None else deed.name
    if deed.kind == "event":
        return Node("event", f"{deed.exchange}/{name}".rstrip("/") if deed.exchange else name)
    return Node(deed.kind, f"{deed.part}.{name}")


def _unsent(where: tuple[str, str], wires: list[Wire]) -> Node:
    """Return what stands before a subscription that nothing in the code leads to."""
    part, source = where
    called = any(
        w.kind in ("serve", "task") and w.part == part and source in w.sources for w in wires
    )
    return Node("call", f"{part}.{source}") if called else Node("event", source)


def _goes_to(deed: Deed, parts: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the subscriptions that an event reaches, as part and source."""
    broker = parts.get(deed.part)
    goes_to = getattr(broker, "goes_to", None)
    if goes_to is None:
        return set() if deed.name is None else {(deed.part, deed.name)}
    return set(goes_to(deed.name, deed.exchange))
