"""The right order flow under every single fault: run once, judged by every claim."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaosharness import Campaign, explore
from models.order.right import GOOD, OUT_OF_STOCK, order_flow

Holds = Callable[[str], bool]


@pytest.fixture(scope="package")
def campaigns() -> list[Campaign]:
    """Return what came of every single fault, on an order that goes well and one that does not.

    Others, and two that are under way together, are tried in `tests/models`, slow.
    """
    return [
        explore(order_flow(examples=[order]), faults_max=1, runs_max=10_000)
        for order in (GOOD, OUT_OF_STOCK)
    ]


@pytest.fixture(scope="package")
def holds(campaigns: list[Campaign]) -> Holds:
    """Say whether the right order flow keeps a claim under every single fault.

    It must have been put to the test, and no single fault may have been left out.
    """

    def holds(claim: str) -> bool:
        standings = [one for each in campaigns for one in each.standings if one.name == claim]
        assert len(standings) == len(campaigns), f"nobody claims {claim!r}"
        assert any(one.tested for one in standings), f"{claim!r} was never put to the test"
        assert all(one.coverage.complete for one in campaigns)
        return all(one.result != "violated" for one in standings)

    return holds
