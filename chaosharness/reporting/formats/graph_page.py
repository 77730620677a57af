"""An event graph as a page: the picture, what is worth a look, and who reacts to what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from chaosharness.checkers.flow import EventGraph, Node
from chaosharness.orchestrators.shape import BEGIN, END, StepGraph
from chaosharness.reporting.formats.graph_layout import HEIGHT, Layout, laid_out
from chaosharness.reporting.formats.html import templates
from chaosharness.reporting.story.legible import count

SORTS: Final = {
    "event": "event",
    "handler": "handler",
    "effect": "effect at a third party",
    "call": "call of a service",
}


def graph_html(
    graph: EventGraph, *, system: str, source: str, steps: Sequence[StepGraph] = ()
) -> str:
    """Render an event graph as one self-contained HTML page, dark and light.

    Args:
        graph: The graph.
        system: Whose it is.
        source: Where it was read: `seen in 12 runs`.
        steps: The steps of its workflows.
    """
    remarks = [one.removeprefix("! ") for one in graph.remarks()]
    handlers, events = len(graph.nodes("handler")), len(graph.nodes("event"))
    return (
        templates()
        .get_template("graph.html.jinja")
        .render(
            system=system,
            source=source,
            counted=f"{count(handlers, 'handler')}, {count(events, 'event')}",
            remarks=remarks,
            picture=picture_of(graph),
            rows=[_row(graph, handler) for handler in graph.nodes("handler")],
            sorts=[sort for sort in SORTS if graph.nodes(sort)],  # type: ignore[arg-type]
            words=SORTS,
            critical=bool(graph.critical),
            height=HEIGHT,
            workflows=[
                (one.name, one.text().partition("\n")[2], picture_of(_as_graph(one)))
                for one in steps
            ],
        )
    )


def _as_graph(steps: StepGraph) -> EventGraph:
    """The steps of a workflow, as the picture of an event graph is drawn."""
    edges = {}
    for move in steps.moves:
        ends = (move.source, move.to)
        pair = tuple(Node("event" if one in (BEGIN, END) else "handler", one) for one in ends)
        edges[pair[0], pair[1]] = 1
    return EventGraph(edges, frozenset(), {})


def picture_of(graph: EventGraph) -> dict[str, Any]:
    """Return what the template draws: boxes and lines with the classes that colour them."""
    layout: Layout = laid_out(graph)
    round_trip = _in_circles(graph)
    leaks = {pair for way in graph.leaks() for pair in pairwise(way)}
    return {
        "width": round(layout.width),
        "height": round(layout.height),
        "boxes": [
            (one, _classes(graph, one.node), f"{SORTS[one.node.kind]} {one.node}")
            for one in layout.boxes
        ],
        "lines": [
            (
                one.path,
                "leak"
                if (one.source, one.to) in leaks
                else "circle"
                if (one.source, one.to) in round_trip
                else "back"
                if one.back
                else "",
                f"{one.source} → {one.to}",
            )
            for one in layout.lines
        ],
    }


def _in_circles(graph: EventGraph) -> set[tuple[Node, Node]]:
    """Return the edges of circles that were gone round, or may be."""
    ways = graph.possible_circles() if graph.static else graph.cycles()
    found: set[tuple[Node, Node]] = set()
    for way in ways:
        for event, following in zip(way, (*way[1:], way[0]), strict=True):
            between = [one for one in graph.after(event) if following in graph.after(one)]
            found |= {pair for one in between for pair in ((event, one), (one, following))}
    return found


def _classes(graph: EventGraph, node: Node) -> str:
    found: list[str] = [node.kind]
    if graph.critical and node.kind != "event" and not node.name.startswith("client."):
        found.append("critical" if graph.is_critical(node) else "aside")
    if node in graph.unheard() or node in graph.forgetful() or node in graph.unsent():
        found.append("odd")
    return " ".join(found)


def _row(graph: EventGraph, handler: Node) -> tuple[str, str, str, str]:
    heard = ", ".join(map(str, graph.before(handler))) or "nothing: it begins by itself"
    after = graph.after(handler)
    done = ", ".join(str(one) for one in after if one.kind != "event")
    told = ", ".join(str(one) for one in after if one.kind == "event")
    return heard, str(handler), done, told
