"""The pytest plugin: options in, reports out. Loads nothing heavy until a chaos test runs.

A failing property gets a note that tells the story (it reaches the terminal, xdist and
JUnit alike), reports in the report folder, and a line at the end with the command that
replays it. Stored counterexamples are collected as tests, which pass once they are fixed.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from argparse import ArgumentTypeError
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from _pytest._code.code import ReprFileLocation

from chaosharness.options import IN_CHARGE, OPTIONS

if TYPE_CHECKING:
    from chaosharness.counterexample import Counterexample
    from chaosharness.reporting.formats.tests_page import Tested
    from chaosharness.search.sites import Catalogue
    from chaosharness.system import Run

CAPTURED: Final = 5
"""Lines that are shown from each end of what was captured during a search."""

VERBOSITY = ("story", "short", "off")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, all in one group and under one prefix."""
    group = parser.getgroup("chaosharness", "chaos tests")
    group.addoption(
        "--chaos-faults",
        type=_whole,
        metavar="K",
        help="at most K faults in a schedule, whatever a test says",
    )
    group.addoption(
        "--chaos-runs", type=_whole, metavar="N", help="N runs of each chaos test decorated as one"
    )
    group.addoption(
        "--chaos-seed",
        type=_seed,
        metavar="S",
        help="where chance begins, in each chaos test and in check(...)",
    )
    group.addoption(
        "--chaos-seconds",
        type=_seconds,
        metavar="S",
        help="seconds of real time for each chaos test and check(...): it ends between two runs",
    )
    group.addoption(
        "--chaos-coverage",
        action="store_true",
        help="show, for each test, which faults struck at which operations and which never did",
    )
    group.addoption(
        "--chaos-replay",
        action="append",
        default=[],
        metavar="FILE",
        help="run only this counterexample (may be given more than once)",
    )
    group.addoption(
        "--chaos-report", metavar="DIR", help="where reports go (default: reports/latest)"
    )
    group.addoption(
        "--chaos-verbosity",
        choices=VERBOSITY,
        default="story",
        help="how much of a failure is told: the story, one line, or nothing",
    )
    parser.addini("chaos_report", "where reports of failing chaos tests go", default="")
    parser.addini(
        "chaos_regressions", "a folder of counterexamples, run first as tests", default=""
    )


def _whole(text: str) -> int:
    with suppress(ValueError):
        if (number := int(text)) >= 1:
            return number
    raise ArgumentTypeError(f"must be a whole number from 1, not {text!r}")


def _seed(text: str) -> int:
    with suppress(ValueError):
        return int(text)
    raise ArgumentTypeError(f"must be a whole number, not {text!r}")


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if (number := float(text)) > 0:
            return number
    raise ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")


def pytest_configure(config: pytest.Config) -> None:
    """Take the options over, and find the counterexamples that are to be replayed."""
    OPTIONS.faults_max = config.getoption("chaos_faults")
    OPTIONS.runs = config.getoption("chaos_runs")
    OPTIONS.seed = config.getoption("chaos_seed")
    OPTIONS.seconds_max = config.getoption("chaos_seconds")
    config.pluginmanager.register(Chaos(config), "chaosharness-session")


