"""The page: well-formed, self-contained, small, and nothing on it is cut or overlaps."""

import base64
import hashlib
import re
import tomllib
from pathlib import Path

import attrs
import pytest

from chaosharness.counterexample import Counterexample
from chaosharness.reporting import to_html, to_markdown
from chaosharness.reporting.formats import html as html_room
from chaosharness.reporting.formats.html import _between_lanes
from chaosharness.reporting.story.causes.cures import CURES
from chaosharness.reporting.story.lanes import spans, within
from chaosharness.reporting.story.legible import breakable, in_parts
from tests.reporting.measures import Page
from tests.reporting.shops import double_charge, everything, second_mail

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
PAGES = {one.address for one in CURES.values()}
TEMPLATES = Path(html_room.__file__).with_name("templates")


@pytest.mark.parametrize("make", [double_charge, everything, second_mail])
def test_the_page_is_well_formed_and_fetches_nothing(make):
    html = to_html(make())
    page = Page(html)
    assert len(set(page.ids)) == len(page.ids)
    for tag, name, value in page.attributes:
        assert name not in ("src", "action", "srcset", "onclick", "onload"), (tag, name)
        if name == "href" and value not in PAGES:  # which a click opens, and nothing fetches
            assert value.startswith("#"), value
            assert value[1:] in page.ids, f"{value} leads nowhere"
    assert "default-src 'none'" in html, "the browser refuses whatever slipped through"
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert scripts == [(TEMPLATES / "copy.js").read_text("utf-8")], "one script, and it is ours"
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html, "the browser runs no other"
    html = html.replace("<script>" + scripts[0], "")
    for address in PAGES:
        html = html.replace(f'href="{address}"', "")
    for word in ("<script", "@import", "url(", "http:", "https:", "//", "<link", "<iframe"):
        assert word not in html.replace("<!doctype html>", ""), word


@pytest.mark.parametrize("write", [to_html, to_markdown])
def test_what_usually_prevents_it_is_a_link_to_the_page_on_the_site(write):
    site = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["urls"]["Documentation"]
    address = f"{site}explanation/causes/#one-key-for-one-request"
    link = {
        to_html: f'<a href="{address}">docs/explanation/causes.md#one-key-for-one-request</a>',
        to_markdown: f"[docs/explanation/causes.md#one-key-for-one-request]({address})",
    }
    assert link[write] in write(double_charge())


def test_the_page_tells_the_whole_story():
    text = Page(to_html(double_charge())).text
    assert "order o1 was charged 2 times for 500 cents each; promised: once" in text
    assert "because nobody had acknowledged it" in text
    assert "Needed: without it, the run passes." in text
    assert "fault 1 CRASHES after bank.charge" in text
    assert "45 s later" in text
    assert "Ledger of bank" in text
    assert "not in the passing run" in text
    assert "The two are alike up to 0.011 s (10 events)" in text
    assert 'Schedule([Crash(Site("payments.on_order/bank.charge", "after"))])' in text
    assert "chaosharness replay shop-never-charged-twice.json" in text
    assert "def test_shop_never_charged_twice() -> None:" in text


def test_what_was_found_is_marked_in_the_picture_and_in_the_ledger():
    html = to_html(double_charge())
    assert re.findall(r'class="row [^"]* found" id="step-(\d+)"', html) == ["4", "10"]
    assert html.count('<tr class="found">') == 2
    assert html.count('<td class="ref"><a href="#step-') == 2


def test_each_sentence_of_how_it_came_about_leads_to_its_step():
    html = to_html(double_charge())
    said = re.findall(r'<li>([^<]*)<a class="to-step" href="#step-(\d+)">', html)
    steps = {words.split(" ")[0]: step for words, step in said}
    rows = dict(re.findall(r'id="step-(\d+)">.*?<p class="label[^>]*>(.*?)</p>', html, re.DOTALL))
    assert "CRASHES" in rows[steps["payments#1"]]
    assert "delivers" in rows[steps["bus"]]
    assert "ledger 3" in rows[steps["So"]]


def test_a_command_can_be_copied_and_stands_there_without_a_script():
    html = to_html(double_charge())
    copied = re.findall(r'<pre class="copied"><code>(.*?)</code>', html, re.DOTALL)
    assert copied[0].startswith("chaosharness replay ")
    assert copied[1].startswith("Schedule(")
    assert "<button" not in html


