"""`chaosharness guarantees`: does a system need what its brokers promise?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click

from chaosharness.cli.claims import to_judge
from chaosharness.cli.configured import target_argument
from chaosharness.cli.doors import HOLDS, UNKNOWN, VIOLATED
from chaosharness.cli.screen import put, say, unheard

if TYPE_CHECKING:
    from chaosharness.search.guarantees import Tried

_EXIT: Final = {"holds": HOLDS, "violated": VIOLATED, "unknown": UNKNOWN}
_SAID: Final = {"holds": "HOLDS", "violated": "BROKEN", "unknown": "UNKNOWN"}


@click.command()
@target_argument
@click.option(
    "--faults", type=click.IntRange(1), default=1, show_default=True, metavar="K", help="At most."
)
@click.option(
    "--budget",
    type=click.IntRange(2),
    default=2_000,
    show_default=True,
    metavar="N",
    help="Runs for each, at most.",
)
@click.option("--without", multiple=True, metavar="NAME", help="Leave out an assumed property.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def guarantees(
    target: str, faults: int, budget: int, without: tuple[str, ...], as_json: bool
) -> None:
    """Try TARGET as declared, and on brokers that promise less: SQS standard instead of FIFO.

    Exits with 0 if it holds on all of them, with 1 if it fails on one, with 2 if that is not known.

    \b
    chaosharness guarantees shop:system
    chaosharness run shop:system.weaker.standard
    """
    from chaosharness.search.guarantees import guarantees as tried_on
    from chaosharness.search.target import full_target, load_target

    with unheard():
        target = full_target(target)
        system = load_target(target)
        found = tried_on(
            system,
            judged=lambda one: to_judge(one, without),
            faults_max=faults,
            runs_max=budget,
            target=target,
        )
    if as_json:
        put(json.dumps([_row(one, found[0]) for one in found], indent=1))
    else:
        say("\n".join(_lines(system.name, target, found)))
    ends = {_EXIT[one.campaign.result] for one in found}
    click.get_current_context().exit(VIOLATED if VIOLATED in ends else max(ends))


def _row(tried: Tried, declared: Tried) -> dict[str, object]:
    from chaosharness.search.guarantees import needed, sentence

    way, campaign = tried.way, tried.campaign
    return {
        "name": "" if way is None else way.name,
        "on": tried.words,
        "brokers": [] if way is None else [*way.parts],
        "result": campaign.result,
        "runs": campaign.runs,
        "broken": [one.property for one in campaign.counterexamples],
        "schedules": [repr(one.schedule) for one in campaign.counterexamples],
        "reasons": [*campaign.reasons],
        "needed": None if way is None else needed(tried, declared),
        "sentence": sentence(tried, declared),
        "target": campaign.target,
    }


def _lines(name: str, target: str, found: list[Tried]) -> list[str]:
    """Return one line for each, then what follows from it, and how to see more."""
    from chaosharness.search.guarantees import sentence

    declared = found[0]
    width = max(len(one.words) for one in found)
    lines = []
    for one in found:
        campaign = one.campaign
        lines.append(
            f"{one.words:{width}}  {_SAID[campaign.result]:7}  {campaign.runs:,} runs".rstrip()
        )
        for each in campaign.counterexamples:
            lines += [f"  {each.property}", f"  {each.schedule!r}"]
        lines += [f"  {reason}" for reason in campaign.reasons]
    lines.append("")
    if len(found) == 1:
        lines.append(f"{name} {sentence(declared, declared)}; its brokers cannot promise less.")
        return lines
    for one in found[1:]:
        assert one.way is not None
        lines.append(f"{name} {sentence(one, declared)}.")
        for part, row in zip(one.way.parts, one.way.rows, strict=True):
            lines.append(f"  {part}: {row.means} ({row.source})")
        lines.append(f"  chaosharness run {target}.weaker.{one.way.name}")
    return lines