class Chaos:
    """One pytest session."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.tests = 0
        self.runs = 0
        self.faults = 0
        self.sites: set[str] = set()
        self.failures: list[tuple[str, str]] = []
        self.results: list[tuple[str, str, dict[str, Any], tuple[tuple[str, str], ...]]] = []
        self.coverage: list[tuple[str, str]] = []
        self.at_random: list[tuple[int, int]] = []
        self.of_nowhere: set[str] = set()  # files that say of no system where it is
        self.trouble = ""
        self.ended = ""
        self._process = os.getpid()

    # ---- calls that end the process

    def pytest_sessionstart(self) -> None:
        """Be asked before the process is ended: that was a silent exit code 0."""
        IN_CHARGE.insert(0, self._refuse_to_end)

    def pytest_unconfigure(self) -> None:
        """Let it end."""
        with suppress(ValueError):
            IN_CHARGE.remove(self._refuse_to_end)

    def _refuse_to_end(self, call: str) -> None:
        __tracebackhide__ = True
        from chaosharness.handlers.exits import end_loudly, end_of_session

        words = end_of_session(call) if os.getpid() == self._process else ""
        if not words:
            return
        self.ended = words
        if threading.current_thread() is not threading.main_thread():
            self.config.pluginmanager.getplugin("capturemanager").suspend_global_capture()
            end_loudly(words)
        pytest.fail(words)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        """Have calls that end the process ask, from the first test on that knows a system."""
        if "chaosharness.system" in sys.modules:
            from chaosharness.handlers.exits import stand_for

            stand_for()
        return (yield)

    # ---- replays

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Leave out the tests that reports hold, unless they are asked for by name."""
        folder = self._folder()
        if collection_path != folder:
            return None
        asked = [Path(one.partition("::")[0]).resolve() for one in self.config.args]
        return True if not any(one.is_relative_to(folder) for one in asked) else None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> Generator[None]:
        """Put stored counterexamples first; with --chaos-replay, run nothing else."""
        yield
        asked = [Path(one) for one in self.config.getoption("chaos_replay")]
        if asked:
            items[:] = list(self._replays(session, asked))
            return
        folder = self.config.getini("chaos_regressions")
        if folder:
            stored = sorted((self.config.rootpath / folder).glob("*.json"))
            stored = [one for one in stored if not one.name.endswith(".history.json")]
            items[:0] = list(self._replays(session, stored))

    def _replays(self, session: pytest.Session, paths: Iterable[Path]) -> Iterable[pytest.Item]:
        for path in paths:
            yield ReplayItem.from_parent(session, name=f"replay {path}", path_to=path)

    # ---- runs

    @pytest.hookimpl(hookwrapper=True, trylast=True)  # within what captures, and warnings
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any]:
        """Count the runs of a test, if it makes any, and make small what it found.

        That takes runs too: what the user's code prints in them belongs to this test.
        """
        if "chaosharness.system" not in sys.modules:
            yield
            return
        counts = Counts(covering=self.config.getoption("chaos_coverage"))
        with counts.counting():
            outcome = yield
        if hasattr(getattr(item, "obj", None), "hypothesis") and outcome.excinfo is None:
            counts.watch(outcome)
        raised = _raised(item, outcome.excinfo[1] if outcome.excinfo else None)
        for error in _violations(raised):
            with suppress(Exception):  # what is wrong with it is told where it is reported
                self._counterexample(item, error)
        if counts.runs:
            item.user_properties.append(("chaos_runs", counts.runs))
            item.stash[COUNTS] = counts

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, Any]:
        """Tell the story of a violation in a note, write reports, and carry the counts."""
        lines: list[tuple[str, str]] = []
        nowhere: list[str] = []
        raised = _raised(item, call.excinfo.value if call.excinfo is not None else None)
        violations = _violations(raised)
        if raised is not None:
            for error in violations:
                found = self._counterexample(item, error)
                folder = self._folder() / folder_of(item.nodeid)
                lines.append(self._tell(raised, error, found, folder))
                if not found.target:
                    nowhere.append(lines[-1][1])
        outcome = yield
        report = outcome.get_result()
        counts = item.stash.get(COUNTS, None)
        if report.when == "call" and counts is not None:
            report.chaos = counts.plain()
            del item.stash[COUNTS]  # pytest keeps all tests, and these hold systems and their runs
        if lines:
            report.chaos_failures = lines
            report.chaos_of_nowhere = nowhere
            report.sections = [(name, _shortened(name, text)) for name, text in report.sections]
            self._point(item, report.longrepr, violations)

    def _point(self, item: pytest.Item, shown: Any, violations: list[Any]) -> None:
        """Have the last lines of a failure name the claim, the sentence and the test's line."""
        crash = getattr(shown, "reprcrash", None)
        if crash is None:
            return
        first = str(violations[0]).splitlines()[0]
        others = len(violations) - 1
        crash.message = first + (f" (and {others:,} more)" if others else "")
        last = shown.reprtraceback.reprentries[-1]
        if getattr(last, "reprfileloc", None) is not None:
            return
        path, line, _ = item.reportinfo()
        crash.path, crash.lineno = str(path), (line or 0) + 1
        place = self._called(Path(path))
        shown.reprtraceback.extraline = None  # that our own entries are hidden is no news
        last.reprfileloc = ReprFileLocation(
            str(place), crash.lineno, f"{type(violations[0]).__name__} in {item.name}"
        )

    def _counterexample(self, item: pytest.Item, error: Any) -> Counterexample:
        from chaosharness.search.write_up import counterexample_of

        test = getattr(item, "obj", None)
        drawn = getattr(test, "is_hypothesis_test", False) or hasattr(test, "hypothesis")
        return counterexample_of(error, drawn=drawn)

    def _tell(
        self, whole: BaseException, error: BaseException, found: Counterexample, folder: Path
    ) -> tuple[str, str]:
        from chaosharness.errors import ChaosharnessError
        from chaosharness.reporting import FORMATS, to_text, write

        called = self._called(folder)
        file: str | None = str(called / f"{found.slug()}.json")
        formats = [one for one in FORMATS if one != "pytest" or found.target]
        try:
            write(found, folder, formats=formats, called=str(called))
        except ChaosharnessError as trouble:
            whole.add_note(f"no report was written: {trouble}")
            file = None
        verbosity = self.config.getoption("chaos_verbosity")
        if verbosity == "story":
            whole.add_note("\n" + to_text(found, file=file))
        elif verbosity == "short":
            whole.add_note(f"smallest schedule: {found.schedule!r}")
        return (str(error).splitlines()[0], file or "")

    def _folder(self) -> Path:
        folder = self.config.getoption("chaos_report") or self.config.getini("chaos_report")
        return self.config.rootpath / (folder or "reports/latest")

    def _called(self, path: Path) -> Path:
        """Return a path as people write it where pytest was started: no report holds another."""
        start, root = self.config.invocation_params.dir, self.config.rootpath
        return Path(os.path.relpath(path, start)) if path.is_relative_to(root) else path

    # ---- the end

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up, on the controller, what workers found."""
        counts = getattr(report, "chaos", None)
        if counts is not None:
            self.tests += 1
            self.runs += counts["runs"]
            self.faults += counts["faults"]
            self.sites.update(counts["sites"])
            if counts["coverage"]:
                self.coverage.append((report.nodeid, counts["coverage"]))
            if counts["at_random"]:
                self.at_random.append(counts["at_random"])
        failures = getattr(report, "chaos_failures", ())
        self.of_nowhere.update(getattr(report, "chaos_of_nowhere", ()))
        self.failures += failures
        if counts is not None or failures:
            self.results.append((report.nodeid, _outcome(report), counts or {}, tuple(failures)))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write a page of all chaos tests, where reports were asked for or are to be found.

        On GitHub their summary is added to that of the job.
        """
        if self.ended and not session.exitstatus:  # who caught what it was told ends green
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self.trouble = self.ended
        asked = self.config.getoption("chaos_report") or self.config.getini("chaos_report")
        summary = os.environ.get("GITHUB_STEP_SUMMARY", "")
        if hasattr(self.config, "workerinput") or not self.results:
            return
        tests = self._tested() if asked or self.failures or summary else []
        if tests and (asked or self.failures):
            self._write_page(tests)
        if tests and summary:
            self._write_summary(tests, Path(summary))

    def _write_page(self, tests: list[Tested]) -> None:
        from chaosharness.errors import ChaosharnessError
        from chaosharness.reporting import write_tests

        try:
            write_tests(tests, self._folder())
        except ChaosharnessError as trouble:
            self.trouble = str(trouble)

    def _write_summary(self, tests: list[Tested], file: Path) -> None:
        from chaosharness.reporting.formats.tests_page import tests_markdown

        try:
            with file.open("a", encoding="utf-8") as summary:
                summary.write(tests_markdown(tests))
        except OSError as trouble:
            self.trouble = f"no summary was written for GitHub: {trouble}"

    def _tested(self) -> list[Tested]:
        from chaosharness.reporting.formats.tests_page import Tested

        folder = self._called(self._folder())
        return [
            Tested(
                name,
                outcome,
                counts.get("runs", 0),
                counts.get("faults", 0),
                len(counts.get("sites", ())),
                tuple((words, *_found_at(file, folder)) for words, file in failures),
            )
            for name, outcome, counts, failures in self.results
        ]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say in a few lines what was covered, and how to replay what failed."""
        if not self.tests and not self.failures and not self.trouble:
            return
        terminalreporter.section("chaos")
        terminalreporter.line(
            f"{_count(self.tests, 'test')}, {_count(self.runs, 'run')}, "
            f"{_count(self.faults, 'fault')} struck at {_count(len(self.sites), 'operation')}"
        )
        if self.at_random and self.config.getoption("chaos_verbosity") != "off":
            struck, drawn = (sum(each) for each in zip(*self.at_random, strict=True))
            terminalreporter.line(
                f"{_count(len(self.at_random), 'test')} drew schedules at random, and "
                f"{struck:,} of {_count(drawn, 'fault')} struck: planned ones, that strike, come "
                "with @chaos_settings() above @given"
            )
        for name, table in self.coverage:
            terminalreporter.line(name)
            terminalreporter.line(table)
        for words, file in self.failures:
            terminalreporter.line(words)
            if file in self.of_nowhere:
                terminalreporter.line(f'  replay: chaosharness.replay("{file}", system)')
            elif file:  # no report was written else
                terminalreporter.line(f"  replay: pytest --chaos-replay {file}")
        if self.trouble:
            terminalreporter.line(self.trouble)


def _shortened(name: str, text: str) -> str:
    """Leave out most of what was captured in hundreds of runs: the story has what matters of it."""
    lines = text.splitlines(keepends=True)
    if not name.endswith(" call") or len(lines) <= 4 * CAPTURED:
        return text
    left = len(lines) - 2 * CAPTURED
    words = f"... {left:,} lines of all runs left out; the story has those of the failing run\n"
    return "".join([*lines[:CAPTURED], words, *lines[-CAPTURED:]])


def folder_of(nodeid: str) -> str:
    """Return the folder for reports of one test: `tests.test_shop.test_checkout`.

    Each test has its own, so that no two of them write to the same file.
    """
    path, _, rest = nodeid.partition("::")
    spelled = ".".join([*Path(path).with_suffix("").parts, *rest.split("::")])
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in spelled).strip(".-")
    if safe != spelled or len(safe) > FOLDER_MAX:
        digest = hashlib.blake2b(nodeid.encode(), digest_size=4).hexdigest()
        safe = f"{safe[:FOLDER_MAX].rstrip('.-')}-{digest}"
    return safe


FOLDER_MAX: Final = 100


def _found_at(file: str, folder: Path) -> tuple[str, str]:
    """Return the page of a finding, from the page of all, and its file for others to replay.

    Both are empty where no report of it could be written.
    """
    if not file:
        return "", ""
    here = Path(file).relative_to(folder)
    told = here if Path(file).is_absolute() else Path(file)  # no report names the machine
    return here.with_suffix(".html").as_posix(), told.as_posix()


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _outcome(report: pytest.TestReport) -> str:
    """Say how a test came out in the words of pytest's last line: xfailed is not skipped."""
    if hasattr(report, "wasxfail"):
        return {"skipped": "xfailed", "passed": "xpassed"}.get(report.outcome, report.outcome)
    return report.outcome


