"""The pytest plugin, in a pytest of its own."""

import json
from textwrap import dedent

import pytest

from tests.inner_pytest import LEAN

pytest_plugins = ["pytester"]

SHOP = dedent("""
    from chaosharness import Gateway, Kafka, System, never_charged_twice


    def shop(*, key):
        system = System("shop")
        bus = system.add(Kafka("bus", {"orders": 2}))
        bank = system.add(Gateway("bank"))

        @system.service("payments")
        def payments(env):
            client = env.client(bank)

            def on_order(order):
                client.charge(order["id"], order["cents"], key=order["id"] if key else None)

            env.consume(bus, "orders", on_order)

        @system.entry(examples=[{"id": "o1", "cents": 500}])
        def place(env, order):
            env.publisher(bus)("orders", order, key=order["id"])

        return system


    broken = shop(key=False)
    broken.claim(never_charged_twice())
    right = shop(key=True)
    right.claim(never_charged_twice())
""")

FAILING = dedent("""
    from chaosharness import Crash, Schedule, Site
    from plugin_shop import broken


    def test_checkout():
        crash = Crash(Site("payments.on_order/bank.charge", "after"))
        broken.run(schedule=Schedule([crash])).check()
""")


@pytest.fixture
def suite(pytester, monkeypatch):
    """Return a folder with a module of systems and a failing test."""
    pytester.makepyfile(plugin_shop=SHOP, test_it=FAILING)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    return pytester


def run(suite, *arguments):
    return suite.runpytest_subprocess(*LEAN, *arguments)


def test_a_failure_tells_its_story_and_leaves_reports(suite):
    result = run(suite)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*NeverChargedTwice: never charged twice: order o1 was charged 2 times*",
            "*BROKEN: never charged twice*",
            "*What happened*",
            "*= chaos =*",
            "1 test, * run*, * fault* struck at 1 operation",
            "never charged twice: order o1 was charged 2 times for 500 cents each*",
            "  replay: pytest --chaos-replay *shop-never-charged-twice.json",
        ]
    )
    folder = suite.path / "reports" / "latest" / "test_it.test_checkout"
    assert {path.suffix for path in folder.iterdir()} >= {".json", ".html", ".txt", ".md", ".py"}


