"""`chaosharness sites`: list where faults may strike in the calm run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from chaosharness.cli.screen import count, put, say

if TYPE_CHECKING:
    from chaosharness.kernel.site import Site


@click.command()
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
    total = count(sum(len(kinds) for kinds in found.values()), "fault")
    say(f"{count(len(found), 'site')}, {total} in the calm run of {system.name!r}")


def _on_the_way(site: Site, way: dict[tuple[str, int], int]) -> tuple[int, int, bool]:
    """Order sites as the run gets there: what is before an operation, then what is after it."""
    place = way.get((site.operation, site.entity), len(way))
    return place, site.attempt, site.phase == "after"
