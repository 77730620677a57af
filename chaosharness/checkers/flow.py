"""The workflow that stands nowhere in the code: who reacts to what, read from histories.

graph = event_graph(run.history)
print(graph.text())        # who reacts to what
graph.cycles()             # events that lead to themselves
graph.chains()             # a chain of services that is a call chain in disguise
graph.unheard()            # events that nobody consumes
graph.unsent()             # events that somebody waits for, and nobody publishes
graph.forgetful()          # events without any id of what they follow from
graph.asks_back()          # handlers that call the sender back to understand an event
graph.mermaid()            # for a README or a report

*Not modelled*: a relay's publish is drawn from the relay, not from the handler that left the row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final, Literal

import attrs

Kind = Literal["event", "handler", "effect", "call"]

CHAIN_MIN: Final = 4
"""So many handlers in a row, each with one event in and one out, are a call chain in disguise."""

UNKNOWN: Final = "?"
"""An event whose name stands in no code."""

TURNS: Final = 5
"""What follows from itself so often goes in a circle: a saga passes a queue a few times as well."""


@attrs.frozen
class Node:
    """A place in the graph: an event (a topic or an exchange), a handler, an effect, a call."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return self.name


Callback = tuple[Node, Node, Node]
"""A handler, the call by which it asks back, and the event that it asks about."""


