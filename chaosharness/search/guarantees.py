"""Which guarantees of its brokers a system needs: it is tried as declared, and on less of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import attrs

from chaosharness.campaign import Campaign
from chaosharness.checkers import Property
from chaosharness.search.explore import explore
from chaosharness.system import System
from chaosharness.system.weaker import Way

DECLARED: Final = "as declared"
Needed = Literal["needed", "not needed", "unknown"]


@attrs.frozen(kw_only=True)
class Tried:
    """A system that was tried on one set of guarantees.

    Attributes:
        way: What is weaker; None as it is declared.
        campaign: What came of it.
    """

    way: Way | None
    campaign: Campaign

    @property
    def words(self) -> str:
        """What it ran on: `SQS standard`."""
        return DECLARED if self.way is None else self.way.words


def guarantees(
    system: System,
    *,
    judged: Callable[[System], Iterable[Property] | None] = lambda _: None,
    faults_max: int = 1,
    runs_max: int = 2_000,
    target: str = "",
) -> list[Tried]:
    """Try a system as it is declared, then on each way in which its brokers may promise less.

    Args:
        system: The system.
        judged: Returns what each is judged by: None for what `explore` does by default. Of one that
            may lose what it has confirmed, what comes of such a loss is judged by `assumed` too.
        faults_max: Faults in a schedule, at most.
        runs_max: Runs for each.
        target: Where the system is found, as `module:attribute`.

    Returns:
        As declared first; then each way, in the order of the brokers.
    """
    found = []
    for name in (None, *system.weaker):
        weaker = system if name is None else getattr(system.weaker, name)
        campaign = explore(
            weaker,
            properties=judged(weaker),
            faults_max=faults_max,
            runs_max=runs_max,
            target=target and (target if name is None else f"{target}.weaker.{name}"),
            stop_at_first=True,
        )
        way = None if name is None else system.weaker.ways[name]
        found.append(Tried(way=way, campaign=campaign))
    return found


def needed(tried: Tried, declared: Tried) -> Needed:
    """Say whether the system needs what is given up, by how it came out with it and without."""
    with_it, without = declared.campaign.result, tried.campaign.result
    if (with_it, without) == ("holds", "violated"):
        return "needed"
    return "not needed" if (with_it, without) == ("holds", "holds") else "unknown"


def is_the_same(tried: Tried, declared: Tried) -> bool:
    """Say whether nothing is given up: nobody asks for what the weaker one does not promise."""
    if tried.way is None or not all(row.strikes for row in tried.way.rows):
        return False
    ends = {one.campaign.result for one in (tried, declared)}
    with_it, without = (one.campaign.coverage.cells.keys() for one in (declared, tried))
    return ends == {"holds"} and with_it == without


def sentence(tried: Tried, declared: Tried) -> str:
    """Say what a system needs: `fails on SQS standard, holds on FIFO`."""
    if tried.way is None:
        words = {"holds": "holds", "violated": "fails", "unknown": "is not known to hold"}
        return f"{words[tried.campaign.result]} as declared"
    on, than = tried.way.words, tried.way.stronger
    match needed(tried, declared):
        case "needed":
            return f"fails on {on}, holds on {than}"
        case "not needed":
            if is_the_same(tried, declared):
                return f"is the same on {on}: nothing in it asks for {than}"
            return f"holds on {on} as well: it does not need {than}"
    if tried.campaign.result == "unknown":
        return f"is not known to hold on {on}"
    if tried.campaign.result == "holds":
        return f"holds on {on}"
    if declared.campaign.result == "violated":
        return f"fails on {on}, and with {than} too"
    return f"fails on {on}, and is not known to hold on {than}"
