"""What stands behind a campaign's result, word for word."""

from pathlib import Path
from textwrap import dedent

import attrs

from chaosharness.campaign import Campaign, Coverage, Level, Standing, Trouble
from chaosharness.checkers import Finding
from chaosharness.reporting import coverage_markdown, coverage_table, summary, write_campaign
from chaosharness.reporting.formats.coverage import sign
from chaosharness.reporting.formats.page import page_html, page_markdown
from chaosharness.reporting.story.legible import columns
from tests.reporting.shops import double_charge

PAY = "payments.on_order/bank.charge"
COVERAGE = Coverage(
    levels=(
        Level(faults=0, tried=1, total=1, complete=True),
        Level(faults=1, tried=4, total=4, complete=True),
    ),
    cells={
        ("before", PAY, "lost request"): 2,
        ("after", PAY, "lost reply"): 2,
        ("after", PAY, "crash"): 0,
        ("before", "bus.orders/deliver to payments", "delay"): 3,
    },
    equivalent=frozenset({("before", PAY, "crash")}),
)
CAMPAIGN = Campaign(
    system="shop",
    target="models.shop:shop",
    mode="small-first",
    faults_max=1,
    seed=0,
    result="violated",
    reasons=("a refund happened: never reached in 8 runs",),
    runs=20,
    searched=8,
    counterexamples=(double_charge(),),
    standings=(
        Standing(
            name="never charged twice",
            when="always",
            result="violated",
            judged=8,
            tested=8,
            broken_in=5,
        ),
        Standing(name="never stuck", when="eventually", result="holds", judged=8, tested=8),
        Standing(name="no ghost event", when="always", result="unknown", judged=8, tested=0),
        Standing(name="a refund happened", when="sometimes", result="unknown", judged=8, tested=8),
    ),
    troubles=(Trouble(verdict="stuck", reason="relay waits", times=2, schedule="Schedule()"),),
    coverage=COVERAGE,
    seconds=1.5,
)


def test_a_campaign_reads_like_this():
    assert summary(CAMPAIGN) == dedent("""\
        BROKEN: system shop, 8 runs (small-first, up to 1 fault)
          left open: a refund happened: never reached in 8 runs

        Claims
          ✗ never charged twice  BROKEN in run 5
          ✓ never stuck          holds, put to the test in 8 of 8 runs
          ? no ghost event       NEVER PUT TO THE TEST in 8 runs
          ? a refund happened    NEVER REACHED in 8 runs

        Counterexamples
          never charged twice: order o1 was charged 2 times for 500 cents each;
          promised: once
            Schedule([Crash(Site("payments.on_order/bank.charge", "after"))])

        Runs that did not become quiet
          stuck in 2 runs: relay waits
            such as Schedule()

        What was covered
          all 1-fault schedules: 4 of 4
          faults at operations: 3 of 4 struck
          never struck: crash after payments.on_order/bank.charge

        Operations and faults
          ✓ struck   ○ possible, never struck   = same as another fault   · impossible
          a delay   b lost request   c lost reply   d crash

                                                 a b c d
          payments.on_order/bank.charge   before · ✓ · =
          payments.on_order/bank.charge   after  · · ✓ ○
          bus.orders/deliver to payments  before ✓ · · ·
        """)


def test_a_green_result_says_what_it_rules_out():
    green = attrs.evolve(
        CAMPAIGN, result="holds", reasons=(), counterexamples=(), troubles=(), seconds=9.0
    )
    text = summary(green)
    assert text.startswith("HOLDS: system shop, 8 runs")
    assert "That says: no schedule of one fault at the sites of this workload" in text
    assert summary(attrs.evolve(green, seconds=0.0)) == text, "no clock in it"


def spent(*levels, searched=2_000, reasons=()):
    left = next(level for level in levels if not level.complete)
    return attrs.evolve(
        CAMPAIGN,
        faults_max=2,
        result="unknown",
        searched=searched,
        reasons=(f"the budget of {searched:,} runs was spent; {left}", *reasons),
        counterexamples=(),
        standings=(
            Standing(name="idempotent", when="eventually", result="unknown", judged=9, tested=7),
        ),
        troubles=(),
        coverage=attrs.evolve(COVERAGE, levels=levels),
    )


CALM = Level(faults=0, tried=1, total=1, complete=True)
ONE = Level(faults=1, tried=206, total=206, complete=True)
TWO = Level(faults=2, tried=1_783, total=5_412, complete=False)


