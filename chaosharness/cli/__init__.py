"""The command line: parse, call, print. Exit codes are part of the contract.

0 it holds · 1 it does not · 2 unknown (the budget ran out, or a claim was never tested)
· 3 what was asked for cannot be done · 4 a bug of ours.
"""

from __future__ import annotations

import click

from chaosharness import __version__
from chaosharness.cli import (
    capacity,
    compare,
    graph,
    guarantees,
    replay,
    report,
    run,
    sites,
    soak,
    trace,
)
from chaosharness.cli.configured import defaults
from chaosharness.cli.doors import TROUBLE, Doors, leave


@click.group(cls=Doors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chaosharness")
@click.pass_context
def main(context: click.Context) -> None:
    """Find the double charge before your customers do."""
    context.default_map = defaults()


def process() -> None:
    """Be the command as a process: its exit code is ours, whatever the code under test does."""
    try:
        main()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else TROUBLE)


COMMANDS = (
    run.run,
    soak.soak,
    replay.replay,
    report.report,
    sites.sites,
    graph.graph,
    capacity.capacity,
    compare.compare,
    guarantees.guarantees,
    trace.trace,
    trace.read_trace,
)

for command in COMMANDS:
    main.add_command(command)
