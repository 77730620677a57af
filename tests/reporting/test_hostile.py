"""Foreign text: markup, control characters, emoji, megabytes. Nothing breaks, nothing runs."""

import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosharness.checkers import Finding
from chaosharness.reporting import to_html, to_json, to_markdown, to_pytest, to_text
from chaosharness.reporting.formats import html as html_room
from chaosharness.reporting.formats.literals import literal
from chaosharness.reporting.formats.markdown import escape, mermaid
from chaosharness.reporting.story.legible import clip, columns, fit, visible, wrap
from tests.reporting.measures import Page, is_narrow, is_printable
from tests.reporting.shops import BASKETS, everything, second_mail

TEMPLATES = Path(html_room.__file__).with_name("templates")

NASTY = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' {{ 7*7 }} {% raw %}",
    "\x1b[31mred\x1b[0m \x00\x07 \r\n\t",
    "\u202egnp.exe\u2066 \u200b\ufeff \u2028",
    "🎉🧾 Ünïcödé 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字",
    "```\n# heading\n- item\n| a | b |\n``` @everyone",
    "end; #35; %%{init: {}}%% ->> participant x as y: wrap:",
    '"""\nimport os  # docstring \\',
    "a" * 5_000,
)


def baskets(text: str):
    return [attrs.evolve(BASKETS[0], customer=text, email=text, sku=text), BASKETS[1]]


@pytest.mark.parametrize("text", NASTY)
def test_every_format_survives_a_nasty_payload(text):
    one = everything(*baskets(text))
    said = (attrs.evolve(one.findings[0], summary=text), *one.findings)
    one = attrs.evolve(one, system=f"shop {text}", property=f"never {text}", findings=said)
    plain = to_text(one)
    assert is_narrow(plain)
    assert is_printable(plain)
    html = to_html(one)
    Page(html)
    own = (TEMPLATES / "copy.js").read_text("utf-8")
    assert f"<script>{own}</script>" in html
    assert html.count("<script") == html.count("</script") == 1, "no other"
    assert "<img" not in html
    assert is_printable(html)
    markdown = to_markdown(one)
    assert is_printable(markdown)
    assert "<script" not in markdown
    compile(to_pytest(attrs.evolve(one, target="shop:shop")), "test_it.py", "exec")


@given(text=st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_text_at_all_is_shown_safely(text):
    one = attrs.evolve(SECOND_MAIL, property=f"p{text}", findings=(Finding(text, (5,), 1),))
    assert is_printable(to_text(one))
    assert is_narrow(to_text(one))
    Page(to_html(one))
    namespace: dict[str, object] = {}
    source = to_pytest(attrs.evolve(one, items=({"id": text},)))
    exec(compile(source, "test_it.py", "exec"), namespace)
    assert namespace["PROPERTY"] == f"p{text}"
    assert namespace["WORKLOAD"] == [{"id": text}]


SECOND_MAIL = second_mail()


def test_megabytes_are_clipped_and_said_to_be():
    letter = "word " * 200_000
    one = everything(attrs.evolve(BASKETS[0], customer=letter), BASKETS[1])
    html = to_html(one)
    assert len(html.encode()) < 300_000
    assert "characters)" in html
    assert len(to_text(one)) < 20_000
    assert len(to_markdown(one)) < 50_000
    assert letter in to_json(one), "the file must replay: nothing of it is lost"
    assert letter in to_pytest(one)


def test_mermaid_text_has_nothing_that_means_something():
    for text in NASTY:
        assert re.fullmatch(r"(?:[A-Za-z0-9 ,.()/→✗…]|[^\x00-\x7f]|#\d+;)*", mermaid(text))
    assert mermaid("a; b # c") == "a#59; b #35; c"


def test_markdown_text_is_plain_text():
    assert escape("a|b") == r"a\|b"
    assert escape("<b>&") == "&lt;b&gt;&amp;"
    assert escape("- not an item") == r"\- not an item"
    assert escape("1. neither") == r"1\. neither"
    assert escape("0.011") == "0.011"
    assert "@everyone" not in escape("@everyone")


def test_code_fences_cannot_be_ended_from_within():
    one = everything()
    site = attrs.evolve(one.schedule.faults[0].site, operation="a.b/````python")
    schedule = type(one.schedule)([attrs.evolve(one.schedule.faults[0], site=site)])
    assert "`````python" in to_markdown(attrs.evolve(one, schedule=schedule))


@given(value=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_literals_are_the_values_they_spell(value):
    assert eval(literal(value, width=30)) == value


@given(text=st.text(), width=st.integers(8, 90))
def test_wrapping_loses_nothing_but_spaces(text, width):
    shown = visible(text)
    rows = wrap(shown, width)
    assert all(columns(row) <= max(width, 2) for row in rows)
    assert "".join(rows).replace(" ", "") == shown.replace(" ", "")
    assert columns(fit(shown, width)) <= width


def test_clipped_text_says_how_long_it_was():
    assert clip("x" * 1_000, 40) == "x" * 20 + "… (1,000 characters)"
    assert clip("short", 40) == "short"
