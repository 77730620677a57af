"""That the right models are right: every pair of faults, and 20,000 random schedules each.

    python -m benchmarks.certify                      # all of them: about half an hour
    python -m benchmarks.certify order                # those whose name begins so
    python -m benchmarks.certify order --random 0     # pairs only
    python -m benchmarks.certify order --faults 0     # random schedules only
    python -m benchmarks.certify --assumed            # with nothing claimed

Ends with 1 if any claim is broken, with 2 if one was never put to the test.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

import attrs

from benchmarks.measure import table
from chaosharness import Campaign, System, assumed, certify, explore
from models.hybrid import right as hybrid
from models.order import right as order
from models.order.events import Order
from models.saga import right as saga
from models.small import cashier, tickets, trip, wallet, watchers

RANDOM_FAULTS_MAX = 4
PAIRS_ITEMS_MAX = 1
"""Of the order flow: with two orders there are four times as many pairs."""

LAMPS = (Order("o1", "lamp", 500), Order("o2", "lamp", 500))


@attrs.frozen
class Subject:
    """A right model with a workload that is small enough for pairs."""

    name: str
    system: System

    @property
    def ways(self) -> tuple[str, ...]:
        """How it is certified: small ones in both ways."""
        if self.name.startswith("small"):
            return ("pairs", "random")
        return ("pairs",) if len(self.system.examples) <= PAIRS_ITEMS_MAX else ("random",)


def subjects() -> list[Subject]:
    """Return what is certified."""
    return [
        Subject("order: good", order.order_flow(examples=[order.GOOD])),
        Subject("order: out of stock", order.order_flow(examples=[order.OUT_OF_STOCK])),
        Subject("order: declined", order.order_flow(examples=[order.TOO_DEAR])),
        Subject("order: all three", order.order_flow(examples=order.ALL)),
        Subject("order: the last lamp", order.order_flow(examples=LAMPS)),
        Subject("saga: good", saga.order_saga(examples=[saga.GOOD])),
        Subject("saga: out of stock", saga.order_saga(examples=[saga.OUT_OF_STOCK])),
        Subject("saga: undeliverable", saga.order_saga(examples=[saga.UNDELIVERABLE])),
        Subject("saga: two", saga.order_saga()),
        Subject("hybrid: good", hybrid.order_hybrid()),
        Subject("hybrid: two", hybrid.order_hybrid(examples=[saga.GOOD, saga.UNDELIVERABLE])),
        Subject("small: cashier", cashier.cashier()),
        Subject("small: tickets", tickets.tickets()),
        Subject("small: trip", trip.trip()),
        Subject("small: wallet", wallet.wallet()),
        Subject("small: watchers", watchers.watchers()),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Certify, print a table, and say how it came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    parser.add_argument("--faults", type=int, default=2, help="exhaustively up to so many")
    parser.add_argument("--random", type=int, default=20_000, help="random schedules")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--assumed", action="store_true", help="claim nothing: judge by what is assumed only"
    )
    options = parser.parse_args(arguments)
    rows = [("model", "schedules", "broken", "untested", "CPU s", "runs/s")]
    campaigns: list[Campaign] = []
    for subject in subjects():
        if options.names and not subject.name.startswith(tuple(options.names)):
            continue
        properties = assumed(subject.system) if options.assumed else None
        begun = time.process_time()
        if options.faults and "pairs" in subject.ways:
            campaigns.append(certify(subject.system, faults=options.faults, properties=properties))
            rows.append(row(subject.name, campaigns[-1], time.process_time() - begun))
        begun = time.process_time()
        if options.random and "random" in subject.ways:
            campaigns.append(
                explore(
                    subject.system,
                    properties=properties,
                    mode="random",
                    faults_max=RANDOM_FAULTS_MAX,
                    runs_max=options.random + 1,  # and the calm one
                    seed=options.seed,
                )
            )
            rows.append(row(subject.name, campaigns[-1], time.process_time() - begun))
    table("No false alarm", rows)
    for campaign in campaigns:
        tell(campaign)
    if any(campaign.counterexamples for campaign in campaigns):
        return 1
    return 2 if never_tested(campaigns) else 0


def row(name: str, campaign: Campaign, seconds: float) -> tuple[str, ...]:
    """Return one line of the table."""
    done = "; ".join(
        [f"{one.tried:,} of {one.faults} faults" for one in campaign.coverage.levels if one.faults]
        or [f"{campaign.coverage.random:,} random"]
    )
    untested = sum(not one.tested for one in campaign.standings)
    return (
        name,
        done,
        str(len(campaign.counterexamples)),
        str(untested),
        f"{seconds:,.0f}",
        f"{campaign.runs / seconds:,.0f}",
    )


def tell(campaign: Campaign) -> None:
    """Print what was broken."""
    for found in campaign.counterexamples:
        print(f"{found.property}: {found.schedule!r}\n  {found.findings[0].summary}")
    for question in campaign.questions:
        print(f"question: {question}")
    for trouble in campaign.troubles:
        print(f"{trouble.verdict}: {trouble.reason} ({trouble.times} times): {trouble.schedule}")


def never_tested(campaigns: Sequence[Campaign]) -> set[str]:
    """Return the claims that no campaign put to the test."""
    claims = {one.name for campaign in campaigns for one in campaign.standings}
    tested = {one.name for campaign in campaigns for one in campaign.standings if one.tested}
    return claims - tested


if __name__ == "__main__":
    os.nice(10)
    raise SystemExit(main())
