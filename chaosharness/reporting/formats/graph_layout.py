"""Where the nodes of an event graph stand in a picture: in columns, from cause to consequence."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import attrs

from chaosharness.checkers.flow import EventGraph, Node

ROW: Final = 44
HEIGHT: Final = 28
GAP: Final = 64
MARGIN: Final = 16
LETTER: Final = 7.3
LETTERS_MAX: Final = 34
SWEEPS: Final = 6
LEVEL: Final = 76
BESIDE: Final = 18
LOOP: Final = 40
PASSES: Final[Any] = "passes"
"""What stands in a column for a line that goes through it: no kind of node."""

PAGE: Final = 1_130
"""How wide a picture may be before it goes downwards."""


@attrs.frozen
class Box:
    """A node in the picture: its upper left corner, and its width."""

    node: Node
    label: str
    x: float
    y: float
    width: float


@attrs.frozen
class Line:
    """An edge in the picture: an SVG path, and whether it leads back."""

    source: Node
    to: Node
    path: str
    back: bool


@attrs.frozen
class Layout:
    """The picture."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


def laid_out(graph: EventGraph) -> Layout:
    """Return a picture of a graph. The same graph has the same picture.

    It goes from left to right where that is no wider than a page, else downwards if that is
    narrower.
    """
    edges = sorted(graph.edges, key=lambda edge: (str(edge[0]), str(edge[1])))
    nodes = sorted({node for edge in edges for node in edge}, key=_rank)
    back = _backwards(nodes, edges)
    columns = _columns(nodes, [edge for edge in edges if edge not in back])
    ways = _ways(columns, [edge for edge in edges if edge not in back])
    steps = [step for edge in edges for step in pairwise((edge[0], *ways.get(edge, ()), edge[1]))]
    columns = _ordered(columns, steps)
    across = _across(columns, edges, back, ways)
    if across.width <= PAGE:
        return across
    down = _down(columns, edges, back, ways)
    return min(across, down, key=lambda one: one.width)


Edge = tuple[Node, Node]
Path = Callable[[list[Box], bool], str]
Ways = dict[Edge, tuple[Node, ...]]
"""Where a line that passes columns goes through each: a place of its own, behind nobody's box."""


def _ways(columns: list[list[Node]], edges: list[Edge]) -> Ways:
    """Give each line that passes columns a place in each of them."""
    column = {node: at for at, nodes in enumerate(columns) for node in nodes}
    ways: Ways = {}
    for source, to in edges:
        passed = range(column[source] + 1, column[to])
        ways[source, to] = tuple(Node(PASSES, f"{source}/{to}/{at}") for at in passed)
        for at, place in zip(passed, ways[source, to], strict=True):
            columns[at].append(place)
    return ways


def _picture(
    boxes: dict[Node, Box], edges: list[Edge], back: set[Edge], ways: Ways, path: Path
) -> tuple[tuple[Box, ...], tuple[Line, ...]]:
    """Return the boxes that are seen, and the lines between them."""
    lines = []
    for edge in edges:
        stops = [boxes[one] for one in (edge[0], *ways.get(edge, ()), edge[1])]
        lines.append(Line(*edge, path(stops, edge in back), edge in back))
    seen = (box for node, box in boxes.items() if node.kind != PASSES)
    return tuple(seen), tuple(lines)


def _across(columns: list[list[Node]], edges: list[Edge], back: set[Edge], ways: Ways) -> Layout:
    boxes: dict[Node, Box] = {}
    tallest = max((len(column) for column in columns), default=0)
    x = float(MARGIN)
    for column in columns:
        width = max(map(_width, column))
        top = MARGIN + (tallest - len(column)) * ROW / 2
        for at, node in enumerate(column):
            boxes[node] = Box(node, _label(node), x, top + at * ROW, width)
        x += width + GAP
    height = tallest * ROW + 2 * MARGIN - (ROW - HEIGHT) + (LOOP if back else 0)
    picture = _picture(boxes, edges, back, ways, _path_across)
    return Layout(*picture, x - GAP + MARGIN, max(height, 0))


def _down(rows: list[list[Node]], edges: list[Edge], back: set[Edge], ways: Ways) -> Layout:
    boxes: dict[Node, Box] = {}
    widths = [sum(_width(node) + BESIDE for node in row) - BESIDE for row in rows]
    widest = max(widths, default=0)
    for at, (row, width) in enumerate(zip(rows, widths, strict=True)):
        x = MARGIN + (widest - width) / 2
        for node in row:
            boxes[node] = Box(node, _label(node), x, MARGIN + at * LEVEL, _width(node))
            x += _width(node) + BESIDE
    height = len(rows) * LEVEL - (LEVEL - HEIGHT) + 2 * MARGIN
    width = widest + 2 * MARGIN + (2 * LOOP if back else 0)
    return Layout(*_picture(boxes, edges, back, ways, _path_down), width, height)


