"""Who reacts to what, read from histories: events that follow from events, through handlers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from chaosharness.checkers.callbacks import asks_back, name_of_event
from chaosharness.checkers.flow import TURNS, EventGraph, Kind, Node, in_the_round
from chaosharness.checkers.reading import is_poison
from chaosharness.kernel.history import Event, History


def event_graph(*histories: History) -> EventGraph:
    """Return who reacts to what in some histories: of the run without faults, and of others.

    >>> print(event_graph(shop.run(items).history).text())
    """
    found = EventGraph({}, frozenset(), {})
    for history in histories:
        found |= _graph_of(history)
    return found


def _graph_of(history: History) -> EventGraph:
    edges: dict[tuple[Node, Node], int] = defaultdict(int)
    without: dict[Node, int] = defaultdict(int)
    delivered: dict[int, int] = {}  # the delivery that an event follows from, in its own handler
    seen: set[tuple[int, str]] = set()
    circles: set[tuple[Node, ...]] = set()
    ways: dict[int, tuple[Step, ...]] = {}  # how a message came to be, by its index
    asked: dict[int, Node] = {}  # the endpoint that an event of the service behind it answers at
    for event in history:
        index = event.index
        if event.kind in ("start", "crash", "fault"):
            continue
        if event.kind == "deliver":
            delivered[index] = index
        elif event.cause in delivered and history[event.cause].kind != "publish":
            delivered[index] = delivered[event.cause]
        place = event.operation.partition("/")[0] if event.operation else ""
        root = delivered.get(index)
        endpoint = _endpoint(history, event, asked)
        if endpoint is not None:
            asked[index] = endpoint
            if history[event.cause].kind == "call" and place not in ("", endpoint.name):
                edges[endpoint, Node("handler", place)] += 1
        reacts = place and event.kind != "deliver" and endpoint is None
        if root is not None and reacts and (root, place) not in seen:
            seen.add((root, place))
            message = history[root].data.get("message")
            if isinstance(message, int) and not is_poison(history[message].data.get("value")):
                edges[name_of_event(history[message]), Node("handler", place)] += 1
        if event.kind == "publish" and place and not is_poison(event.data.get("value")):
            node = name_of_event(event)
            edges[Node("handler", place), node] += 1
            message = None if root is None else history[root].data.get("message")
            if isinstance(message, int):
                step = (name_of_event(history[message]), place, node)
                way = ways.get(message, ())
                ways[index] = (*way, step)
                if way.count(step) >= TURNS:
                    latest = len(way) - 1 - way[::-1].index(step)
                    circles.add(in_the_round(tuple(one[0] for one in way[latest:])))
                if _forgets(history[message], event):
                    without[node] += 1
        elif event.kind in ("effect", "call") and place:
            other = event.operation.partition("/")[2]
            kind: Kind = "effect" if event.kind == "effect" else "call"
            if kind == "effect" or not _has_effect(history, event):
                edges[Node("handler", place), Node(kind, other)] += 1
    known = {to.name for _, to in edges if to.kind == "effect"}
    kept = {e: n for e, n in edges.items() if not (e[1].kind == "call" and e[1].name in known)}
    back = Counter(asks_back(history))
    return EventGraph(kept, frozenset(circles), dict(without), callbacks=dict(back))


Step = tuple[Node, str, Node]


def _endpoint(history: History, event: Event, asked: dict[int, Node]) -> Node | None:
    """Return the endpoint in whose answer an event happens: who is called reacts to the call."""
    if event.cause < 0:
        return None
    cause = history[event.cause]
    service = event.actor.partition("#")[0]
    if cause.kind == "call" and cause.data.get("service") == service:
        return Node("call", f"{service}.{cause.data.get('endpoint')}")
    found = asked.get(event.cause)
    return found if found is not None and found.name.partition(".")[0] == service else None


def _has_effect(history: History, event: Event) -> bool:
    """Say whether a call is told by its effect already."""
    following = history[event.index + 1] if event.index + 1 < len(history) else None
    return following is not None and following.kind == "effect"


def _forgets(message: Event, event: Event) -> bool:
    """Say whether a message has nothing in common with the one that it follows from."""
    before = _words(message)
    return bool(before) and not before & _words(event)


def _words(event: Event) -> set[str]:
    """Return the texts and numbers of a message: key, headers, payload."""
    data = event.data
    found: set[str] = set()
    value = data.get("value")
    if isinstance(value, bytes):
        try:
            value = json.loads(value)
        except ValueError:
            value = value.decode(errors="replace")
    for part in (value, data.get("key"), data.get("headers"), data.get("properties")):
        found.update(_leaves(part))
    return found


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, str) and value:
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
