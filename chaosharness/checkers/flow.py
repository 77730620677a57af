"""The workflow that stands nowhere in the code: who reacts to what, read from histories.

graph = event_graph(run.history)
print(graph.text())        # who reacts to what
graph.cycles()             # events that lead to themselves
graph.chains()             # a chain of services that is a call chain in disguise
graph.unheard()            # events that nobody consumes
graph.forgetful()          # events without any id of what they follow from
graph.mermaid()            # for a README or a report

*Not modelled*: a relay's publish is drawn from the relay, not from the handler that left the row.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import attrs

from chaosharness.checkers.reading import is_poison
from chaosharness.kernel.history import Event, History

Kind = Literal["event", "handler", "effect", "call"]

CHAIN_MIN: Final = 4
"""So many handlers in a row, each with one event in and one out, are a call chain in disguise."""

TURNS: Final = 5
"""What follows from itself so often goes in a circle: a saga passes a queue a few times as well."""


@attrs.frozen
class Node:
    """A place in the graph: an event (a topic or an exchange), a handler, an effect, a call."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return self.name


@attrs.frozen
class EventGraph:
    """Who reacts to what.

    Attributes:
        edges: From a node to another, with how often that was seen.
        circles: Events that led to themselves, through the same handler, in one run.
        without_id: Events that carried no id of the message they followed from, and how often.
    """

    edges: dict[tuple[Node, Node], int]
    circles: frozenset[tuple[Node, ...]]
    without_id: dict[Node, int]

    def __or__(self, other: EventGraph) -> EventGraph:
        """Return what either of two graphs has seen."""
        edges, without = defaultdict(int, self.edges), defaultdict(int, self.without_id)
        for edge, times in other.edges.items():
            edges[edge] += times
        for node, times in other.without_id.items():
            without[node] += times
        return EventGraph(dict(edges), self.circles | other.circles, dict(without))

    def after(self, node: Node) -> list[Node]:
        """Return what a node leads to, by name."""
        return sorted((to for source, to in self.edges if source == node), key=str)

    def before(self, node: Node) -> list[Node]:
        """Return what leads to a node, by name."""
        return sorted((source for source, to in self.edges if to == node), key=str)

    def nodes(self, kind: Kind) -> list[Node]:
        """Return the nodes of one kind, by name."""
        return sorted({n for edge in self.edges for n in edge if n.kind == kind}, key=str)

    def cycles(self) -> list[tuple[Node, ...]]:
        """Return the circles that were gone round: events that led to themselves, in order."""
        return sorted(self.circles, key=lambda way: [str(node) for node in way])

    def chains(self) -> list[tuple[Node, ...]]:
        """Return handlers in a row, each with one event in and one out: the longest ones."""
        found = []
        for handler in self.nodes("handler"):
            heard = self._of(self.before(handler), "event")
            if heard and self._link_before(handler) is None:
                chain = self._chain_from(handler)
                if len(chain) >= CHAIN_MIN:
                    found.append(chain)
        return found

    def _chain_from(self, handler: Node) -> tuple[Node, ...]:
        chain = [handler]
        while (following := self._link_after(chain[-1])) is not None and following not in chain:
            chain.append(following)
        return tuple(chain)

    def _link_after(self, handler: Node) -> Node | None:
        events = [node for node in self.after(handler) if node.kind == "event"]
        if len(events) != 1 or len(self.before(events[0])) != 1:
            return None
        heard = self.after(events[0])
        return heard[0] if len(heard) == 1 else None

    def _link_before(self, handler: Node) -> Node | None:
        events = [node for node in self.before(handler) if node.kind == "event"]
        if len(events) != 1 or len(self.after(events[0])) != 1:
            return None
        senders = self.before(events[0])
        one = senders[0] if len(senders) == 1 else None
        if one is None or not self._of(self.before(one), "event"):
            return None  # a client or a loop begins a flow, and is no link of a chain
        return one if self._link_after(one) == handler else None

    def unheard(self) -> list[Node]:
        """Return the events that nobody consumes."""
        return [node for node in self.nodes("event") if not self.after(node)]

    def forgetful(self) -> list[Node]:
        """Return the events that carried no id of the message they followed from."""
        return sorted(self.without_id, key=str)

    # ---- as text and as a picture

    def text(self) -> str:
        """Return who reacts to what, a line a handler."""
        lines = []
        for handler in self.nodes("handler"):
            heard = ", ".join(map(str, self._of(self.before(handler), "event"))) or "(nothing)"
            done = [str(node) for node in self.after(handler) if node.kind != "event"]
            told = ", ".join(map(str, self._of(self.after(handler), "event")))
            effects = f" does {', '.join(done)}" if done else ""
            lines.append(f"{heard} → {handler}{effects}" + (f" → {told}" if told else ""))
        return "\n".join([*lines, *self.remarks()])

    def remarks(self) -> list[str]:
        """Return what is worth a look, a sentence each."""
        found = [f"! a circle: {_arrow((*way, way[0]))}" for way in self.cycles()]
        found += [
            f"! a call chain in disguise: {_arrow(chain)}; each step waits for the one before, and "
            "nobody sees the whole"
            for chain in self.chains()
        ]
        found += [f"! nobody consumes {node}" for node in self.unheard()]
        found += [
            f"! {node} carries no id of the message it follows from: nobody can tell which one it "
            "belongs to"
            for node in self.forgetful()
        ]
        return found

    @staticmethod
    def _of(nodes: list[Node], kind: Kind) -> list[Node]:
        return [node for node in nodes if node.kind == kind]

    def mermaid(self) -> str:
        """Return a Mermaid flowchart: events round, handlers square, effects as stores."""
        names: dict[Node, str] = {}
        lines = ["flowchart LR"]
        for node in sorted(
            {n for edge in self.edges for n in edge}, key=lambda n: (n.kind, n.name)
        ):
            names[node] = f"n{len(names)}"
            left, right = _SHAPES[node.kind]
            lines.append(f'  {names[node]}{left}"{_escaped(node.name)}"{right}')
        for source, to in sorted(self.edges, key=lambda edge: (str(edge[0]), str(edge[1]))):
            lines.append(f"  {names[source]} --> {names[to]}")
        return "\n".join(lines)


