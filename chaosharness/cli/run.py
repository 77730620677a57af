"""`chaosharness run`: look for schedules that break the promises of a system."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from chaosharness.cli.claims import kinds_but, to_judge
from chaosharness.cli.configured import FROM_0, FROM_1, MODES, Seconds, target_argument
from chaosharness.cli.doors import HOLDS, TROUBLE, UNKNOWN, VIOLATED
from chaosharness.cli.screen import Unprinted, count, errors, put, say, screen_width, unheard
from chaosharness.cli.stopping import until_told_to_stop
from chaosharness.cli.telling import Telling, unwritable

if TYPE_CHECKING:
    from chaosharness.search.exploration import Progress as Seen

LINE_EVERY_S: Final = 5.0
"""Seconds from one line about the progress to the next."""

FAULTS: Final = 2
"""In a schedule, where nobody says how many."""

_EXIT: Final = {"holds": HOLDS, "violated": VIOLATED, "unknown": UNKNOWN}


@click.command()
@target_argument
@click.option(
    "--faults",
    metavar="K",
    type=FROM_0,
    help="Faults at most, all to be run. By default all with one, and of two what is worth it.",
)
@click.option(
    "--budget", type=FROM_1, default=2_000, show_default=True, metavar="N", help="Runs at most."
)
@click.option(
    "--seed", default=0, show_default=True, metavar="S", help="Of what is chosen by chance."
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="portfolio",
    show_default=True,
    help="In which order schedules are tried.",
)
@click.option(
    "--workers",
    type=FROM_0,
    default=0,
    show_default=True,
    metavar="N",
    help="Processes that make the runs.",
)
@click.option("--dask", metavar="ADDRESS", help="A Dask scheduler whose workers make the runs.")
@click.option(
    "--report", metavar="DIR", help="Write reports there: index.html, and one set a finding."
)
@click.option("--junit", metavar="FILE", help="Write JUnit XML there: a test case a claim.")
@click.option("--sarif", metavar="FILE", help="Write SARIF there: findings at your lines.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out an assumed property.")
@click.option("--redact", multiple=True, metavar="FIELD", help="Mask this field in reports.")
@click.option("--coverage", is_flag=True, help="Show the table of operations and faults.")
@click.option("--first", is_flag=True, help="Stop at the first finding.")
@click.option("--all", "thorough", is_flag=True, help="Spend the budget, though nothing is new.")
@click.option("--seconds", type=Seconds(), metavar="S", help="Real time at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the same for the same search.")
def run(
    target: str,
    faults: int | None,
    budget: int,
    seed: int,
    mode: str,
    workers: int,
    dask: str | None,
    report: str | None,
    junit: str | None,
    sarif: str | None,
    without: tuple[str, ...],
    redact: tuple[str, ...],
    coverage: bool,
    first: bool,
    thorough: bool,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Look for schedules that break the promises of TARGET: module:attribute, or a file.

    What is not said here is taken from [tool.chaosharness] in pyproject.toml.

    \b
    chaosharness run chaos_shop
    chaosharness run tests/chaos_shop.py:shop
    chaosharness run shop:system
    chaosharness run shop:system --faults 1 --workers 4 --report out
    chaosharness run shop:system --seconds 60 --junit out/chaos.xml --sarif out/chaos.sarif
    chaosharness run shop:system --dask tcp://10.0.0.5:8786

    Exit codes: 0 every promise holds; 1 one does not; 2 not known: the search ended before all
    was run, or a promise was never put to the test; 3 it cannot be done.
    """
    from chaosharness.search.explore import explore
    from chaosharness.search.target import full_target, load_target

    for folder in (report, _folder_of(junit), _folder_of(sarif)):
        if folder is not None and (why := unwritable(folder)):  # a finding is worth more than it
            say(f"chaosharness: {why}. What is found is told here all the same.", err=True)
    told = Telling(report, redact, aloud=not as_json)
    campaign = None
    with (
        suppress(KeyboardInterrupt, Unprinted),
        unheard() as held,
        progress_bar(quiet=as_json) as bar,
        until_told_to_stop() as look,
    ):
        told.bar = bar
        target = full_target(target)
        system = load_target(target)
        campaign = explore(
            system,
            properties=to_judge(system, without),
            kinds=kinds_but(without),
            faults_max=FAULTS if faults is None else faults,
            sure_of=1 if faults is None else None,
            runs_max=budget,
            seed=seed,
            mode=mode,  # type: ignore[arg-type]
            stop_at_first=first,
            thorough=thorough,
            seconds_max=seconds,
            target=target,
            workers=workers,
            dask=dask or "",
            on_progress=after_each_run(bar, look),
            on_found=told.tell,
            on_calm=told.hear,
        )
    if campaign is None:
        return _broken_off(told, as_json)
    told.conclude(campaign)
    told.for_ci(campaign, junit, sarif)
    with told.as_far_as_can_be():
        if as_json:
            put(as_text(campaign.to_json()))
        else:
            from chaosharness.reporting import summary

            say(summary(campaign, width=screen_width(), table=coverage))
            told.say_files()
            if held.lines:
                say(f"Not shown: {held.lines:,} lines that your code logged; replay shows them.")
    return told.end(_EXIT[campaign.result])


