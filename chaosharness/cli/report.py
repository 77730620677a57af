"""`chaosharness report`: print a counterexample in one of the formats."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from chaosharness.cli.claims import judges
from chaosharness.cli.screen import put, say, unheard
from chaosharness.cli.telling import say_slips

FORMATS: Final = ("text", "markdown", "html", "json", "pytest")


@click.command()
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
    from chaosharness.search.target import full_target, load_target

    found = load(file)
    with unheard():
        where = full_target(target) if target else found.target
        system = load_target(where) if where else None
        outcome = replay_again(found, system, properties=judges(system), target=where)
        if outcome.run is not None:
            again = outcome.run.system.seen_again(outcome.run)
            found = attrs.evolve(
                found,
                history=outcome.run.history,
                lines=again.lines,
                logged=again.logged,
                event_histories=outcome.run.event_histories,
                findings=outcome.findings or found.findings,
                passing=outcome.run.calm() if found.schedule.faults else None,
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
    say_slips([found], redact)
    if outcome.verdict != "failing":
        say(f"chaosharness: today this replay is {outcome}", err=True)