def test_the_report_folder_and_verbosity_are_options(suite):
    result = run(suite, "--chaos-report", "elsewhere", "--chaos-verbosity", "short")
    result.assert_outcomes(failed=1)
    assert "What happened" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*smallest schedule: Schedule((Crash(*"])
    assert (suite.path / "elsewhere/test_it.test_checkout/shop-never-charged-twice.json").exists()


def test_a_stored_counterexample_is_replayed_alone(suite):
    run(suite)
    file = "reports/latest/test_it.test_checkout/shop-never-charged-twice.json"
    again = run(suite, "--chaos-replay", file)
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*shop-never-charged-twice.json: failing: *"])
    assert "Traceback" not in again.stdout.str()
    printing = SHOP.replace(
        "    def place(env, order):", "    def place(env, order):\n        print('here')"
    )
    (suite.path / "plugin_shop.py").write_text(printing)
    assert run(suite, "--chaos-replay", file).outlines.count("here") == 1
    (suite.path / "plugin_shop.py").write_text(SHOP.replace("key=False", "key=True"))
    run(suite, "--chaos-replay", file).assert_outcomes(passed=1)


def test_regressions_run_first_as_tests(suite):
    run(suite)
    (suite.path / "regressions").mkdir()
    name = "shop-never-charged-twice.json"
    (suite.path / "reports/latest/test_it.test_checkout" / name).rename(
        suite.path / "regressions" / name
    )
    suite.makeini("[pytest]\nchaos_regressions = regressions")
    result = run(suite, "-v")
    result.assert_outcomes(failed=2)
    lines = [line for line in result.stdout.lines if " FAILED" in line or "::" in line]
    assert "replay" in lines[0]


def test_generated_tests_in_the_report_folder_run_only_when_asked_for(suite):
    run(suite)
    run(suite).assert_outcomes(failed=1)
    generated = "reports/latest/test_it.test_checkout/test_shop_never_charged_twice.py"
    result = run(suite, generated)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_shop_never_charged_twice.py*"])


def test_a_regression_that_cannot_be_read_is_one_clear_line(suite):
    suite.makeini("[pytest]\nchaos_regressions = regressions")
    folder = suite.path / "regressions"
    folder.mkdir()
    (folder / "old.json").write_text(json.dumps({"chaosharness": 99}))
    result = run(suite, "-k", "replay")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*old.json: *written by a newer version*"])


def test_it_works_under_xdist(suite):
    result = run(suite, "-n", "2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*= chaos =*", "  replay: pytest --chaos-replay *"])


def test_junit_holds_the_story(suite):
    run(suite, "--junitxml", "out.xml").assert_outcomes(failed=1)
    text = (suite.path / "out.xml").read_text()
    assert "What happened" in text
    assert "chaos_runs" in text


def test_it_can_be_switched_off(suite):
    result = run(suite, "-p", "no:chaosharness")
    result.assert_outcomes(failed=1)
    assert "= chaos =" not in result.stdout.str()


def test_an_unwritable_folder_loses_no_failure(suite):
    (suite.path / "out").write_text("a file")
    result = run(suite, "--chaos-report", "out")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no report was written: *out*", "*What happened*"])
    assert ".json" not in result.stdout.str()


def test_a_page_links_no_report_that_could_not_be_written(suite):
    (suite.path / "out").mkdir()
    (suite.path / "out" / "test_it.test_checkout").write_text("a file")
    result = run(suite, "--chaos-report", "out")
    result.assert_outcomes(failed=1)
    assert ".json" not in result.stdout.str()
    page = (suite.path / "out" / "index.html").read_text()
    assert "charged 2 times" in page
    assert "test_it.test_checkout/" not in page
    assert "chaos-replay" not in (suite.path / "out" / "summary.md").read_text()


def test_a_suite_without_chaos_sees_nothing_of_it(pytester):
    pytester.makepyfile("def test_one(): pass")
    result = run(pytester)
    result.assert_outcomes(passed=1)
    assert "= chaos =" not in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chaos-faults", "0"], "--chaos-faults: must be a whole number from 1, not '0'"),
        (["--chaos-runs", "many"], "--chaos-runs: must be a whole number from 1, not 'many'"),
        (["--chaos-seed", "x"], "--chaos-seed: must be a whole number, not 'x'"),
        (["--chaos-seconds", "-1"], "must be a number of seconds above 0, not '-1'"),
        (["--chaos-verbosity", "loud"], "invalid choice: 'loud'"),
    ],
)
def test_wrong_options_are_refused_in_words(suite, arguments, words):
    result = run(suite, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()


def test_the_budget_of_faults_is_an_option(suite):
    suite.makepyfile(
        test_it="""
        from hypothesis import given
        from chaosharness import Schedule, schedules
        from plugin_shop import right

        drawn = []

        @given(schedules(right, faults_max=4))
        def test_faults(schedule):
            drawn.append(len(schedule))

        def test_drawn():
            assert 1 <= max(drawn) <= 1
        """
    )
    run(suite, "--chaos-faults", "1").assert_outcomes(passed=2)


def test_the_last_line_names_the_claim_and_the_sentence(suite, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    suite.makepyfile(
        test_decorated="""
        from chaosharness import Crash, chaos_test
        from plugin_shop import broken

        @chaos_test(broken, kinds=[Crash], runs=9)
        def test_decorated(run): ...
        """
    )
    monkeypatch.setenv("COLUMNS", "150")
    result = run(suite, "-q")
    result.assert_outcomes(failed=2)
    said = "never charged twice: order o1 was charged 2 times"
    result.stdout.fnmatch_lines(
        [
            f"FAILED test_decorated.py::test_decorated - {said}*",
            f"FAILED test_it.py::test_checkout - {said}*",
        ]
    )
    assert "checkers.property" not in result.stdout.str()


def test_a_decorated_failure_ends_at_the_line_of_the_test(suite):
    suite.makepyfile(
        test_decorated="""
        from chaosharness import Crash, chaos_test
        from plugin_shop import broken

        @chaos_test(broken, kinds=[Crash], runs=9)
        def test_decorated(run): ...
        """
    )
    result = run(suite, "test_decorated.py")
    result.stdout.fnmatch_lines(["test_decorated.py:4: NeverChargedTwice in test_decorated"])
    assert "traceback entries are hidden" not in result.stdout.str()


SEEDED = """
    from chaosharness import chaos_test, check
    from plugin_shop import right

    drawn = []

    @chaos_test(right, runs=12)
    def test_decorated(run, schedule):
        drawn.append(repr(schedule))

    def test_called():
        check(right, faults_max=2, runs_max=60, thorough=True, mode="random")

    def test_print():
        print("DRAWN", "".join(drawn))
    """


def drawn(suite, *arguments):
    result = run(suite, "test_seeded.py", "-s", "-q", *arguments)
    [line] = [line for line in result.outlines if "DRAWN" in line]
    return line.partition("DRAWN")[2]


def test_a_seed_of_the_command_line_decides_what_is_drawn(suite):
    suite.makepyfile(test_seeded=SEEDED)
    first = drawn(suite, "--chaos-seed", "1")
    assert first.count("Schedule") == 12
    assert drawn(suite, "--chaos-seed", "1") == first
    assert drawn(suite, "--chaos-seed", "2") != first


def test_seconds_end_a_test_between_two_runs(suite):
    suite.makepyfile(
        test_long="""
        from chaosharness import check
        from plugin_shop import right

        def test_called():
            check(right, faults_max=4, runs_max=1_000_000, thorough=True)
        """
    )
    result = run(suite, "test_long.py", "--chaos-seconds", "0.5")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*the time of 0.5 s was over*"])


def test_seconds_end_a_decorated_test_and_say_so(suite):
    suite.makepyfile(
        test_long="""
        from chaosharness import chaos_test
        from plugin_shop import right

        @chaos_test(right, runs=1_000)
        def test_decorated(run): ...
        """
    )
    result = run(suite, "test_long.py", "--chaos-seconds", "0.2")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*nothing broke in * runs, after which the time*was over*"])


def test_coverage_shows_what_never_struck(suite):
    suite.makepyfile(
        test_covered="""
        from chaosharness import Crash, chaos_test
        from plugin_shop import right

        @chaos_test(right, kinds=[Crash], faults_max=1, runs=9)
        def test_right(run): ...
        """
    )
    result = run(suite, "test_covered.py", "--chaos-coverage")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "test_covered.py::test_right",
            "Operations and faults",
            "*a delay*",
            "  payments.on_order/bank.charge * after *",
        ]
    )
    [row] = [one for one in result.outlines if "bank.charge " in one and " after " in one]
    assert row.endswith("✓") and "○" in row, "crashes struck; pauses and lost replies never did"
    assert "Operations and faults" not in run(suite, "test_covered.py").stdout.str()