def _raised(item: pytest.Item, seen: BaseException | None) -> BaseException | None:
    """Return what a test raised; a unittest.TestCase keeps it aside until it is reported."""
    aside = getattr(item, "_excinfo", None)
    return aside[0].value if seen is None and aside else seen


def _violations(error: BaseException | None) -> list[Any]:
    """Return the broken properties that an error stands for, each cause once."""
    if isinstance(error, BaseExceptionGroup):
        found = [one for each in error.exceptions for one in _violations(each)]
        return list({type(one): one for one in found}.values())
    known = getattr(error, "run", None) is not None and getattr(error, "property", None) is not None
    return [error] if known else []


class Counts:
    """What the runs of one test amounted to."""

    def __init__(self, *, covering: bool = False) -> None:
        self.runs = 0
        self.faults = 0
        self.sites: set[str] = set()
        self._at_random = [0, 0]
        self._calm: dict[Any, Run] = {}
        self._covering = covering
        self._catalogues: dict[str, Catalogue] = {}

    def see(self, run: Run) -> None:
        """Count a run."""
        self.runs += 1
        if not run.schedule.faults:
            self._calm.setdefault(run.system, run)
        unused = set(run.unused)
        for fault in run.schedule:
            if fault not in unused:
                self.faults += 1
                self.sites.add(fault.site.operation)
        if run.schedule.faults and _is_drawn_at_random(run):
            self._at_random[0] += len(run.schedule) - len(unused)
            self._at_random[1] += len(run.schedule)
        if self._covering:
            self._cover(run)

    def _cover(self, run: Run) -> None:
        """Note which faults a run shows to be possible, and which of them struck."""
        from chaosharness.search.marks import Sight
        from chaosharness.search.sites import Catalogue

        self._catalogues.setdefault(run.system.name, Catalogue()).learn(Sight(run))

    def coverage(self) -> str:
        """Return the tables of operations against faults, one a system; nothing if not asked."""
        if not self._catalogues:
            return ""
        from chaosharness.campaign import Coverage
        from chaosharness.reporting.formats.coverage import coverage_table

        tables = []
        for catalogue in self._catalogues.values():
            cells, equivalent = catalogue.cells()
            tables.append(coverage_table(Coverage(cells=cells, equivalent=equivalent)))
        return "\n".join(tables)

    def watch(self, outcome: Any) -> None:
        """Have a Hypothesis test that passed fail, where its runs have left something behind.

        That is: where the first calm run of a system is another one now.
        """
        from chaosharness.errors import ChaosharnessError
        from chaosharness.system.twice import Watch

        for system, calm in self._calm.items():
            watch = Watch(system)
            watch.calm = calm
            try:
                watch.end()
            except ChaosharnessError as error:
                outcome.force_exception(error)

    @contextmanager
    def counting(self) -> Generator[None]:
        """Be told of every run while this lasts."""
        from chaosharness.system import OBSERVERS

        token = OBSERVERS.set((*OBSERVERS.get(), self.see))
        try:
            yield
        finally:
            OBSERVERS.reset(token)

    def plain(self) -> dict[str, Any]:
        """Return the counts as values that can cross from an xdist worker."""
        return {
            "runs": self.runs,
            "faults": self.faults,
            "sites": sorted(self.sites),
            "coverage": self.coverage(),
            "at_random": tuple(self._at_random) if self._at_random[1] else (),
        }