@attrs.frozen
class EventGraph:
    """Who reacts to what.

    Attributes:
        edges: From a node to another, with how often that was seen.
        circles: Events that led to themselves, through the same handler, in one run.
        without_id: Events that carried no id of the message they followed from, and how often.
        unread: Handlers that do something whose name stands in no code, where code was read.
        static: Whether it was read from subscriptions and code, and not from runs.
        callbacks: Who asked the service back that an event came from, and how often.
        critical: What the system declares to be its critical path: services, handlers, stores,
            third parties. Empty where nothing is declared.
    """

    edges: dict[tuple[Node, Node], int]
    circles: frozenset[tuple[Node, ...]]
    without_id: dict[Node, int]
    unread: frozenset[str] = attrs.field(default=frozenset(), kw_only=True)
    static: bool = attrs.field(default=False, kw_only=True)
    critical: frozenset[str] = attrs.field(default=frozenset(), kw_only=True)
    callbacks: dict[Callback, int] = attrs.field(factory=dict, kw_only=True)

    def __or__(self, other: EventGraph) -> EventGraph:
        """Return what either of two graphs has seen."""
        edges, without = defaultdict(int, self.edges), defaultdict(int, self.without_id)
        for edge, times in other.edges.items():
            edges[edge] += times
        for node, times in other.without_id.items():
            without[node] += times
        callbacks = Counter(self.callbacks) + Counter(other.callbacks)
        return EventGraph(
            dict(edges),
            self.circles | other.circles,
            dict(without),
            unread=self.unread | other.unread,
            static=self.static and other.static,
            critical=self.critical | other.critical,
            callbacks=dict(callbacks),
        )

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

    def possible_circles(self) -> list[tuple[Node, ...]]:
        """Return the shortest ways from an event back to itself, whether or not they were gone.

        An orchestrator whose commands are answered has such a way as well: what ends it is code.
        """
        follows = {
            event: {to for one in self.after(event) for to in self._of(self.after(one), "event")}
            for event in self.nodes("event")
        }
        found = {in_the_round(way) for event in follows if (way := _way_back(follows, event))}
        return sorted(found, key=lambda way: (len(way), [str(node) for node in way]))

    def chains(self, *, longer_than: int = CHAIN_MIN - 1) -> list[tuple[Node, ...]]:
        """Return handlers in a row, each with one event in and one out: the longest ones."""
        found = []
        for handler in self.nodes("handler"):
            heard = self._of(self.before(handler), "event")
            if heard and self._link_before(handler) is None:
                chain = self._chain_from(handler)
                if len(chain) > longer_than:
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

    def unsent(self) -> list[Node]:
        """Return the events that somebody waits for, and that nobody publishes."""
        return [node for node in self.nodes("event") if not self.before(node)]

    def is_critical(self, node: Node) -> bool:
        """Say whether a handler, effect or call is on the declared critical path."""
        return any(node.name == one or node.name.startswith(f"{one}.") for one in self.critical)

    def leaks(self) -> list[tuple[Node, ...]]:
        """Return the ways by which the declared critical path depends on what is aside.

        Either something aside publishes what the critical path consumes, or the critical path
        calls something aside and waits for its answer.
        """
        found: list[tuple[Node, ...]] = []
        for source, to in sorted(self.edges if self.critical else (), key=_names):
            if source.kind != "handler" or source.name.startswith("client."):
                continue
            if to.kind == "event" and not self.is_critical(source):
                critical = [one for one in self.after(to) if self.is_critical(one)]
                found += [(source, to, one) for one in critical]
            elif to.kind in ("effect", "call") and self.is_critical(source):
                found += [] if self.is_critical(to) else [(source, to)]
        return found

    def forgetful(self) -> list[Node]:
        """Return the events that carried no id of the message they followed from."""
        return sorted(self.without_id, key=str)

    def asks_back(self) -> list[Callback]:
        """Return who had to call back to understand an event: handler, call, event, by name."""
        return sorted(self.callbacks, key=lambda one: [str(node) for node in one])

    # ---- as text and as a picture

    def text(self) -> str:
        """Return who reacts to what, a line a handler."""
        lines = []
        for handler in self.nodes("handler"):
            heard = ", ".join(map(str, self.before(handler))) or "(nothing)"
            done = [str(node) for node in self.after(handler) if node.kind != "event"]
            told = ", ".join(map(str, self._of(self.after(handler), "event")))
            effects = f" does {', '.join(done)}" if done else ""
            side = " (aside)" if self.critical and self._is_aside(handler) else ""
            lines.append(f"{heard} → {handler}{side}{effects}" + (f" → {told}" if told else ""))
        return "\n".join([*lines, *self.remarks()])

    def remarks(self) -> list[str]:
        """Return what is worth a look, a sentence each."""
        found = [f"! a circle: {_arrow((*way, way[0]))}" for way in self.cycles()]
        found += [
            f"! a call chain in disguise: {_arrow(chain)}; each step waits for the one before, and "
            "nobody sees the whole"
            for chain in self.chains()
        ]
        if self.static:
            found += [
                f"! may go in a circle: {_arrow((*way, way[0]))}; only what the handlers decide "
                "ends it"
                for way in self.possible_circles()
            ]
        found += [
            f"! the critical path depends on what is aside: {_arrow(w)}" for w in self.leaks()
        ]
        found += [f"! nobody consumes {node}" for node in self.unheard() if node.name != UNKNOWN]
        found += [f"! nobody publishes {node}" for node in self.unsent() if not self.unread]
        found += [
            f"! what {place} does is not all known before it runs: a name stands in no code"
            for place in sorted(self.unread)
        ]
        found += [
            f"! {node} carries no id of the message it follows from: nobody can tell which one it "
            "belongs to"
            for node in self.forgetful()
        ]
        found += [
            f"! {handler} asks {call} back to understand {event}: the event does not say enough"
            for handler, call, event in self.asks_back()
        ]
        return found

    def _is_aside(self, handler: Node) -> bool:
        return not self.is_critical(handler) and not handler.name.startswith("client.")

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
            if self.critical and node.kind == "handler" and self._is_aside(node):
                lines.append(f"  style {names[node]} stroke-dasharray: 4 4")
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


def _names(edge: tuple[Node, Node]) -> tuple[str, str]:
    return str(edge[0]), str(edge[1])


def _way_back(follows: dict[Node, set[Node]], event: Node) -> tuple[Node, ...]:
    """Return the shortest way from an event to itself; nothing if there is none."""
    ways: list[tuple[Node, ...]] = [(event,)]
    seen: set[Node] = set()
    for way in ways:
        for to in sorted(follows.get(way[-1], ()), key=str):
            if to == event:
                return way
            if to not in seen and to.name != UNKNOWN:
                seen.add(to)
                ways.append((*way, to))
    return ()


def in_the_round(events: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return the events of a circle, from the one with the least name."""
    least = min(range(len(events)), key=lambda n: str(events[n]))
    return (*events[least:], *events[:least])


def _arrow(way: Iterable[Node]) -> str:
    return " → ".join(map(str, way))
