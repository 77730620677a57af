"""An event graph as a page: every node once, nothing above another, and words that are escaped."""

import re

from chaosharness import event_graph, static_graph
from chaosharness.checkers.flow import EventGraph, Node
from chaosharness.reporting.formats.graph_layout import HEIGHT, laid_out
from chaosharness.reporting.formats.graph_page import graph_html
from models.hybrid.broken import mail_is_a_step
from models.order.right import order_flow
from models.questions import fan_out
from models.small.watchers import watchers

GRAPHS = (
    event_graph(order_flow().calm().history),
    static_graph(mail_is_a_step()),
    static_graph(fan_out.right()),
    static_graph(watchers()),
    EventGraph({}, frozenset(), {}),
)


def test_no_box_lies_on_another_and_all_are_inside():
    for graph in GRAPHS:
        picture = laid_out(graph)
        boxes = picture.boxes
        assert {one.node for one in boxes} == {node for edge in graph.edges for node in edge}
        assert len(picture.lines) == len(graph.edges)
        for at, one in enumerate(boxes):
            assert one.x >= 0 and one.x + one.width <= picture.width
            assert one.y >= 0 and one.y + HEIGHT <= picture.height
            for other in boxes[at + 1 :]:
                beside = one.x + one.width <= other.x or other.x + other.width <= one.x
                assert beside or abs(one.y - other.y) >= HEIGHT


def test_the_same_graph_is_the_same_page():
    for graph in GRAPHS:
        assert graph_html(graph, system="s", source="x") == graph_html(
            graph, system="s", source="x"
        )


def test_what_leaks_is_red_and_what_is_aside_is_dashed():
    text = graph_html(GRAPHS[1], system="order hybrid", source="read from the code")
    assert len(re.findall(r'<path [^>]*class="leak"', text)) == 2
    assert 'class="handler aside"' in text
    assert 'class="handler critical"' in text
    assert "the critical path depends on what is aside" in text


def test_names_are_escaped():
    bad = Node("handler", "<script>alert(1)</script>")
    graph = EventGraph({(bad, Node("event", '"><b>')): 1}, frozenset(), {})
    text = graph_html(graph, system="<i>", source="&")
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;i&gt;" in text


def test_no_line_goes_on_behind_a_box():
    first, second, third = (Node("handler", name) for name in "abc")
    short_cut = EventGraph(
        dict.fromkeys([(first, second), (second, third), (first, third)], 1), frozenset(), {}
    )
    for graph in (short_cut, *GRAPHS):
        picture = laid_out(graph)
        for line in picture.lines:
            points = [(int(x), int(y)) for x, y in re.findall(r"(-?\d+) (-?\d+)", line.path)]
            for box in picture.boxes:
                if not line.back and box.node not in (line.source, line.to):
                    right, low = box.x + box.width, box.y + HEIGHT
                    assert not any(box.x < x < right and box.y < y < low for x, y in points)