def _is_drawn_at_random(run: Run) -> bool:
    """Say whether Hypothesis drew a schedule by itself: without our planner, most find no site."""
    if "chaosharness.strategies.schedules" not in sys.modules:
        return False
    from hypothesis import currently_in_test_context, settings

    from chaosharness.strategies.schedules import ASKED

    if run.system not in ASKED or not currently_in_test_context():
        return False
    return settings.default is not None and settings.default.backend == "hypothesis"


COUNTS = pytest.StashKey[Counts]()


class ReplayItem(pytest.Item):
    """A stored counterexample as a test: passes once the bug is fixed."""

    def __init__(self, *, path_to: Path, **words: Any) -> None:
        super().__init__(**words)
        self.path_to = path_to
        self.funcargs: dict[str, Any] = {}  # some plugins take each item for a function

    def runtest(self) -> None:
        """Replay it."""
        from chaosharness.search.heard import heard_once
        from chaosharness.search.replay import replay

        with heard_once():
            outcome = replay(self.path_to)
        if outcome.verdict != "fixed":
            raise NotFixed(f"{self.path_to}: {outcome}")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show one clear line, not our traceback."""
        from chaosharness.errors import ChaosharnessError

        if isinstance(excinfo.value, NotFixed | ChaosharnessError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Name the file."""
        return self.path_to, None, self.name


class NotFixed(Exception):
    """A stored counterexample still fails, or says nothing any more."""
