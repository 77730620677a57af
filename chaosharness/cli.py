"""The command line: parse, call, print. Exit codes are part of the contract.

0 it holds · 1 it does not · 2 unknown (the budget ran out, or a claim was never tested)
· 3 what was asked for cannot be done · 4 a bug of ours.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from chaosharness import __version__
from chaosharness.errors import ChaosharnessError, InternalError

if TYPE_CHECKING:
    from chaosharness.campaign import Campaign
    from chaosharness.counterexample import Counterexample
    from chaosharness.kernel.site import Site
    from chaosharness.search.explore import Progress as Seen
    from chaosharness.system import System

HOLDS, VIOLATED, UNKNOWN, TROUBLE, BUG = range(5)
_EXIT: Final = {"holds": HOLDS, "violated": VIOLATED, "unknown": UNKNOWN}
FORMATS: Final = ("text", "markdown", "html", "json", "pytest")


class Doors(click.Group):
    """A group whose every mistake ends in one clear line and the right exit code."""

    def main(self, *arguments: Any, **words: Any) -> Any:
        words["standalone_mode"] = False
        try:
            code = super().main(*arguments, **words)
        except click.exceptions.Abort:
            fail("broken off")
        except click.ClickException as error:
            fail(error.format_message())
        except InternalError as error:
            fail(f"a bug in chaosharness, please report it: {error}", code=BUG)
        except ChaosharnessError as error:
            fail(str(error))
        except BrokenPipeError:
            sys.stderr.close()
            code = TROUBLE
        except Exception as error:
            if "CHAOSHARNESS_TRACEBACK" in os.environ:
                raise
            fail(
                f"a bug in chaosharness, please report it: {type(error).__name__}: {error}\n"
                "Set CHAOSHARNESS_TRACEBACK=1 to see where.",
                code=BUG,
            )
        sys.exit(code if isinstance(code, int) else HOLDS)


def fail(text: str, *, code: int = TROUBLE) -> NoReturn:
    """Print what is wrong, and leave."""
    say(f"chaosharness: {text}", err=True)
    sys.exit(code)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text, with plainer signs where the stream cannot hold those of a report."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(writable(text, encoding), err=err, nl=nl)


def put(text: str, *, nl: bool = True) -> None:
    """Print what becomes a file, letter for letter: in UTF-8 where the stream has less."""
    plain = writable(text, sys.stdout.encoding or "utf-8") == text
    click.echo(text if plain else text.encode(), nl=nl)


def writable(text: str, encoding: str) -> str:
    """Return text that an encoding can hold: a cp1252 pipe knows no arrows and no check marks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


_PLAIN: Final = str.maketrans(
    {"→": ">", "←": "<", "✗": "x", "✓": "+", "○": "o", "·": ".", "…": "...", "–": "-"}
)


class Unheard(io.TextIOBase):
    """Takes what the user's code prints during thousands of runs, and counts the lines."""

    def __init__(self) -> None:
        self.lines = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self.lines += text.count("\n")
        return len(text)