def _rank(node: Node) -> tuple[bool, str, str]:
    """Order nodes: the client, which begins everything, first."""
    return not node.name.startswith("client."), node.kind, node.name


def _label(node: Node) -> str:
    name = node.name
    return name if len(name) <= LETTERS_MAX else f"{name[: LETTERS_MAX - 1]}…"


def _width(node: Node) -> float:
    return BESIDE if node.kind == PASSES else len(_label(node)) * LETTER + 24


def _backwards(nodes: list[Node], edges: list[tuple[Node, Node]]) -> set[tuple[Node, Node]]:
    """Return the edges that close a way round, found by walking from the first node."""
    after: dict[Node, list[Node]] = {node: [] for node in nodes}
    for source, to in edges:
        after[source].append(to)
    heard = {to for _, to in edges}
    back: set[tuple[Node, Node]] = set()
    done: set[Node] = set()
    for first in [*(node for node in nodes if node not in heard), *nodes]:
        if first in done:
            continue
        way, ahead = [first], [iter(after[first])]
        while way:
            following = next(ahead[-1], None)
            if following is None:
                done.add(way.pop())
                ahead.pop()
            elif following in way:
                back.add((way[-1], following))
            elif following not in done:
                way.append(following)
                ahead.append(iter(after[following]))
    return back


def _columns(nodes: list[Node], edges: list[tuple[Node, Node]]) -> list[list[Node]]:
    """Return each node in a column behind all that lead to it."""
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        moved = False
        for source, to in edges:
            if depth[to] <= depth[source]:
                depth[to], moved = depth[source] + 1, True
        if not moved:
            break
    found: list[list[Node]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in nodes:
        found[depth[node]].append(node)
    return [column for column in found if column]


def _ordered(columns: list[list[Node]], edges: list[tuple[Node, Node]]) -> list[list[Node]]:
    """Order each column so that few lines cross: by the middle of what stands beside it."""
    beside: dict[Node, list[Node]] = {}
    for source, to in edges:
        beside.setdefault(source, []).append(to)
        beside.setdefault(to, []).append(source)
    for _ in range(SWEEPS):
        place = {node: at - len(column) / 2 for column in columns for at, node in enumerate(column)}
        for column in columns:
            column.sort(
                key=lambda node: (
                    sum(place[one] for one in beside[node]) / len(beside[node]),
                    str(node),
                )
            )
    return columns


def _path_across(stops: list[Box], back: bool) -> str:
    """Return a curve from one box to another; one that leads back goes below."""
    source, to = stops[0], stops[-1]
    if not back:
        ends = [(box.x, box.y + HEIGHT / 2) for box in stops[1:]]
        begins = [(box.x + box.width, box.y + HEIGHT / 2) for box in stops[:-1]]
        ends[-1] = (to.x - 6, ends[-1][1])
        points = []
        for (start_x, start_y), (end_x, end_y) in zip(begins, ends, strict=True):
            bend = max((end_x - start_x) / 2, 24)
            points.append(
                _curve(
                    (start_x, start_y),
                    (start_x + bend, start_y),
                    (end_x - bend, end_y),
                    (end_x, end_y),
                )
            )
        return _joined(points)
    low = max(source.y, to.y) + HEIGHT + LOOP - 6
    start_x, end_x = source.x + source.width / 2, to.x + to.width / 2
    begin, end = source.y + HEIGHT, to.y + HEIGHT + 6
    return _curve((start_x, begin), (start_x, low), (end_x, low), (end_x, end))


def _path_down(stops: list[Box], back: bool) -> str:
    """Return a curve from one box to another below; one that leads back goes round the right."""
    source, to = stops[0], stops[-1]
    if not back:
        points = []
        for above, below in pairwise(stops):
            start_x, end_x = above.x + above.width / 2, below.x + below.width / 2
            start_y, end_y = above.y + HEIGHT, below.y - (6 if below is to else 0)
            bend = max((end_y - start_y) / 2, 16)
            points.append(
                _curve(
                    (start_x, start_y),
                    (start_x, start_y + bend),
                    (end_x, end_y - bend),
                    (end_x, end_y),
                )
            )
        return _joined(points)
    right = max(source.x + source.width, to.x + to.width) + 2 * LOOP - 6
    begin, end = source.x + source.width, to.x + to.width + 6
    start_y, end_y = source.y + HEIGHT / 2, to.y + HEIGHT / 2
    return _curve((begin, start_y), (right, start_y), (right, end_y), (end, end_y))


def _joined(curves: list[str]) -> str:
    """Return one path of several curves, with straight lines between them."""
    first, *rest = curves
    return first + "".join(f" L{curve[1:]}" for curve in rest)


def _curve(*points: tuple[float, float]) -> str:
    first, *rest = (f"{x:.0f} {y:.0f}" for x, y in points)
    return f"M{first} C{' '.join(rest)}"
