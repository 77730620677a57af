"""Workflows that go round by their timers, and come back to the same place in the same state.

One that sleeps for an hour, and again, and knows the same each time, does so for ever: a run is
over where nothing else is to come. Where each round has activities, they are gone through a hundred
times first: what they do may add up to something.

*Not modelled*: rounds of a workflow that has read the time or a random number in them, that is in
the midst of a `for`, whose state cannot be compared or is another each time, or that has children:
such workflows are run on to the end of the calm. A number that an activity keeps, and that ends the
loop after more than a hundred rounds, is not waited for.
"""

from collections.abc import Callable, Hashable
from typing import Any, Final

import attrs

from chaosharness.kernel.world import World
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["Resting", "Rounds"]

ALIKE: Final = 3
"""So many rounds are compared of a workflow that does nothing in them: itself is all there is."""
ALIKE_AT_WORK: Final = 100
"""And of one that does something."""

BARE: Final = frozenset(
    {
        *("WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"),
        *("WORKFLOW_TASK_TIMED_OUT", "TIMER_STARTED", "TIMER_FIRED"),
    }
)
WORK: Final = frozenset(
    {
        *("ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"),
        *("ACTIVITY_TASK_FAILED", "ACTIVITY_TASK_TIMED_OUT", "MARKER_RECORDED"),
    }
)
"""What there may be in a round; anything else has come from outside, or goes on elsewhere."""

TOLD: Final = ("activityType", "result", "failure", "startToFireTimeout")
"""What must be the same in each round, of its events."""

Look = Callable[[Run], Hashable]
"""Returns the state in which a workflow sleeps; None where that cannot be compared."""


@attrs.define
class _Known:
    """What is known of the rounds of one workflow."""

    timers: Hashable = None
    at: int = 0  # how many of its events belong to rounds before
    state: Hashable = None
    events: tuple[Hashable, ...] = ()
    alike: int = 0
    works: bool = False

    @property
    def is_endless(self) -> bool:
        return self.alike >= (ALIKE_AT_WORK if self.works else ALIKE)


@attrs.frozen(eq=False)
class Resting:
    """What the next timer of an engine waits for, where it changes nothing: see `kernel.rest`."""

    world: World
    incarnation: Any
    delay_ms: int
    stirred: int
    steady: bool = False  # each round is gone through, as long as anything else goes on

    @property
    def rest_at(self) -> int:
        """At which effects of the run it is at rest: whatever else has changed, it sees none."""
        return self.world.effects


class Rounds:
    """Who goes round, of the workflows of one run of the system."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._known: dict[str, _Known] = {}

    def goes_round(self, run: Run, now_ms: int) -> bool:
        """Say whether a workflow that sleeps goes round for ever, as far as can be told."""
        known = self._known.setdefault(run.run_id, _Known())
        timers = tuple(sorted((one.id, one.due_ms) for one in run.timers.values()))
        if known.timers != timers:
            known.timers = timers
            self._came_by(known, run, now_ms)
        return known.is_endless

    def has_gone_round(self, run: Run) -> bool:
        """Whether a workflow was seen to go round for ever."""
        known = self._known.get(run.run_id)
        return known is not None and known.is_endless

    def is_bare(self, run: Run) -> bool:
        """Whether a workflow goes round and does nothing."""
        known = self._known.get(run.run_id)
        return known is not None and known.is_endless and not known.works

    def _came_by(self, known: _Known, run: Run, now_ms: int) -> None:
        """Compare a round with the one before."""
        first = not known.at
        new, known.at = run.events[known.at :], len(run.events)
        kinds = {_kind(event) for event in new}
        if first or not kinds <= BARE | WORK or "TIMER_FIRED" not in kinds:
            known.alike, known.state, known.events = 0, None, ()
            return
        known.works = not kinds <= BARE
        events = tuple(_told(event) for event in new)
        state = self._look(run)
        if state is not None:
            state = (state, *sorted(one.due_ms - now_ms for one in run.timers.values()))
        alike = state is not None and state == known.state and events == known.events
        known.alike = known.alike + 1 if alike else 0
        known.state, known.events = state, events


def _kind(event: Any) -> str:
    return str(event["eventType"]).removeprefix("EVENT_TYPE_")


def _told(event: Any) -> Hashable:
    attributes: dict[str, Any] = next(
        (one for name, one in event.items() if name.endswith("Attributes")), {}
    )
    return _kind(event), *(repr(attributes[name]) for name in TOLD if name in attributes)
