"""`chaosharness run`: look for schedules that break the promises of a system."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import click

from chaosharness.cli.claims import to_judge
from chaosharness.cli.doors import HOLDS, UNKNOWN, VIOLATED
from chaosharness.cli.screen import Unheard, count, put, say, screen_width

if TYPE_CHECKING:
    from chaosharness.campaign import Campaign
    from chaosharness.counterexample import Counterexample
    from chaosharness.search.exploration import Progress as Seen

_EXIT: Final = {"holds": HOLDS, "violated": VIOLATED, "unknown": UNKNOWN}


@click.command()
@click.argument("target")
@click.option("--faults", default=2, show_default=True, metavar="K", help="Faults at most.")
@click.option("--budget", default=2_000, show_default=True, metavar="N", help="Runs at most.")
@click.option("--seed", default=0, show_default=True, metavar="S", help="Of the random mode.")
@click.option(
    "--mode",
    type=click.Choice(["small-first", "random", "guided"]),
    default="small-first",
    show_default=True,
    help="In which order schedules are tried.",
)
@click.option("--report", metavar="DIR", help="Write reports there, one set a finding.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out an assumed property.")
@click.option("--redact", multiple=True, metavar="FIELD", help="Mask this field in reports.")
@click.option("--coverage", is_flag=True, help="Show the table of operations and faults.")
@click.option("--first", is_flag=True, help="Stop at the first finding.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the same for the same search.")
def run(
    target: str,
    faults: int,
    budget: int,
    seed: int,
    mode: str,
    report: str | None,
    without: tuple[str, ...],
    redact: tuple[str, ...],
    coverage: bool,
    first: bool,
    as_json: bool,
) -> int:
    """Look for schedules that break the promises of TARGET (module:attribute)."""
    from chaosharness.reporting import write
    from chaosharness.search.explore import explore
    from chaosharness.search.target import load_target

    unheard = Unheard()
    with redirect_stdout(unheard), _progress(quiet=as_json) as on_progress:
        system = load_target(target)
        properties = to_judge(system, without)
        campaign = explore(
            system,
            properties=properties,
            faults_max=faults,
            runs_max=budget,
            seed=seed,
            mode=mode,  # type: ignore[arg-type]
            stop_at_first=first,
            target=target,
            on_progress=on_progress,
        )
    files: list[Path] = []
    if report is not None:
        for found in campaign.counterexamples:
            files += write(found, report, redact=redact)
    if as_json:
        put(json.dumps(campaign.to_json(), indent=1, ensure_ascii=False, sort_keys=True))
    else:
        _print(campaign, files, redact, coverage)
        if unheard.lines:
            click.echo(f"Not shown: {unheard.lines:,} lines that your code printed; replay shows.")
    return _EXIT[campaign.result]


def _print(campaign: Campaign, files: list[Path], redact: tuple[str, ...], table: bool) -> None:
    from chaosharness.reporting import summary, to_text

    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    told: set[str] = set()
    for found in campaign.counterexamples:
        file = next((str(one) for one in files if _is_file_of(found, one)), None)
        schedule = repr(found.schedule)
        if schedule in told:
            say(also(found, redact))
            continue
        told.add(schedule)
        say(to_text(found, width=screen_width(), color=color, redact=redact, file=file))
    say(summary(campaign, width=screen_width(), table=table))
    if files:
        say("Reports:")
        for one in files:
            say(f"  {one}")


def also(found: Counterexample, redact: tuple[str, ...]) -> str:
    """Name a property that is broken by a schedule whose story has been told."""
    from chaosharness.reporting import masked

    finding = masked(found, redact).findings[0]
    words = f"BROKEN too, by the same schedule as above: {found.property}"
    width = min(screen_width(), 80) - 4
    lines = [words, *wrap(finding.summary, width, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join((*lines, ""))


def _is_file_of(found: Counterexample, path: Path) -> bool:
    return path.name == f"{found.slug()}.json"


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Any]:
    """Show a bar on standard error while the search lasts, if a person is watching."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("calm", total=None)

        def show(progress: Seen) -> None:
            broken = f", {len(progress.broken)} broken" if progress.broken else ""
            bar.update(
                task,
                completed=progress.runs,
                total=progress.runs_max,
                description=f"{count(progress.faults, 'fault')}{broken}",
            )

        yield show
