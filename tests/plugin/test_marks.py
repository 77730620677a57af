"""Marks, settings and seeds count above and below `@chaos_test`; no report overwrites another."""

from textwrap import dedent

import pytest

from tests.inner_pytest import LEAN

pytest_plugins = ["pytester"]
SHOP = """
from chaosharness import Crash, Gateway, Kafka, System, never_charged_twice

def build(name, key):
    system = System(name)
    bus, bank = system.add(Kafka("bus", ["orders"])), system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env):
        client = env.client(bank)
        def on_order(order: dict):
            client.charge(order["id"], 500, key=order["id"] if key else None)
        env.consume(bus, "orders", on_order, on_error="dead-letter")

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    system.claim(never_charged_twice(bank))
    return system

right, broken = build("right", True), build("broken", False)
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    pytester.makepyfile(marked_shop=SHOP)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    return pytester


def run(suite, code, *arguments):
    suite.makepyfile(test_marked=dedent(code))
    return suite.runpytest_subprocess(*LEAN, "-p", "no:randomly", *arguments)


def test_marks_below_count_as_those_above(suite):
    result = run(
        suite,
        """
        import pytest
        from chaosharness import Crash, chaos_test
        from marked_shop import right

        @chaos_test(right, runs=3)
        @pytest.mark.skip(reason="not today")
        def test_skipped(run):
            raise AssertionError

        @chaos_test(right, runs=3)
        @pytest.mark.skipif(True, reason="not here")
        def test_skipped_if(run):
            raise AssertionError

        @chaos_test(right, runs=3)
        @pytest.mark.xfail(strict=True)
        def test_expected(run):
            raise AssertionError

        @pytest.mark.xfail(strict=True)
        @chaos_test(right, runs=3)
        def test_expected_above(run):
            raise AssertionError

        @pytest.mark.above
        @chaos_test(right, runs=20, kinds=[Crash])
        @pytest.mark.parametrize("number", [1, 2])
        @pytest.mark.below
        def test_each(run, number):
            assert number in (1, 2)
        """,
    )
    result.assert_outcomes(skipped=2, xfailed=2, passed=2)
    for mark in ("above", "below"):
        run(suite, (suite.path / "test_marked.py").read_text(), "-m", mark).assert_outcomes(
            passed=2, deselected=4
        )


def test_settings_and_seeds_count_above_and_below(suite):
    result = run(
        suite,
        """
        from collections import Counter
        from hypothesis import example, seed, settings
        from chaosharness import Crash, Schedule, chaos_test
        from marked_shop import right

        RUNS = Counter()

        @settings(max_examples=7)
        @chaos_test(right, kinds=[Crash])
        def test_above(run):
            RUNS["above"] += 1

        @chaos_test(right, kinds=[Crash])
        @settings(max_examples=9)
        @seed(3)
        @example(workload=[{"id": "mine"}], schedule=Schedule())
        def test_below(run):
            RUNS["below"] += 1
            RUNS[run.items[0]["id"]] += 1

        @settings(max_examples=50)
        @chaos_test(right, kinds=[Crash], runs=5)
        def test_runs_go_first(run):
            RUNS["first"] += 1

        def test_so_many():
            assert 7 <= RUNS["above"] <= 8
            assert 9 <= RUNS["below"] <= 11
            assert RUNS["mine"] == 1
            assert 5 <= RUNS["first"] <= 6
        """,
    )
    result.assert_outcomes(passed=4)


def test_settings_are_given_once(suite):
    code = """
        from hypothesis import settings
        from chaosharness import chaos_settings, chaos_test
        from marked_shop import right

        @settings(max_examples=7)
        @chaos_test(right, settings=chaos_settings())
        def test_both(run): ...
        """
    result = run(suite, code)
    result.stdout.fnmatch_lines(["*has @settings(...) and settings=...: give it one of them*"])


TWO = """
    import pytest
    from chaosharness import chaos_test
    from marked_shop import broken

    @pytest.mark.parametrize("name", ["first", "second/"])
    def test_each(name):
        from chaosharness import check
        check(broken, items=[{"id": name}], faults_max=1)

    @chaos_test(broken, workload=[{"id": "third"}], faults_max=1, runs=60)
    def test_third(run): ...

    class TestShop:
        def test_third(self):
            from chaosharness import check
            check(broken, items=[{"id": "fourth"}], faults_max=1)
    """


@pytest.mark.slow
def test_each_failing_test_has_reports_of_its_own(suite):
    result = run(suite, TWO)
    result.assert_outcomes(failed=4)
    files = [
        line.rpartition(" ")[2]
        for line in result.stdout.lines
        if line.startswith("  replay: pytest --chaos-replay ")
    ]
    assert len(set(files)) == 4
    for file in files:
        assert not file.startswith("/"), "machine paths are of no use to others"
        assert (suite.path / file).is_file()
    assert '"third"' in (suite.path / files[2]).read_text()
    run(suite, TWO, "--chaos-replay", files[1]).assert_outcomes(failed=1)


def test_a_session_leaves_a_page_with_links_that_lead_somewhere(suite):
    run(suite, TWO)
    folder = suite.path / "reports/latest"
    page = (folder / "index.html").read_text()
    assert "4 chaos tests, 4 failed" in page
    links = [part.partition('"')[0] for part in page.split('href="')[1:]]
    assert len(links) == 4
    assert all((folder / link).is_file() for link in links)
    assert str(suite.path) not in page + (folder / "summary.md").read_text()
    for text in folder.rglob("*.html"):
        assert str(suite.path) not in text.read_text()


GREEN = """
    from chaosharness import Crash, chaos_test
    from marked_shop import right

    @chaos_test(right, kinds=[Crash], runs=9)
    def test_right(run): ...
    """


@pytest.mark.slow
def test_a_green_session_leaves_a_page_where_reports_were_asked_for(suite):
    run(suite, GREEN).assert_outcomes(passed=1)
    assert not (suite.path / "reports").exists()
    run(suite, GREEN, "--chaos-report", "pages").assert_outcomes(passed=1)
    assert "1 chaos test, 0 failed" in (suite.path / "pages/index.html").read_text()
    assert (
        "| test\\_marked.py::test\\_right | passed |"
        in (suite.path / "pages/summary.md").read_text()
    )


def test_a_failure_that_was_expected_is_called_so_on_the_page(suite):
    result = run(
        suite,
        """
        import pytest
        from chaosharness import Crash, chaos_test
        from marked_shop import broken, right

        @chaos_test(broken, runs=60)
        @pytest.mark.xfail(reason="known")
        def test_known(run): ...

        @chaos_test(right, runs=60, kinds=[Crash])
        @pytest.mark.xfail(reason="mended meanwhile")
        def test_mended(run): ...
        """,
    )
    result.assert_outcomes(xfailed=1, xpassed=1)
    page = (suite.path / "reports" / "latest" / "index.html").read_text("utf-8")
    assert "<td>xfailed</td><td>test_marked.py::test_known" in page
    assert "<td>xpassed</td><td>test_marked.py::test_mended" in page