def test_a_spent_budget_says_what_is_done_what_is_left_and_how_to_go_on():
    text = summary(spent(CALM, ONE, TWO), table=False)
    assert text.startswith(
        dedent("""\
        UNKNOWN: system shop, 2,000 runs (small-first, up to 2 faults)
          nothing is broken so far; the budget was spent before all was tried
          done:  all 1-fault schedules: 206 of 206
          left:  2-fault schedules: 3,629 of about 5,412
          go on: --budget 6200
          or:    --faults 1, for a result on what is done

        Claims
          ? idempotent  not broken so far, put to the test in 7 of 9 runs
        """)
    )


def test_what_was_not_begun_is_left_as_a_whole():
    counted = attrs.evolve(TWO, tried=0)
    assert "left:  2-fault schedules: 5,412 of about 5,412" in summary(spent(CALM, ONE, counted))
    nobody = attrs.evolve(TWO, tried=0, total=None)
    assert "left:  2-fault schedules: not begun" in summary(spent(CALM, ONE, nobody))


def test_a_spent_budget_is_no_secret_where_something_else_is_unknown_too():
    text = summary(spent(CALM, ONE, TWO, reasons=("it rains: never reached in 9 runs",)))
    assert "go on: --budget 6200" in text
    assert "unknown, because it rains: never reached in 9 runs" in text


def test_a_budget_that_nobody_can_count_is_not_made_up():
    first = attrs.evolve(ONE, tried=3, complete=False)
    assert "done:  the calm run: 1 of 1" in summary(spent(CALM, first, searched=4))
    assert "--faults" not in summary(spent(CALM, first, searched=4))
    many = attrs.evolve(TWO, more=True)
    assert "go on: --budget 6200 or more" in summary(spent(CALM, ONE, many))
    assert "go on: a larger --budget" in summary(spent(CALM, ONE, attrs.evolve(TWO, total=None)))


def test_an_assumption_is_named():
    standing = Standing(
        name="idempotent", when="always", result="holds", judged=1, tested=1, assumption="x is y"
    )
    text = summary(attrs.evolve(CAMPAIGN, standings=(standing,)))
    assert "taken for granted: x is y" in text


def test_the_table_has_a_sign_for_each_case():
    assert sign(COVERAGE, "after", PAY, "lost reply") == "✓"
    assert sign(COVERAGE, "after", PAY, "crash") == "○"
    assert sign(COVERAGE, "before", PAY, "crash") == "="
    assert sign(COVERAGE, "before", PAY, "poison") == "·"
    assert "| after | payments.on\\_order/bank.charge | · | · | 2 | ○ |" in coverage_markdown(
        COVERAGE
    )


def test_a_wide_or_long_table_is_cut_and_says_so():
    cells = {
        ("before", f"service-{number}.{'handler_' * 12}/bank.charge", "crash"): number % 3
        for number in range(100)
    }
    table = coverage_table(Coverage(cells=cells), rows_max=40)
    assert max(map(columns, table.splitlines())) <= 80
    assert "… 60 more rows" in table
    assert table.count("○") == 34 + 1, "what was never struck is kept, and the legend"


def test_nothing_covered_draws_nothing():
    assert coverage_table(Coverage()) == ""
    assert coverage_markdown(Coverage()) == ""
    empty = attrs.evolve(CAMPAIGN, coverage=Coverage(), standings=(), counterexamples=())
    assert "Nothing was claimed." in summary(empty)


def test_a_page_says_of_each_finding_what_it_came_from():
    words = (
        "payments.on_order asks for bank.charge 2 times, and no request carries an idempotency key"
    )
    assert words in page_html(CAMPAIGN)
    assert words.replace("_", "\\_") in page_markdown(CAMPAIGN)
    unknown = attrs.evolve(double_charge(), findings=(Finding("something else", ()),))
    assert words not in page_html(attrs.evolve(CAMPAIGN, counterexamples=(unknown,)))


def test_a_page_replays_from_where_the_search_was_made(tmp_path, monkeypatch):
    name = f"{double_charge().slug()}.json"
    monkeypatch.chdir(tmp_path)
    for folder in ("out/deep", tmp_path / "out" / "deep"):
        write_campaign(CAMPAIGN, folder)
        assert f"chaosharness replay out/deep/{name}" in Path("out/deep/summary.md").read_text()
        page = Path("out/deep/index.html").read_text().replace("<wbr>", "")
        assert f"chaosharness replay out/deep/{name}" in page
    monkeypatch.chdir(tmp_path / "out")
    write_campaign(CAMPAIGN, tmp_path)
    page = (tmp_path / "index.html").read_text().replace("<wbr>", "")
    assert f"chaosharness replay {name}" in page and str(tmp_path) not in page


def test_long_names_of_operations_break_where_they_have_parts():
    assert "payments.<wbr>on_<wbr>order/<wbr>bank.<wbr>charge</td>" in page_html(CAMPAIGN)