def test_a_story_of_fifty_events_is_small():
    one = everything()
    assert len(one.history) > 50
    assert len(to_html(one).encode()) < 100_000


def test_arrows_stay_between_their_lanes():
    """Half lanes: arrows go from the middle of one lane to the middle of another."""
    html = to_html(everything())
    lanes = int(re.search(r"--n:(\d+)", html)[1])
    arrows = re.findall(r'class="arrow [^"]*" style="grid-column:(\d+) / (\d+)[";]', html)
    assert len(arrows) > 15
    for left, right in ((int(a), int(b)) for a, b in arrows):
        assert 2 <= left < right <= 2 * lanes
        assert left % 2 == right % 2 == 0
    labels = re.findall(r'class="label (\w+) [^"]*" style="grid-column:(\d+) / (\d+)"', html)
    for _, left, right in labels:
        assert int(right) - int(left) >= lanes - 1, "words have half of the picture at least"


def test_a_lane_is_busy_while_it_handles_and_down_after_a_crash():
    history = double_charge().history
    busy, down = spans(history)
    crash = next(history.of("crash")).index
    assert "payments#1" in within(busy, crash - 1)
    assert "payments#1" not in within(busy, crash)
    assert "payments#1" in within(down, crash)
    restart = next(event.index for event in history.of("start") if "/" in event.actor)
    assert "payments#1" not in within(down, restart)


def test_a_page_without_history_target_or_faults_is_still_a_page():
    bare = Counterexample.decode(double_charge().encode())
    text = Page(to_html(attrs.evolve(bare, target=""))).text
    assert "The history is not at hand." in text
    assert "def test_" not in text
    Page(to_html(attrs.evolve(double_charge(), target="", passing=None, minimal=False)))


def test_both_schemes_and_both_widths_are_styled():
    html = to_html(double_charge())
    assert "prefers-color-scheme: dark" in html
    assert "max-width: 700px" in html
    assert 'name="viewport"' in html


def schemes() -> dict[str, dict[str, str]]:
    """Return the colours of both schemes, by their names in the style sheet."""
    css = (TEMPLATES / "report.css").read_text("utf-8")
    light, _, rest = css.partition("prefers-color-scheme: dark")
    dark = rest.partition("}")[0]
    read = {"light": light, "dark": dark}
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text)) for name, text in read.items()
    }


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 counts it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        *((ink, ground) for ink in ("ink", "soft", "faint", "red") for ground in ("paper", "card")),
        ("soft", "amber-tint"),
        ("green", "amber-tint"),
        ("green", "card"),
        ("red", "red-tint"),
        ("on-amber", "amber-fill"),
        ("card", "red"),
    ],
)
def test_everything_on_the_page_can_be_read(scheme, ink, ground):
    """4.5 to 1 is what WCAG 2 asks of small text."""
    colours = schemes()[scheme]
    assert contrast(colours[ink], colours[ground]) >= 4.5


def test_long_names_break_with_a_hyphen_where_lanes_are_many():
    one = double_charge()
    assert "\u00ad" not in to_html(one)
    assert breakable("notification#2") == "notifi\u00adcation#2"
    assert breakable("payment-db") == "payment-db"
    assert breakable("inventory") == "inve\u00adntory"


def test_a_long_command_breaks_between_its_words_and_is_copied_as_it_is():
    html = to_html(double_charge(), file="reports/some_where/shop-never.json")
    assert "chaosharness replay reports/<wbr>some_<wbr>where/<wbr>shop-<wbr>never.<wbr>js" in html
    assert in_parts("a/b_c.d-e f") == ["a/", "b_", "c.", "d-", "e f"]


@pytest.mark.parametrize(
    ("way", "cut"), [(0, 50), (1, 50), (-3, 50), (2, 25), (-2, 75), (4, 37.5), (-4, 62.5)]
)
def test_what_is_lost_ends_between_two_lanes_and_on_no_third_ones_line(way, cut):
    assert _between_lanes(way) == cut
    lanes = cut / 100 * abs(way)
    assert way == 0 or lanes % 1, "an end on a line would say that it went there"
