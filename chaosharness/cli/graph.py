"""`chaosharness graph`: who reacts to what, which stands nowhere in the code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from chaosharness.cli.configured import target_argument
from chaosharness.cli.screen import count, put, say

if TYPE_CHECKING:
    from chaosharness.checkers.flow import EventGraph
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
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart.")
def graph(target: str, faults: int, mermaid: bool) -> None:
    """Print who reacts to what in TARGET, read from its runs.

    Circles, chains that are call chains in disguise, events that nobody consumes and events
    without an id are named below. Exits with 0, or with 1 where there is a circle.

    \b
    chaosharness graph shop:system
    chaosharness graph shop:system --mermaid > flow.mmd
    """
    from chaosharness.search.target import full_target, load_target

    target = full_target(target)
    system = load_target(target)
    found, runs = _graph_of(system, faults)
    if mermaid:
        put(found.mermaid())
        return
    say(found.text() or "no event was published, and no handler reacted to any")
    handlers, events = count(len(found.nodes("handler")), "handler"), len(found.nodes("event"))
    say(f"{handlers}, {count(events, 'event')}, seen in {count(runs, 'run')} of {system.name!r}")
    if found.cycles():
        click.get_current_context().exit(1)


def _graph_of(system: System, faults: int) -> tuple[EventGraph, int]:
    """Return what the calm run and those with faults have shown."""
    from chaosharness.checkers.reactions import event_graph
    from chaosharness.search.explore import explore
    from chaosharness.system.run import OBSERVERS

    found = event_graph(system.calm().history)
    runs = 1

    def see(run: Run) -> None:
        nonlocal found, runs
        found |= event_graph(run.history)
        runs += 1

    if faults:
        token = OBSERVERS.set((*OBSERVERS.get(), see))
        try:
            explore(system, properties=(), faults_max=faults, runs_max=RUNS_MAX)
        finally:
            OBSERVERS.reset(token)
    return found, runs
