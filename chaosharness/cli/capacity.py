"""`chaosharness capacity`: what a load asks of an engine's store, and what an outage of it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from chaosharness.cli.screen import put, say

if TYPE_CHECKING:
    from chaosharness.capacity.load import Load, Outage
    from chaosharness.capacity.queueing import Measured

ABOVE_0 = click.FloatRange(0, min_open=True)


@click.command()
@click.option(
    "--rate", type=ABOVE_0, default=10_000.0, show_default=True, help="Workflows a second."
)
@click.option(
    "--steps",
    type=click.IntRange(1, 1_000),
    default=5,
    show_default=True,
    help="Steps of each, one after the other.",
)
@click.option(
    "--engine",
    default="temporal",
    show_default=True,
    help="Whose workflows are simulated: temporal, conductor, airflow, dbos.",
)
@click.option(
    "--latency-ms",
    type=ABOVE_0,
    default=5.0,
    show_default=True,
    help="How long the store takes for a transaction: measure yours.",
)
@click.option(
    "--step-ms", type=ABOVE_0, default=50.0, show_default=True, help="How long a step takes."
)
@click.option("--shards", type=click.IntRange(1), help="Of the store; by default as advised.")
@click.option(
    "--outage-s",
    type=ABOVE_0,
    multiple=True,
    default=(1.0, 5.0, 20.0),
    show_default="1, 5, 20",
    help="How long the store is away; may be repeated.",
)
@click.option(
    "--timeout-s",
    type=ABOVE_0,
    multiple=True,
    default=(3.0, 60.0),
    show_default="3, 60",
    help="When a step without a report begins again.",
)
@click.option(
    "--workflows",
    type=click.IntRange(100, 1_000_000),
    default=4_000,
    show_default=True,
    help="How many are simulated, about.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of their arrivals.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def capacity(
    rate: float, steps: int, engine: str, latency_ms: float, step_ms: float, shards: int | None,
    outage_s: tuple[float, ...], timeout_s: tuple[float, ...], workflows: int, seed: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Work out what workflows cost by engine, and simulate one of them.

    Transactions and writes of one workflow and of a second; shards for a latency; utilisation
    and times; what an outage of the store duplicates, loses and delays. Formulas stand beside
    what is simulated. Latencies are what you say: nothing here is a prediction of a product.

    \b
    chaosharness capacity --rate 10000 --steps 5
    chaosharness capacity --engine dbos --latency-ms 2 --outage-s 30
    """
    from chaosharness.capacity.costs import engine_of
    from chaosharness.capacity.load import Load, Outage
    from chaosharness.capacity.queueing import simulate

    load = Load(engine=engine_of(engine), rate=rate, steps=steps, latency_ms=latency_ms,
                step_ms=step_ms)  # fmt: skip
    shards = shards or load.shards_advised
    seen = simulate(load, shards, workflows=workflows, seed=seed)
    outages = [Outage(seconds=away, timeout_s=limit) for away in outage_s for limit in timeout_s]
    after = [
        (outage, simulate(load, shards, outage=outage, workflows=workflows, seed=seed))
        for outage in outages
    ]
    if as_json:
        put(json.dumps(_as_json(load, shards, seen, after), indent=1))
    else:
        _say(load, shards, seen, after)


def _say(load: Load, shards: int, seen: Measured, after: list[tuple[Outage, Measured]]) -> None:
    from chaosharness.capacity.telling import costs_table, load_text, outage_table, shards_text

    say(
        "\n\n".join(
            (
                load_text(load),
                costs_table(load),
                shards_text(load, shards, seen),
                outage_table(load, shards, after),
            )
        )
    )


def _as_json(
    load: Load, shards: int, seen: Measured, after: list[tuple[Outage, Measured]]
) -> dict[str, Any]:
    import attrs

    from chaosharness.capacity.costs import ENGINES

    return {
        "load": {"engine": load.engine.name, "rate": load.rate, "steps": load.steps,
                 "latency_ms": load.latency_ms, "step_ms": load.step_ms},
        "costs": {
            one.name: {
                "transactions": one.transactions.of(load.steps),
                "writes": None if one.writes is None else one.writes.of(load.steps),
                "source": one.source,
            }
            for one in ENGINES
        },
        "shards": {"min": load.shards_min, "advised": load.shards_advised, "used": shards},
        "formulas": {"utilisation": load.utilisation(shards), "mean_ms": load.mean_ms(shards),
                     "in_flight": load.in_flight},
        "simulated": attrs.asdict(seen),
        "outages": [attrs.asdict(outage) | attrs.asdict(one) for outage, one in after],
    }  # fmt: skip
