"""`chaosharness compare`: systems side by side, by what they survive and what they cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from chaosharness.cli.screen import put, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosharness.search.comparison import Compared, Survival

ENDS = {"survives": 0, "broken": 1, "unknown": 2}


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--budget",
    type=click.IntRange(2),
    default=1_000,
    show_default=True,
    help="Runs for each kind of fault of each system, at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(targets: tuple[str, ...], budget: int, as_json: bool) -> None:
    """Run each TARGET calm and with every single fault, and print them side by side.

    Each is judged by its own claims. Exits with 0 if all survive, with 1 if a claim of one broke,
    with 2 if the budget ran out or a claim was never tested.

    \b
    chaosharness compare shop:choreography shop:orchestration
    """
    import attrs

    from chaosharness.search.comparison import compared
    from chaosharness.search.target import full_target, load_target

    systems = [load_target(full_target(target)) for target in targets]
    found = [compared(system, runs_max=budget) for system in systems]
    if as_json:
        rows = [
            {"target": target, "outcome": one.outcome} | attrs.asdict(one)
            for target, one in zip(targets, found, strict=True)
        ]
        put(json.dumps(rows, indent=1))
    else:
        say("\n".join([*_table(found), *_remarks(targets, found)]))
    ends = {ENDS[one.outcome] for one in found}
    click.get_current_context().exit(1 if 1 in ends else max(ends))


def _table(found: Sequence[Compared]) -> list[str]:
    """Return rows of the same width: kinds that can strike somewhere, then costs, then the flow."""
    rows = [["", *(f"[{n}]" for n in range(1, len(found) + 1))]]
    for kind in found[0].survival:
        if any(one.survival[kind].outcome != "nowhere" for one in found):
            rows.append([kind, *(_cell(one.survival[kind]) for one in found)])
    rows.append(["claims judged", *(str(one.claims) for one in found)])
    for name in ("items", "published", "delivered", "commits", "calls", "latency_ms"):
        rows.append([name, *(f"{getattr(one.costs, name):,}" for one in found)])
    for name in ("handlers", "events", "senders", "busiest", "unseen", "circles"):
        rows.append([name, *(str(getattr(one.flow, name)) or "-" for one in found)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _cell(one: Survival) -> str:
    if one.outcome == "nowhere":
        return "-"
    if one.broken:
        return f"{len({each.claim for each in one.broken})} broken"
    if one.restless:
        return f"unknown, {one.restless:,} did not end"
    if one.complete:
        return f"survives {one.tried:,}"
    total = "?" if one.total is None else f"{one.total:,}"
    return f"unknown, {one.tried:,} of {total}"


def _remarks(targets: Sequence[str], found: Sequence[Compared]) -> list[str]:
    """Return who is who, what broke by what, and what was never tested."""
    lines = []
    for n, (target, one) in enumerate(zip(targets, found, strict=True), 1):
        lines += ["", f"[{n}] {one.system} ({target})"]
        for kind, survival in one.survival.items():
            lines += [f"{kind}: {each.claim}: {each.schedule}" for each in survival.broken]
        lines += [f"never tested: {claim}" for claim in one.untested]
        lines += [f"proves nothing: {one.unproved}"] if one.unproved else []
    if len({one.costs.items for one in found}) > 1:
        lines += ["", "the workloads differ in size: costs are not comparable"]
    return lines
