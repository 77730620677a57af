"""`chaosharness sites`: list where faults may strike in the calm run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from chaosharness.cli.configured import target_argument
from chaosharness.cli.screen import count, put, say, unheard

if TYPE_CHECKING:
    from chaosharness.faults import Fault
    from chaosharness.kernel.site import Site


@click.command()
@target_argument
@click.option("--service", metavar="NAME", help="Only sites of this service, or of the client.")
@click.option("--operation", metavar="TEXT", help="Only operations with this in their name.")
@click.option("--fault", "kind", metavar="KIND", help="Only where this fault may strike.")
@click.option("--item", type=int, metavar="N", help="Only sites of this item, from 1.")
@click.option("--each", is_flag=True, help="A line for each site, and not for each operation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: each site and its faults.")
def sites(
    target: str,
    service: str | None,
    operation: str | None,
    kind: str | None,
    item: int | None,
    each: bool,
    as_json: bool,
) -> None:
    """List where faults may strike in the calm run of TARGET, and which faults.

    \b
    chaosharness sites chaos_shop:shop
    chaosharness sites chaos_shop:shop --service payments --fault crash
    chaosharness sites chaos_shop:shop --operation bank.charge --each
    """
    from chaosharness.search.sites import candidates
    from chaosharness.search.target import full_target, load_target

    with unheard():
        system = load_target(full_target(target))
        calm = system.calm()
    way = {key: place for place, key in enumerate(calm.reached)}
    faults = [
        fault
        for fault in sorted(candidates(calm), key=lambda fault: _on_the_way(fault.site, way))
        if _is_meant(fault, service, operation, kind, item)
    ]
    found = _by_site(faults)
    if not found:
        every = (fault.site.operation for fault in candidates(calm))
        _refuse_slips(every, service, operation, kind)
        if item is not None and not 0 <= item <= len(calm.items):
            raise click.ClickException(
                f"there is no item {item}: the workload has {count(len(calm.items), 'item')}"
            )
    if as_json:
        put(json.dumps({str(site): kinds for site, kinds in found.items()}, indent=1))
        return
    lines = _each(found) if each else _by_operation(found)
    for head, kinds in lines:
        say(f"{head}\n    {kinds}")
    total = count(sum(len(kinds) for kinds in found.values()), "fault")
    say(f"{count(len(found), 'site')}, {total} in the calm run of {system.name!r}")


def _refuse_slips(
    operations: Iterable[str], service: str | None, operation: str | None, kind: str | None
) -> None:
    """Refuse a name that nothing has: with a slip in it nothing would be found.

    Args:
        operations: Those of all sites.
        service: What was asked for, as the others.

    Raises:
        click.ClickException: One of them is such.
    """
    from chaosharness.faults import KIND_BY_NAME

    there = [*operations]
    kinds = sorted(KIND_BY_NAME)
    services = sorted({_service_of(name) for name in there})
    if service is not None and service not in services:
        raise click.ClickException(f"no site is of {service!r}; some are of {', '.join(services)}")
    if kind is not None and kind.lower() not in kinds:
        raise click.ClickException(f"no fault is called {kind!r}; they are: {', '.join(kinds)}")
    if operation is not None and not any(operation in name for name in there):
        raise click.ClickException(f"no operation has {operation!r} in its name")


def _service_of(operation: str) -> str:
    return operation.partition("/")[0].partition(".")[0]


def _is_meant(
    fault: Fault, service: str | None, operation: str | None, kind: str | None, item: int | None
) -> bool:
    name = fault.site.operation
    return (
        (service is None or _service_of(name) == service)
        and (operation is None or operation in name)
        and (kind is None or fault.kind == kind.lower())
        and (item is None or fault.site.entity == item)
    )


def _by_site(faults: Iterable[Fault]) -> dict[Site, list[str]]:
    found: dict[Site, list[str]] = {}
    for fault in faults:
        kinds = found.setdefault(fault.site, [])
        if fault.kind not in kinds:
            kinds.append(fault.kind)
    return found


def _each(found: dict[Site, list[str]]) -> Iterator[tuple[str, str]]:
    for site, kinds in found.items():
        yield str(site).removesuffix(" for item 0"), ", ".join(kinds)


def _by_operation(found: dict[Site, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield each side of an operation once, with how many sites it has."""
    groups: dict[tuple[str, str, str], int] = {}
    for site, kinds in found.items():
        key = (site.phase, site.operation, ", ".join(kinds))
        groups[key] = groups.get(key, 0) + 1
    for (phase, operation, words), times in groups.items():
        yield f"{phase} {operation}{f'   ({times} sites)' if times > 1 else ''}", words


def _on_the_way(site: Site, way: dict[tuple[str, int], int]) -> tuple[int, int, bool]:
    """Order sites as the run gets there: what is before an operation, then what is after it."""
    place = way.get((site.operation, site.entity), len(way))
    return place, site.attempt, site.phase == "after"
