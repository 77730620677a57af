"""The Markdown: its diagram, and its tables."""

import re
from textwrap import dedent

import pytest
from markdown_it import MarkdownIt

from chaosharness.reporting import to_markdown
from tests.reporting.shops import double_charge, everything, second_mail

LINES = (
    r"sequenceDiagram",
    r"    participant p\d+ as [^#;\n]*(?:#\d+;[^#;\n]*)*",
    r"    p\d+(?:->>|-->>|-x)p\d+: [^#;\n:]+(?:#\d+;[^#;\n:]*)*",
    r"    Note over p\d+(?:,p\d+)?: [^#;\n:]+(?:#\d+;[^#;\n:]*)*",
    r"    rect rgb\(\d+, \d+, \d+\)",
    r"    end",
)
"""The lines of Mermaid that we write; each was put before Mermaid 11 when this was written."""


def diagram(markdown: str) -> list[str]:
    return re.search(r"```mermaid\n(.*?)\n```", markdown, re.DOTALL)[1].split("\n")


def test_the_diagram_reads_like_this():
    assert "\n".join(diagram(to_markdown(double_charge()))) == dedent("""\
        sequenceDiagram
            participant p0 as client
            participant p1 as bus
            participant p2 as payments#35;1
            participant p3 as payments#35;2
            participant p4 as bank
            p0->>p1: 1. publishes o1 to orders
            p1->>p2: 2. delivers o1 from orders
            p2->>p4: 3. charge order#61;o1 cents#61;500
            Note over p0,p4: … 2 events of item 2 (o2)
            rect rgb(250, 220, 216)
            Note over p4: 4. ✗ ledger 1#58; charge order#61;o1 cents#61;500
            end
            Note over p2: 5. CRASHES after bank.charge (fault 1)
            Note over p0,p4: … 2 events of item 2 (o2)
            Note over p2: 6. restarts (incarnation 2)
            Note over p0,p4: … 5 events of item 2 (o2)
            Note over p1: 7. rebalances consumer group payments#58; session timeout
            p1->>p3: 8. delivers o1 from orders again, for the 2nd time
            p3->>p4: 9. charge order#61;o1 cents#61;500
            rect rgb(250, 220, 216)
            Note over p4: 10. ✗ ledger 3#58; charge order#61;o1 cents#61;500
            end
            Note over p0,p4: … 6 events#58; 4 of item 1 (o1)""")


@pytest.mark.parametrize("make", [double_charge, everything, second_mail])
def test_every_line_of_the_diagram_is_one_that_mermaid_reads(make):
    lines = diagram(to_markdown(make()))
    known = {line.split()[1] for line in lines if "participant" in line}
    for line in lines:
        assert any(re.fullmatch(pattern, line) for pattern in LINES), line
        assert set(re.findall(r"\bp\d+\b", line.partition(":")[0])) <= known
    assert sum("rect " in line for line in lines) == lines.count("    end")


def test_a_lost_reply_is_an_arrow_that_ends_in_a_cross():
    assert re.search(r"p\d+-xp\d+: \d+\. the reply is lost", to_markdown(second_mail()))


def test_the_text_around_it_is_plain_text_for_a_markdown_reader():
    html = MarkdownIt("commonmark").enable("table").render(to_markdown(double_charge()))
    assert "<h1>Broken: never charged twice</h1>" in html
    assert "order o1 was charged 2 times for 500 cents each; promised: once" in html
    assert "payments#1 crashes after bank.charge for item 1 (o1)" in html
    assert "<td>charge order=o1 cents=500</td>" in html
    assert html.count("<tr>") == 4