def test_github_gets_a_summary(suite, monkeypatch):
    summary = suite.path / "summary-of-the-job.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run(suite).assert_outcomes(failed=1)
    text = summary.read_text()
    assert text.startswith("before\n## 1 chaos test, 1 failed\n")
    assert "`pytest --chaos-replay reports/latest/test_it.test_checkout/" in text
    assert str(suite.path) not in text


def test_no_report_names_the_machine(suite, tmp_path_factory, monkeypatch):
    below = suite.mkdir("below")
    suite.makeini("[pytest]")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    result = run(suite, f"--chaos-report={elsewhere}")
    result.assert_outcomes(failed=1)
    written = [path for path in elsewhere.rglob("*") if path.is_file()]
    assert len(written) > 5
    for path in written:
        assert str(elsewhere) not in path.read_text(), path.name
    monkeypatch.chdir(below)
    result = run(suite, "..")
    [line] = [line for line in result.outlines if "--chaos-replay" in line]
    assert line.endswith(" ../reports/latest/test_it.test_checkout/shop-never-charged-twice.json")
    for path in (suite.path / "reports").rglob("*"):
        assert path.is_dir() or str(suite.path) not in path.read_text(), path.name


def test_an_unused_plugin_loads_three_small_modules(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_one():
            ours = {name for name in sys.modules if name.partition(".")[0] == "chaosharness"}
            assert ours == {"chaosharness", "chaosharness.options", "chaosharness.pytest_plugin"}
        """
    )
    pytester.runpytest_subprocess(*LEAN).assert_outcomes(passed=1)


PLAIN = dedent("""
    from chaosharness import schedules, workloads
    from hypothesis import HealthCheck, given, settings
    from plugin_shop import right


    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(items=workloads(right), schedule=schedules(right, faults_max=2))
    def test_checkout(items, schedule):
        right.run(items, schedule)
""")


def test_who_draws_schedules_at_random_is_told_how_they_are_planned(suite):
    hint = "1 test drew schedules at random, and * of * faults struck: *@chaos_settings() above*"
    (suite.path / "test_it.py").write_text(PLAIN)
    result = run(suite)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([hint])
    assert "at random" not in run(suite, "--chaos-verbosity", "off").stdout.str()
    planned = PLAIN.replace("import schedules", "import chaos_settings, schedules")
    planned = planned.replace("@settings(deadline=None, ", "@chaos_settings(")
    (suite.path / "test_it.py").write_text(planned)
    result = run(suite)
    result.assert_outcomes(passed=1)
    assert "at random" not in result.stdout.str()


def test_another_plugin_may_look_for_the_fixtures_of_a_replay(suite):
    """Several plugins take each item for a test function."""
    suite.makeconftest(
        """
        import pytest


        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            assert "request" not in item.funcargs
            return (yield)
        """
    )
    result = run(suite, "--chaos-replay", "none.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*none.json cannot be read*"])


def test_what_hundreds_of_runs_logged_does_not_bury_the_story(suite):
    head = "def on_order(order):"
    loud = SHOP.replace(head, f"{head}\n            {LOUD}")
    suite.makepyfile(plugin_shop=loud, test_it=SEARCHING)
    result = suite.runpytest_subprocess(*LEAN)
    lines = result.outlines
    story = lines.index(next(line for line in lines if "What your code logged" in line))
    assert "WARNING plugin_shop: got o1" in lines[story + 1]
    captured = [at for at, line in enumerate(lines) if "Captured log call" in line]
    (left,) = [at for at, line in enumerate(lines) if "lines of all runs left out" in line]
    assert left == captured[-1] + 6
    assert sum("got o1" in line for line in lines[captured[-1] :]) == 10


def test_what_is_printed_while_a_failure_is_made_small_is_captured(suite):
    head = "def on_order(order):"
    loud = SHOP.replace(head, f"{head}\n            print('got it')")
    suite.makepyfile(plugin_shop=loud, test_it=FAILING)
    lines = suite.runpytest_subprocess(*LEAN).outlines
    (dots,) = [line for line in lines if line.startswith("test_it.py F")]
    assert dots.split() == ["test_it.py", "F", "[100%]"]  # and nothing that was printed
    sections = [line.strip("- ") for line in lines if line.startswith("---")]
    assert sections == ["Captured stdout call"]


LOUD = 'import logging; logging.getLogger("plugin_shop").warning("got %s", order["id"])'
SEARCHING = """
from chaosharness import check
from plugin_shop import broken


def test_checkout():
    check(broken, faults_max=1)
"""


def test_what_one_call_finds_is_replayed_as_the_summary_says(suite):
    suite.makepyfile(
        test_it=dedent("""
            from chaosharness import check
            from plugin_shop import broken, shop

            def test_checkout():
                check(broken, faults_max=1, runs_max=30)

            def test_of_nowhere():
                check(shop(key=False), faults_max=1, runs_max=30)
        """)
    )
    lines = run(suite).outlines
    [asked] = [line for line in lines if "--chaos-replay" in line]
    again = run(suite, *asked.split("pytest ")[1].split())
    again.assert_outcomes(failed=1)
    assert "failing: never charged twice" in again.stdout.str()
    assert any('chaosharness.replay("reports/' in line for line in lines)


def test_a_system_lives_no_longer_than_its_test(suite):
    """pytest keeps all tests to the end of a session: each would keep its databases and runs."""
    suite.makepyfile(
        test_it=dedent("""
            import gc
            from weakref import ref

            from plugin_shop import right, shop

            GONE = []

            def test_checkout():
                system = shop(key=True)
                system.run().check()
                GONE.append(ref(system))

            def test_afterwards():
                right.run()  # the last run of all may be held until the next one
                gc.collect()
                assert [one() for one in GONE] == [None]
        """)
    )
    run(suite).assert_outcomes(passed=2)
