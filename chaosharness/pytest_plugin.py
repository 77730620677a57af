"""The pytest plugin: options in, reports out. Loads nothing heavy until a chaos test runs.

A failing property gets a note that tells the story (it reaches the terminal, xdist and
JUnit alike), reports in the report folder, and a line at the end with the command that
replays it. Stored counterexamples are collected as tests, which pass once they are fixed.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from chaosharness.options import OPTIONS

if TYPE_CHECKING:
    from chaosharness.counterexample import Counterexample
    from chaosharness.system import Run

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
    number = int(text)
    if number < 1:
        raise ValueError(f"must be at least 1: {text}")
    return number


def pytest_configure(config: pytest.Config) -> None:
    """Take the options over, and find the counterexamples that are to be replayed."""
    OPTIONS.faults_max = config.getoption("chaos_faults")
    OPTIONS.runs = config.getoption("chaos_runs")
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
        self.trouble = ""

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

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any]:
        """Count the runs of a test, if it makes any."""
        if "chaosharness.system" not in sys.modules:
            yield
            return
        counts = Counts()
        with counts.counting():
            outcome = yield
        if hasattr(getattr(item, "obj", None), "hypothesis") and outcome.excinfo is None:
            counts.watch(outcome)
        if counts.runs:
            item.user_properties.append(("chaos_runs", counts.runs))
            item.stash[COUNTS] = counts

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, Any]:
        """Tell the story of a violation in a note, write reports, and carry the counts."""
        lines: list[tuple[str, str]] = []
        raised = _raised(item, call)
        if raised is not None:
            for error in _violations(raised):
                found = self._counterexample(item, error)
                folder = self._folder() / folder_of(item.nodeid)
                lines.append(self._tell(raised, error, found, folder))
        outcome = yield
        report = outcome.get_result()
        counts = item.stash.get(COUNTS, None)
        if report.when == "call" and counts is not None:
            report.chaos = counts.plain()
        if lines:
            report.chaos_failures = lines

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

        file = self._called(folder) / f"{found.slug()}.json"
        formats = [one for one in FORMATS if one != "pytest" or found.target]
        try:
            write(found, folder, formats=formats, called=str(file.parent))
        except ChaosharnessError as trouble:
            whole.add_note(f"no report was written: {trouble}")
        verbosity = self.config.getoption("chaos_verbosity")
        if verbosity == "story":
            whole.add_note("\n" + to_text(found, file=str(file)))
        elif verbosity == "short":
            whole.add_note(f"smallest schedule: {found.schedule!r}")
        return (str(error).splitlines()[0], str(file))

    def _folder(self) -> Path:
        folder = self.config.getoption("chaos_report") or self.config.getini("chaos_report")
        return self.config.rootpath / (folder or "reports/latest")

    def _called(self, path: Path) -> Path:
        """Return a path as people write it where pytest was started: no report holds another."""
        start = self.config.invocation_params.dir
        return path.relative_to(start) if path.is_relative_to(start) else path

    # ---- the end

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up, on the controller, what workers found."""
        counts = getattr(report, "chaos", None)
        if counts is not None:
            self.tests += 1
            self.runs += counts["runs"]
            self.faults += counts["faults"]
            self.sites.update(counts["sites"])
        failures = getattr(report, "chaos_failures", ())
        self.failures += failures
        if counts is not None or failures:
            self.results.append((report.nodeid, report.outcome, counts or {}, tuple(failures)))

    def pytest_sessionfinish(self) -> None:
        """Write a page of all chaos tests, where reports were asked for or are to be found."""
        asked = self.config.getoption("chaos_report") or self.config.getini("chaos_report")
        if hasattr(self.config, "workerinput") or not self.results:
            return
        if not asked and not self.failures:
            return
        from chaosharness.errors import ChaosharnessError
        from chaosharness.reporting import write_tests
        from chaosharness.reporting.formats.tests_page import Tested

        folder = self._called(self._folder())
        tests = [
            Tested(
                name,
                outcome,
                counts.get("runs", 0),
                counts.get("faults", 0),
                len(counts.get("sites", ())),
                tuple(
                    (words, Path(file).relative_to(folder).with_suffix(".html").as_posix(), file)
                    for words, file in failures
                ),
            )
            for name, outcome, counts, failures in self.results
        ]
        try:
            write_tests(tests, self._folder())
        except ChaosharnessError as trouble:
            self.trouble = str(trouble)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say in a few lines what was covered, and how to replay what failed."""
        if not self.tests and not self.failures:
            return
        terminalreporter.section("chaos")
        terminalreporter.line(
            f"{_count(self.tests, 'test')}, {_count(self.runs, 'run')}, "
            f"{_count(self.faults, 'fault')} struck at {_count(len(self.sites), 'operation')}"
        )
        for words, file in self.failures:
            terminalreporter.line(words)
            terminalreporter.line(f"  replay: pytest --chaos-replay {file}")
        if self.trouble:
            terminalreporter.line(self.trouble)


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


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _raised(item: pytest.Item, call: pytest.CallInfo[Any]) -> BaseException | None:
    """Return what a test raised; a unittest.TestCase keeps it aside until it is reported."""
    aside = getattr(item, "_excinfo", None)
    info = call.excinfo or (aside[0] if aside else None)
    return None if info is None else info.value


def _violations(error: BaseException) -> list[Any]:
    """Return the broken properties that an error stands for, each cause once."""
    if isinstance(error, BaseExceptionGroup):
        found = [one for each in error.exceptions for one in _violations(each)]
        return list({type(one): one for one in found}.values())
    known = getattr(error, "run", None) is not None and getattr(error, "property", None) is not None
    return [error] if known else []


class Counts:
    """What the runs of one test amounted to."""

    def __init__(self) -> None:
        self.runs = 0
        self.faults = 0
        self.sites: set[str] = set()
        self._calm: dict[Any, Run] = {}

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
        return {"runs": self.runs, "faults": self.faults, "sites": sorted(self.sites)}


COUNTS = pytest.StashKey[Counts]()


class ReplayItem(pytest.Item):
    """A stored counterexample as a test: passes once the bug is fixed."""

    def __init__(self, *, path_to: Path, **words: Any) -> None:
        super().__init__(**words)
        self.path_to = path_to

    def runtest(self) -> None:
        """Replay it."""
        from chaosharness.search.replay import replay

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
