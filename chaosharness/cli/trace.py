"""`chaosharness trace` and `read-trace`: runs for tracing tools, and their traces as runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from chaosharness.cli.configured import target_argument
from chaosharness.cli.screen import put, say, unheard

if TYPE_CHECKING:
    from chaosharness.system import Run

FORMATS: Final = ("otlp", "jaeger", "zipkin")


@click.command()
@click.argument("what", metavar="FILE|TARGET")
@click.option("--format", "form", type=click.Choice(FORMATS), default="otlp", show_default=True)
def trace(what: str, form: str) -> None:
    """Print a run as spans: of the counterexample in FILE, or of TARGET without any fault.

    One trace for each workload item. Exits with 0.

    \b
    chaosharness trace reports/shop-never-charged-twice.json --format jaeger > trace.json
    chaosharness trace shop:system > calm.json
    """
    from chaosharness.traces import to_trace

    run = _run_of(what)
    put(to_trace(run.history, form, system=run.system.name))  # type: ignore[arg-type]


def _run_of(what: str) -> Run:
    """Return the run of a counterexample's file, or the calm run of a target."""
    from chaosharness.counterexample import items_for
    from chaosharness.search.regressions import load
    from chaosharness.search.target import full_target, load_target

    with unheard():
        if not (what.endswith(".json") and Path(what).exists()):
            return load_target(full_target(what)).calm()
        found = load(what)
        system = load_target(found.target)
        return system.run(items_for(system, found.items), found.schedule)


@click.command("read-trace")
@click.argument("file", metavar="TRACE", type=click.Path(path_type=Path))
@target_argument
@click.option("--item", metavar="ATTRIBUTE", help="Where root spans hold the item, in JSON.")
def read_trace(file: Path, target: str, item: str | None) -> None:
    """Read a production trace into a workload and a schedule for TARGET, and run that.

    TRACE is JSON of OTLP, Jaeger or Zipkin. What is read is a proposal: a trace says what somebody
    saw, and not why. Exits with 0 if every promise holds in that run, with 1 if one does not, with
    2 if something in the trace was not understood.

    \b
    chaosharness read-trace trace.json shop:system --item order
    """
    from chaosharness.errors import InvalidDefinition, PropertyViolated
    from chaosharness.schedule import code
    from chaosharness.search.target import full_target, load_target
    from chaosharness.traces import read_trace as read

    with unheard():
        system = load_target(full_target(target))
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "not a text"
        raise InvalidDefinition(f"{file} cannot be read: {words}") from None
    with unheard():
        reading = read(text, system, item=item)
        run = system.run(reading.items, reading.schedule)
    faults = ", ".join(map(code, reading.schedule))
    lines = ["items", *(f"  {one!r}" for one in reading.items), f"schedule\n  Schedule([{faults}])"]
    lines += ["not understood", *(f"  {one}" for one in reading.unread)] if reading.unread else []
    lines += ["no such site in that run", *map("  {}".format, run.unused)] if run.unused else []
    say("\n".join(lines))
    try:
        with unheard():
            run.check()
    except PropertyViolated as error:
        say(f"BROKEN: {error}")
        click.get_current_context().exit(1)
    say("this run keeps every promise")
    if reading.unread or run.unused:
        click.get_current_context().exit(2)
