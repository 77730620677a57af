"""The page in a real browser, where there is one: nothing sticks out, is cut or overlaps."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

from chaosharness import explore
from chaosharness.checkers import never_stuck
from chaosharness.faults import Poison
from chaosharness.kernel.site import Site
from chaosharness.reporting import to_html
from chaosharness.reporting.formats.page import page_html
from tests.reporting.shops import BASKETS, double_charge, everything, found, second_mail, small

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
GALLERY = Path(__file__).resolve().parents[3] / "reports" / "gallery"

MEASURE = """
<script>
const all = (query, root) => [...(root || document).querySelectorAll(query)];
const box = element => element.getBoundingClientRect();
const text = element => element.textContent.trim().slice(0, 40);
const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
  && a.top < b.bottom - 1 && b.top < a.bottom - 1;
const wide = innerWidth;
const problems = [];
if (document.documentElement.scrollWidth > wide) problems.push("the page scrolls sideways");
for (const one of all("p, h1, h2, h3, td, dd, dt, .head b, .label, summary, code")) {
  if (!one.offsetParent) continue;
  const at = box(one);
  if (at.right > wide + 1 || at.left < -1) problems.push("sticks out: " + text(one));
  if (one.scrollWidth > one.clientWidth + 2 && getComputedStyle(one).display !== "inline")
    problems.push("is cut: " + text(one));
}
for (const row of all(".row")) {
  const parts = all(":scope > .no, :scope > .at, .label, .mark, .arrow, .divider", row);
  for (const one of parts) for (const other of parts)
    if (parts.indexOf(one) < parts.indexOf(other) && meet(box(one), box(other)))
      problems.push("overlap: " + text(one) + " / " + (text(other) || other.className));
}
const heads = all(".head");
for (let at = 1; at < heads.length; at++)
  if (meet(box(heads[at - 1]), box(heads[at]))) problems.push("heads overlap at " + at);
for (const one of all(".head b")) if (box(one).height > 170) problems.push("tall: " + text(one));
const result = document.createElement("pre");
result.id = "measured";
result.textContent = JSON.stringify({wide, rows: all(".row").length, problems});
document.body.append(result);
</script>
"""


MATRIX = """
<script>
const problems = [];
const heads = [...document.querySelectorAll(".matrix th span")];
for (const one of heads) {
  const words = document.createRange();
  words.selectNodeContents(one);
  if (words.getClientRects().length > 1) problems.push("broken: " + one.textContent);
}
if (document.documentElement.scrollWidth > innerWidth) problems.push("the page scrolls sideways");
const result = document.createElement("pre");
result.id = "measured";
const hidden = heads.filter(one => one.getBoundingClientRect().right > innerWidth).length;
result.textContent = JSON.stringify({wide: innerWidth, heads: heads.length, hidden, problems});
document.body.append(result);
</script>
"""


def opened(html: str, folder) -> str:
    """Open a page, and return what it has become."""
    (folder / "page.html").write_text(html, "utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    flags += [f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    command = [BROWSER, *flags, f"file://{folder / 'page.html'}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def measured(html: str, folder, width: int, script: str = MEASURE) -> dict:
    """Open a page in a frame of a given width, and return what a script in it measured."""
    inner = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", script + "</body>")
    (folder / "inner.html").write_text(inner, "utf-8")
    outer = f'<iframe id="f" src="inner.html" style="border:0;width:{width}px;height:900px">'
    outer += """</iframe><script>f.onload = () => {
      document.body.append(f.contentDocument.getElementById("measured").cloneNode(true)); }
    </script>"""
    (folder / "outer.html").write_text(f"<!doctype html><body>{outer}", "utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command = [BROWSER, *flags, "--window-size=1400,1000", "--virtual-time-budget=5000"]
    command += [f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    page = subprocess.run(
        [*command, f"file://{folder / 'outer.html'}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    found = re.search(r'<pre id="measured">(.*?)</pre>', page, re.DOTALL)
    assert found, page[-2_000:]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def poisoned():
    site = Site("client.place/bus.publish orders")
    return found(small(), Poison(site), claim=never_stuck())


def crowded():
    """Long words without a space, and a property that goes on for ever."""
    long = "averyveryverylongwordwithoutanyspace" * 4
    one = everything(attrs.evolve(BASKETS[0], email=long, sku=long), BASKETS[1])
    return attrs.evolve(one, property=long, system=long, assumption=long)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 800, 1280])
@pytest.mark.parametrize("make", [double_charge, everything, second_mail, poisoned, crowded])
def test_nothing_sticks_out_is_cut_or_overlaps(make, width, tmp_path):
    result = measured(to_html(make()), tmp_path, width)
    assert result["wide"] == width
    assert result["rows"] >= 8
    assert result["problems"] == []


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1280])
def test_every_exhibit_of_the_gallery_can_be_read(width, tmp_path):
    pages = sorted(GALLERY.glob("*/report.html"))
    found = {page.parent.name: measured(page.read_text("utf-8"), tmp_path, width) for page in pages}
    assert len(found) > 30
    assert {name: one["problems"] for name, one in found.items() if one["problems"]} == {}


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("allowed", [True, False])
def test_the_browser_runs_our_script_and_no_other(allowed, tmp_path):
    """Each command gets its button; of a script that is not ours, the page sees nothing."""
    html = to_html(double_charge())
    if not allowed:
        html = html.replace('"Copy"', '"Copy!"')  # not what the hash in the page's policy says
    dom = opened(html, tmp_path)
    assert dom.count("</button>") == (3 if allowed else 0)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1280])
def test_no_word_in_the_head_of_the_matrix_of_a_campaign_is_broken(width, tmp_path):
    system = small()
    html = page_html(explore(system, faults_max=1, runs_max=60))
    result = measured(html, tmp_path, width, MATRIX)
    assert result["heads"] > 5
    assert result["problems"] == []
    broken = html.replace(
        ".matrix th span {",
        ".matrix th span { width: 3ch; white-space: normal; overflow-wrap: anywhere; "
        "writing-mode: horizontal-tb !important;",
    )
    assert measured(broken, tmp_path, width, MATRIX)["problems"] != []


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_long_names_push_no_column_of_the_matrix_out_of_sight(tmp_path):
    html = page_html(explore(small(), faults_max=1, runs_max=20))
    long = html.replace("payments.on_order", "collection-and-reconciliation." + "on_order_" * 15)
    assert long != html
    assert measured(long, tmp_path, 1280, MATRIX)["hidden"] == 0
    assert measured(long, tmp_path, 390, MATRIX)["problems"] == []


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_the_measure_sees_what_is_wrong(tmp_path):
    html = to_html(double_charge()).replace(
        "</style>", ".label { white-space: nowrap; width: 30px } .row .mark { left: -90px }</style>"
    )
    problems = measured(html, tmp_path, 390)["problems"]
    assert any(one.startswith("is cut") for one in problems)
