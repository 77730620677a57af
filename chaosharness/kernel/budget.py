"""How much a run may use, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs

from chaosharness.kernel import allowed
from chaosharness.kernel.history import RawEvent
from chaosharness.kernel.rest import RanOn

Verdict = Literal["quiet", "stuck", "budget", "spinning"]

FOR_EVER: Final = "waits for something that can never come"
"""How the reason ends where a run is stuck since nothing more can happen: it is over."""


@attrs.frozen(kw_only=True)
class Budget:
    """How much one run may use before it is called off with a verdict.

    Attributes:
        events_max: Events in the history.
        chaos_ms: Virtual time after which faults stop and calm begins, quiet or not.
        calm_ms: Virtual time the system then has to become quiet.
        deliveries_max: Deliveries of one message to one consumer group or queue. Once a fault has
            struck, so many end the chaos, and as many more the run.
        hops_max: Messages in a row, each caused by the one before (an event cycle). Likewise once a
            fault has struck.
        steps_max: Ports that one handler run may pass without virtual time moving.
        reads_max: How often clocks may be read without virtual time moving.
        decisions_max: Decisions of an orchestrator for one workload item within an hour of virtual
            time: those of a workflow, of its children, and of the runs that follow it.
    """

    events_max: int = attrs.field(default=100_000, validator=allowed.whole(1))
    chaos_ms: int = attrs.field(default=7_200_000, validator=allowed.whole(1))
    calm_ms: int = attrs.field(default=86_400_000, validator=allowed.whole(1))
    deliveries_max: int = attrs.field(default=200, validator=allowed.whole(1))
    hops_max: int = attrs.field(default=100, validator=allowed.whole(1))
    steps_max: int = attrs.field(default=5_000, validator=allowed.whole(1))
    reads_max: int = attrs.field(default=200_000, validator=allowed.whole(1))
    decisions_max: int = attrs.field(default=1_000, validator=allowed.whole(1))


@attrs.frozen
class Ending:
    """How a run ended.

    Attributes:
        verdict: `quiet` is the good one. `stuck`: somebody waits for what can never
            come. `budget`: it would have gone on. `spinning`: code that reaches no port.
        reason: One sentence that names the culprit, empty when quiet.
        ran_on: Loops that were not at rest when a quiet run ended: their horizon was over.
    """

    verdict: Verdict
    reason: str = ""
    ran_on: tuple[RanOn, ...] = ()


ON_PURPOSE: Final = (
    ". If that is meant to go on for ever (a heartbeat, a lease that is renewed), begin the loop "
    "with background=True"
)


AGAIN_AND_AGAIN: Final = 3


def never_quiet(calm_ms: int, raw: Sequence[RawEvent]) -> str:
    """Say that a run did not come to rest in its calm, and who kept it going."""
    return f"not quiet after {calm_ms / 1000:,.0f} s of calm; last active: {_busiest(raw)}"


def too_many_events(budget: Budget, raw: Sequence[RawEvent]) -> str:
    """Say that a run spent its events, and on what."""
    return f"more than {budget.events_max:,} events; most active: {_busiest(raw)}"


def _busiest(raw: Sequence[RawEvent]) -> str:
    """Name the operation seen most often among the last events."""
    counts: dict[str, int] = {}
    loops: set[str] = set()
    for event in raw[-1000:]:
        if name := event[3] or event[2]:
            counts[name] = counts.get(name, 0) + 1
            if not event[4] and "/" in name:
                loops.add(name)  # nobody's work: that of a loop
    name = max(counts, key=lambda name: (counts[name], name), default="nothing")
    return name + (_failing(raw) or (ON_PURPOSE if name in loops else ""))


def _failing(raw: Sequence[RawEvent]) -> str:
    """Name what failed with one error again and again among the last events: that is why."""
    counts: dict[tuple[str, str, str], int] = {}
    for _, kind, _, operation, _, _, _, data in raw[-1000:]:
        if kind == "raised" and data.get("error"):
            what = (operation.partition("/")[0], str(data["error"]), str(data.get("line", "")))
            counts[what] = counts.get(what, 0) + 1
    if not counts or max(counts.values()) < AGAIN_AND_AGAIN:
        return ""
    operation, error, line = max(counts, key=lambda what: (counts[what], what))
    where = f" at {line}" if line else ""
    return f"; {operation} raises {error}{where}, again and again"
