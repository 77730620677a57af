"""`chaosharness soak`: search for hours, with a folder that any number of soaks share."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaosharness.cli.claims import kinds_but, to_judge
from chaosharness.cli.configured import FROM_0, FROM_1, Seconds, target_argument
from chaosharness.cli.doors import HOLDS, UNKNOWN, VIOLATED, fail
from chaosharness.cli.run import as_text, progress_bar
from chaosharness.cli.screen import count, put, say, unheard
from chaosharness.cli.stopping import until_told_to_stop
from chaosharness.cli.telling import Telling

if TYPE_CHECKING:
    from chaosharness.search.soak.soak import Soak

HOUR_S = 3_600.0


@click.command()
@target_argument
@click.option("--folder", default="soak", show_default=True, metavar="DIR", help="What is kept.")
@click.option("--hours", type=Seconds(), metavar="H", help="How long; 1 by default.")
@click.option("--seconds", type=Seconds(), metavar="S", help="How long, instead of hours.")
@click.option(
    "--workers",
    type=FROM_0,
    default=0,
    show_default=True,
    metavar="N",
    help="Processes for the runs.",
)
@click.option("--dask", default="", metavar="ADDRESS", help="A Dask scheduler for the runs.")
@click.option(
    "--faults",
    type=FROM_1,
    default=6,
    show_default=True,
    metavar="K",
    help="By chance, at most.",
)
@click.option(
    "--exact",
    type=FROM_0,
    default=2,
    show_default=True,
    metavar="K",
    help="All schedules up to K.",
)
@click.option("--seed", default=0, show_default=True, metavar="S", help="Of chance.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out an assumed property.")
@click.option("--redact", multiple=True, metavar="FIELD", help="Mask this field in reports.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON at the end, and nothing else.")
def soak(
    target: str,
    folder: str,
    hours: float | None,
    seconds: float | None,
    workers: int,
    dask: str,
    faults: int,
    exact: int,
    seed: int,
    without: tuple[str, ...],
    redact: tuple[str, ...],
    as_json: bool,
) -> int:
    """Search TARGET (module:attribute) for hours, in slices.

    Findings are printed, and written into DIR/findings, when they are found. Stop it at any
    moment (Ctrl-C, SIGTERM, even kill -9) and start it again: it goes on from what the folder
    has. Several soaks may share a folder, and what they ran adds up.

    \b
    chaosharness soak shop:system --hours 8 --workers 4
    chaosharness soak shop:system --seconds 60 --folder nightly

    Exit codes: 0 every schedule of up to K faults was run and nothing broke; 1 something was
    found, or met again; 2 nothing was, and not all was run; 3 it cannot be done.
    """
    from chaosharness.search.claims import chosen
    from chaosharness.search.soak.soak import Soak
    from chaosharness.search.target import full_target, load_target

    lasting_s = _lasting_s(hours, seconds)
    told = Telling(str(Path(folder) / "findings"), redact, aloud=not as_json)
    one: Soak | None = None
    with (
        suppress(KeyboardInterrupt),
        unheard(),
        progress_bar(quiet=as_json) as bar,
        until_told_to_stop() as look,
    ):
        told.bar = bar
        target = full_target(target)
        system = load_target(target)
        one = Soak(
            system=system,
            place=Path(folder),
            target=target,
            properties=chosen(system, to_judge(system, without)),
            kinds=kinds_but(without),
            items=system.examples,
            faults_max=faults,
            exact_max=exact,
            seed=seed,
            workers=workers,
            dask=dask,
            on_found=told.tell,
            on_progress=_until(time.monotonic() + lasting_s, bar, look),
            on_slice=lambda total: told.write_again(),
        )
        one.run()
    if one is None:
        fail("broken off")
    one.ended = one.ended or "it was told to stop"
    told.write_again()
    return _say(one, told, as_json)


def _lasting_s(hours: float | None, seconds: float | None) -> float:
    if hours is not None and seconds is not None:
        raise click.UsageError("say --hours or --seconds, not both")
    lasting_s = HOUR_S * (1 if hours is None else hours) if seconds is None else seconds
    if not 0 < lasting_s < float("inf"):
        raise click.UsageError(f"a soak lasts more than 0 seconds, and not {lasting_s:g}")
    return lasting_s


def _until(deadline_s: float, bar: Any, look: Any) -> Any:
    """Return what is done after each run: show it, and see whether it is over."""
    from chaosharness.search.soak.soak import Over

    def seen(progress: Any) -> None:
        if bar is not None:
            bar.show(progress)
        look()
        if time.monotonic() >= deadline_s:
            raise Over

    return seen


def _say(one: Soak, told: Telling, as_json: bool) -> int:
    """Say how it came out; return the exit code."""
    total = one.total()
    untested = [name for name, times in total.tested.items() if not times]
    complete = one.covers_everything() and not untested
    code = VIOLATED if one.found or one.again else HOLDS if complete else UNKNOWN
    if as_json:
        value = {
            "system": one.system.name,
            "folder": str(one.place),
            "soak": one.folder.number,
            "ended": one.ended,
            "exit": code,
            "found": [found.to_json() for found in one.found],
            "again": sorted(one.again),
            "untested": untested,
            "coverage": list(total.sentences()),
        }
    with told.as_far_as_can_be():
        if as_json:
            put(as_text(value))
        else:
            _print(one, told, untested, total.sentences())
    if one.trouble:
        fail(one.trouble)
    return told.end(code)


def _print(one: Soak, told: Telling, untested: list[str], sentences: tuple[str, ...]) -> None:
    told.say_files()
    say(f"{one.system.name}: soak {one.folder.number} in {one.place}, ended since {one.ended}")
    found = f"{count(len(one.found), 'new finding')}"
    again = f", {len(one.again)} met again that the folder has" if one.again else ""
    kept = "has none of them" if told.unwritten == len(one.found) else "lacks some of them"
    kept = kept if told.unwritten else "has all of them"
    say(f"{found}{again}; {one.place / 'findings'} {kept}")
    for name in untested:
        say(f"never put to the test: {name}")
    for line in sentences:
        say(f"  {line}")
