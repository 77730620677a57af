"""`chaosharness replay`: run a counterexample again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from chaosharness.cli.claims import judges
from chaosharness.cli.doors import HOLDS, UNKNOWN, VIOLATED
from chaosharness.cli.screen import Unheard, put, say, unheard


@click.command()
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
    from chaosharness.search.target import full_target, load_target

    found = load(file)
    with unheard(aloud=not as_json) as held, _once(held):
        where = full_target(target) if target else found.target
        system = load_target(where) if where else None
        outcome = replay_again(found, system, properties=judges(system), target=where)
    if twice and system is not None and outcome.run is not None:
        with unheard():
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


@contextmanager
def _once(held: Unheard) -> Iterator[None]:
    """Show what the first run says: it is made again to be compared, and beside calm ones."""
    from chaosharness.system.run import OBSERVERS

    def seen(run: object) -> None:
        held.aloud = False

    token = OBSERVERS.set((*OBSERVERS.get(), seen))
    try:
        yield
    finally:
        OBSERVERS.reset(token)
