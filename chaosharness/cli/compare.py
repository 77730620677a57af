"""`chaosharness compare`: systems side by side, by what they survive and what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosharness.cli.screen import put, say, unheard
from chaosharness.cli.telling import refuse_unwritable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosharness.kernel.history import History
    from chaosharness.search.comparison import Compared, Survival

COSTS = ("items", "published", "delivered", "commits", "calls", "latency_ms")
FLOW = ("handlers", "events", "senders", "busiest", "unseen", "circles")
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
@click.option(
    "--between",
    nargs=2,
    metavar="EFFECT EFFECT",
    help="Where would a new step between these go? By default the first and last of all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it as a page of HTML to this file as well.",
)
def compare(
    targets: tuple[str, ...],
    budget: int,
    between: tuple[str, str] | None,
    as_json: bool,
    page: Path | None,
) -> None:
    """Run each TARGET calm and with every single fault, and print them side by side.

    Each is judged by its own claims. Exits with 0 if all survive, with 1 if a claim of one broke,
    with 2 if the budget ran out or a claim was never tested.

    \b
    chaosharness compare shop:choreography shop:orchestration
    """
    import attrs

    from chaosharness.cli.run import after_each_run, progress_bar
    from chaosharness.search.comparison import compared, ends_of
    from chaosharness.search.target import full_target, load_target

    if page is not None:
        refuse_unwritable(page.parent)
    with unheard():
        systems = [load_target(full_target(target)) for target in targets]
        calm = [system.calm().history for system in systems]
        if between is not None:
            _check_effects(between, calm)
        between = between or ends_of(calm)
        with progress_bar(quiet=as_json) as bar:
            told = after_each_run(bar)
            found = [
                compared(system, runs_max=budget, between=between, on_progress=told)
                for system in systems
            ]
    if page is not None:
        _write(page, targets, found)
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


def _check_effects(between: tuple[str, str], calm: Sequence[History]) -> None:
    """Refuse an effect that no calm run has: with a slip in its name nothing would be found.

    Raises:
        click.BadParameter: Names it, and those that there are.
    """
    from chaosharness.search.comparison import effects_of

    known = {name: None for history in calm for name in effects_of(history)}
    for name in between:
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "they have no effects"
            raise click.BadParameter(
                f"no calm run of these systems has an effect {name!r}; {there}",
                param_hint="'--between'",
            )


def _write(page: Path, targets: Sequence[str], found: Sequence[Compared]) -> None:
    """Write the page.

    Raises:
        click.ClickException: Nothing can be written there.
    """
    from chaosharness.reporting.formats.comparison_page import Column, comparison_html

    columns = [
        Column(
            name=one.system,
            target=target,
            outcome=one.outcome,
            claims=one.claims,
            untested=one.untested,
            unproved=one.unproved,
            survival={
                kind: (each.outcome, _cell(each), [(b.claim, b.schedule) for b in each.broken])
                for kind, each in one.survival.items()
            },
            costs={name: getattr(one.costs, name) for name in COSTS},
            flow={name: str(getattr(one.flow, name)) or "-" for name in FLOW},
            way=one.new_step.way if one.new_step else (),
            services=one.new_step.services if one.new_step else (),
        )
        for target, one in zip(targets, found, strict=True)
    ]
    step = found[0].new_step
    between = (step.after, step.before) if step else None
    try:
        page.write_text(comparison_html(columns, between=between), "utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {page}: {error.strerror}") from None


def _table(found: Sequence[Compared]) -> list[str]:
    """Return rows of the same width: kinds that can strike somewhere, then costs, then the flow."""
    rows = [["", *(f"[{n}]" for n in range(1, len(found) + 1))]]
    for kind in found[0].survival:
        if any(one.survival[kind].outcome != "nowhere" for one in found):
            rows.append([kind, *(_cell(one.survival[kind]) for one in found)])
    rows.append(["claims judged", *(str(one.claims) for one in found)])
    for name in COSTS:
        rows.append([name, *(f"{getattr(one.costs, name):,}" for one in found)])
    for name in FLOW:
        rows.append([name, *(str(getattr(one.flow, name)) or "-" for one in found)])
    if any(one.new_step is not None for one in found):
        steps = (one.new_step for one in found)
        rows.append(
            ["a new step", *(" or ".join(one.services) or "-" if one else "-" for one in steps)]
        )
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
    step = found[0].new_step
    if step is not None:
        lines += [
            "",
            f"a new step: who must change for one that comes after {step.after} and before ",
        ]
        lines[-1] += f"{step.before}"
    if len({one.costs.items for one in found}) > 1:
        lines += ["", "the workloads differ in size: costs are not comparable"]
    return lines