def _folder_of(file: str | None) -> Path | None:
    """Return where a file is to be written."""
    return None if file is None else Path(file).parent


def after_each_run(
    bar: Bar | Lines | None, look: Callable[[], None] = lambda: None
) -> Callable[[Seen], None]:
    """Return what is done after each run: show it, and see whether to go on."""

    def seen(progress: Seen) -> None:
        if bar is not None:
            bar.show(progress)
        look()

    return seen


def as_text(value: Any) -> str:
    """Return JSON with one spelling."""
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)


def _broken_off(told: Telling, as_json: bool) -> int:
    """Say that the search was ended from outside; what it found has been told."""
    if told.unprinted:
        return told.end(VIOLATED)
    with told.as_far_as_can_be():
        if as_json:
            found = [one.to_json() for one in told.found]
            put(as_text({"broken_off": True, "counterexamples": found}))
        else:
            told.say_files()
    many = count(len(told.found), "finding")
    say(f"chaosharness: broken off; {many} so far", err=True)
    return told.end(VIOLATED if told.found else TROUBLE)


class Lines:
    """A line on standard error every few seconds, where nobody sees a bar: a log of CI."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def show(self, progress: Seen) -> None:
        """Say how far the search is, if nothing was said for a while."""
        now = time.monotonic()
        if now - self._told < LINE_EVERY_S:
            return
        self._told = now
        broken = f", {len(progress.broken)} broken" if progress.broken else ""
        words = f"{progress.runs:,} of {progress.runs_max:,} runs"
        faults = count(progress.faults, "fault")
        say(f"chaosharness: {words}, {faults} in a schedule{broken}", err=True)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the screen to something else: a line stands in nobody's way."""
        yield


class Bar:
    """A bar on standard error while the search lasts."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("calm", total=None)

    def show(self, progress: Seen) -> None:
        """Show how far the search is."""
        broken = f", {len(progress.broken)} broken" if progress.broken else ""
        self._bar.update(
            self._task,
            completed=progress.runs,
            total=progress.runs_max,
            description=f"{count(progress.faults, 'fault')}{broken}",
        )

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the screen to something else for a while."""
        self._bar.stop()
        yield
        self._bar.start()


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Bar | Lines | None]:
    """Show a bar while the search lasts, if a person is watching; else a line now and then."""
    screen = errors()
    if quiet or screen is None or not screen.isatty():
        yield None if quiet else Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(file=screen)
    apart: Any = {"redirect_stdout": False, "redirect_stderr": False}  # it would show all of it
    with Progress(*columns, console=console, transient=True, **apart) as bar:
        yield Bar(bar)