_SHAPES: Final[dict[Kind, tuple[str, str]]] = {
    "event": ("([", "])"),
    "handler": ("[", "]"),
    "effect": ("[(", ")]"),
    "call": ("[[", "]]"),
}


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _arrow(way: Iterable[Node]) -> str:
    return " → ".join(map(str, way))


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
        if root is not None and place and event.kind != "deliver" and (root, place) not in seen:
            seen.add((root, place))
            message = history[root].data.get("message")
            if isinstance(message, int) and not is_poison(history[message].data.get("value")):
                edges[_event_of(history[message]), Node("handler", place)] += 1
        if event.kind == "publish" and place and not is_poison(event.data.get("value")):
            node = _event_of(event)
            edges[Node("handler", place), node] += 1
            message = None if root is None else history[root].data.get("message")
            if isinstance(message, int):
                step = (_event_of(history[message]), place, node)
                way = ways.get(message, ())
                ways[index] = (*way, step)
                if way.count(step) >= TURNS:
                    latest = len(way) - 1 - way[::-1].index(step)
                    circles.add(_round(way[latest:]))
                if _forgets(history[message], event):
                    without[node] += 1
        elif event.kind in ("effect", "call") and place:
            other = event.operation.partition("/")[2]
            kind: Kind = "effect" if event.kind == "effect" else "call"
            if kind == "effect" or not _has_effect(history, event):
                edges[Node("handler", place), Node(kind, other)] += 1
    known = {to.name for _, to in edges if to.kind == "effect"}
    kept = {e: n for e, n in edges.items() if not (e[1].kind == "call" and e[1].name in known)}
    return EventGraph(kept, frozenset(circles), dict(without))


Step = tuple[Node, str, Node]


def _round(way: tuple[Step, ...]) -> tuple[Node, ...]:
    """Return the events of a circle, from the one with the least name."""
    events = [step[0] for step in way]
    least = min(range(len(events)), key=lambda n: str(events[n]))
    return (*events[least:], *events[:least])


def _has_effect(history: History, event: Event) -> bool:
    """Say whether a call is told by its effect already."""
    following = history[event.index + 1] if event.index + 1 < len(history) else None
    return following is not None and following.kind == "effect"


def _event_of(event: Event) -> Node:
    data = event.data
    topic = data.get("topic") or data.get("exchange") or data.get("queue") or "?"
    key = data.get("key") if data.get("exchange") else None
    name = f"{topic}/{key}" if key else str(topic)
    kind = _type_of(data.get("value"))
    return Node("event", f"{name}:{kind}" if kind else name)


TYPES: Final = ("type", "event", "event_type", "eventType", "kind", "name")
"""Fields of a payload that say which sort of event it is, where a topic carries several."""


def _type_of(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            value = json.loads(value)
        except ValueError:
            return ""
    if isinstance(value, dict):
        for field in TYPES:
            if isinstance(value.get(field), str):
                return str(value[field])
    return ""


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
    for part in (value, data.get("key"), data.get("headers")):
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
