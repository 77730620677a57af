"""`chaosharness graph`: who reacts to what, which stands nowhere in the code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosharness.cli.configured import target_argument
from chaosharness.cli.screen import count, put, say, unheard
from chaosharness.cli.telling import refuse_unwritable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosharness.checkers.flow import EventGraph
    from chaosharness.orchestrators.shape import StepGraph
    from chaosharness.system import Run, System

RUNS_MAX = 400


@click.command()
@target_argument
@click.option(
    "--faults",
    type=click.IntRange(0, 2),
    default=1,
    show_default=True,
    help="Also look at runs with so many faults: what undoes things is seen there alone.",
)
@click.option(
    "--static",
    is_flag=True,
    help="Read subscriptions and the code behind them instead: nothing comes in.",
)
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart.")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it as a page of HTML to this file as well.",
)
def graph(target: str, faults: int, static: bool, mermaid: bool, page: Path | None) -> None:
    """Print who reacts to what in TARGET, read from its runs, and the steps of its workflows.

    Circles, chains that are call chains in disguise, events that nobody consumes and events
    without an id are named below. Exits with 0, or with 1 where a run went in a circle.

    \b
    chaosharness graph shop:system
    chaosharness graph shop:system --mermaid > flow.mmd
    chaosharness graph shop:system --static --html flow.html
    """
    from chaosharness.search.target import full_target, load_target
    from chaosharness.system.wiring import static_graph
    from chaosharness.system.wiring.shapes import step_graphs

    if page is not None:
        refuse_unwritable(page.parent)
    with unheard():
        system = load_target(full_target(target))
        if static:
            found, source = static_graph(system), "read from the code"
        else:
            found, runs = _graph_of(system, faults)
            source = f"seen in {count(runs, 'run')}"
        steps = [] if static else step_graphs(system)
    if page is not None:
        _write(page, system.name, found, source, steps)
    if mermaid:
        inner = (line for n, one in enumerate(steps, 1) for line in one.mermaid(f"w{n}_"))
        put("\n".join([found.mermaid(), *inner]))
        return
    say(found.text() or "no event was published, and no handler reacted to any")
    for one in steps:
        say(f"\n{one.text()}")
    if steps:
        say("")
    handlers, events = count(len(found.nodes("handler")), "handler"), len(found.nodes("event"))
    say(f"{handlers}, {count(events, 'event')}, {source} of {system.name!r}")
    if found.cycles():
        click.get_current_context().exit(1)


def _write(
    page: Path, name: str, found: EventGraph, source: str, steps: Sequence[StepGraph]
) -> None:
    """Write the page.

    Raises:
        click.ClickException: Nothing can be written there.
    """
    from chaosharness.reporting.formats.graph_page import graph_html

    try:
        page.write_text(graph_html(found, system=name, source=source, steps=steps), "utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {page}: {error.strerror}") from None


def _graph_of(system: System, faults: int) -> tuple[EventGraph, int]:
    """Return what the calm run and those with faults have shown; say meanwhile how far it is."""
    import attrs

    from chaosharness.checkers.reactions import event_graph
    from chaosharness.cli.run import after_each_run, progress_bar
    from chaosharness.search.explore import explore
    from chaosharness.system.run import OBSERVERS

    found = event_graph(system.calm().history)
    found = attrs.evolve(found, critical=system.critical)
    runs = 1

    def see(run: Run) -> None:
        nonlocal found, runs
        found |= event_graph(run.history)
        runs += 1

    if faults:
        token = OBSERVERS.set((*OBSERVERS.get(), see))
        try:
            with progress_bar(quiet=False) as bar:
                told = after_each_run(bar)
                explore(
                    system,
                    properties=(),
                    faults_max=faults,
                    runs_max=RUNS_MAX,
                    on_progress=told,
                )
        finally:
            OBSERVERS.reset(token)
    return found, runs