@click.group(cls=Doors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chaosharness")
def main() -> None:
    """Find the double charge before your customers do."""


@main.command()
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
        properties = _properties(system, without)
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


def _properties(system: System, without: tuple[str, ...]) -> Any:
    """Return what to judge: the system's claims or, where it claims nothing, the assumed ones."""
    from chaosharness.checkers import assumed

    if not system.properties:
        return assumed(system, without=without)
    if without:
        claimed = ", ".join(repr(one.name) for one in system.properties)
        raise click.UsageError(
            f"--without is for systems that claim nothing; {system.name!r} claims {claimed}"
        )
    return None


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
        say(to_text(found, width=_width(), color=color, redact=redact, file=file))
    say(summary(campaign, width=_width(), table=table))
    if files:
        say("Reports:")
        for one in files:
            say(f"  {one}")


def also(found: Counterexample, redact: tuple[str, ...]) -> str:
    """Name a property that is broken by a schedule whose story has been told."""
    from chaosharness.reporting import masked

    finding = masked(found, redact).findings[0]
    words = f"BROKEN too, by the same schedule as above: {found.property}"
    width = min(_width(), 80) - 4
    lines = [words, *wrap(finding.summary, width, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join((*lines, ""))


def _width() -> int:
    """Return the columns of the terminal; where nobody watches, those that reports have."""
    return get_terminal_size().columns if sys.stdout.isatty() else 80


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
                description=f"{_count(progress.faults, 'fault')}{broken}",
            )

        yield show


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", metavar="TARGET", help="Where the system is, if the file's is wrong.")
@click.option("--twice", is_flag=True, help="Also in another process, with another hash seed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the same for the same run.")
def replay(file: Path, target: str | None, twice: bool, as_json: bool) -> int:
    """Run the counterexample in FILE again, and say what became of it.

    The verdict is fixed, failing, different property, stale (a fault found no site) or
    nondeterministic. Only `fixed` exits with 0.
    """
    from chaosharness.search.determinism import check_determinism
    from chaosharness.search.regressions import load
    from chaosharness.search.replay import replay as replay_again
    from chaosharness.search.target import load_target

    found = load(file)
    where = target or found.target
    with redirect_stdout(Unheard() if as_json else sys.stdout):
        system = load_target(where) if where else None
        outcome = replay_again(found, system, properties=_judges(system))
    if twice and system is not None and outcome.run is not None:
        with redirect_stdout(Unheard()):
            items = outcome.run.items
            check_determinism(system, items=items, schedule=found.schedule, target=where)
    if as_json:
        put(json.dumps(outcome.to_json(), indent=1, ensure_ascii=False, sort_keys=True))
    else:
        digest = outcome.run.digest() if outcome.run is not None else "none"
        say(f"{file}: {outcome}\nhistory {digest}")
    return {"fixed": HOLDS, "failing": VIOLATED, "different property": VIOLATED}.get(
        outcome.verdict, UNKNOWN
    )


def _judges(system: System | None) -> Any:
    """Return what a counterexample may be judged by: the claims, else the assumed properties."""
    if system is None or system.properties:
        return None
    return _properties(system, ())


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--target", metavar="TARGET", help="Where the system is, if the file's is wrong.")
@click.option("--redact", multiple=True, metavar="FIELD", help="Mask this field.")
def report(file: Path, form: str, target: str | None, redact: tuple[str, ...]) -> None:
    """Print the counterexample in FILE as a report: it is run again for its history."""
    import attrs

    from chaosharness import reporting
    from chaosharness.search.regressions import load
    from chaosharness.search.replay import replay as replay_again
    from chaosharness.search.target import load_target

    found = load(file)
    where = target or found.target
    system = load_target(where) if where else None
    with redirect_stdout(Unheard()):
        outcome = replay_again(found, system, properties=_judges(system))
    if outcome.run is not None:
        passing = outcome.run.calm() if found.schedule.faults else None
        found = attrs.evolve(
            found,
            history=outcome.run.history,
            findings=outcome.findings or found.findings,
            passing=passing,
            target=where,
        )
    match form:
        case "text":
            text = reporting.to_text(found, redact=redact, file=str(file))
        case "markdown":
            text = reporting.to_markdown(found, redact=redact, file=str(file))
        case "html":
            text = reporting.to_html(found, redact=redact, file=str(file))
        case "json":
            text = reporting.to_json(found, redact=redact)
        case _:
            text = reporting.to_pytest(found, redact=redact)
    (say if form == "text" else put)(text, nl=False)
    if outcome.verdict != "failing":
        say(f"chaosharness: today this replay is {outcome}", err=True)


@main.command()
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sites(target: str, as_json: bool) -> None:
    """List where faults may strike in the calm run of TARGET, and which faults."""
    from chaosharness.search.sites import candidates
    from chaosharness.search.target import load_target

    system = load_target(target)
    calm = system.calm()
    way = {key: place for place, key in enumerate(calm.reached)}
    found: dict[str, list[str]] = {}
    for fault in sorted(candidates(calm), key=lambda fault: _on_the_way(fault.site, way)):
        kinds = found.setdefault(str(fault.site), [])
        if fault.kind not in kinds:
            kinds.append(fault.kind)
    if as_json:
        put(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for site, kinds in found.items():
        say(f"{site.removesuffix(' for item 0')}\n    {', '.join(kinds)}")
    total = _count(sum(len(kinds) for kinds in found.values()), "fault")
    say(f"{_count(len(found), 'site')}, {total} in the calm run of {system.name!r}")


def _on_the_way(site: Site, way: dict[tuple[str, int], int]) -> tuple[int, int, bool]:
    """Order sites as the run gets there: what is before an operation, then what is after it."""
    place = way.get((site.operation, site.entity), len(way))
    return place, site.attempt, site.phase == "after"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
