"""When a run is over: whether the loops that sleep would ever change anything again.

A loop is *at rest* when it comes back to the same place in the same state, has read no clock
and changed nothing on the way round: then it would go round like this for ever. One that is
not at rest is run on, at its own pace, up to a *horizon*: past every timeout, lease and due
time that the run has shown.

All of this is taken from this run alone, and an end depends on whether two states are equal,
never on what they are: no address, no hash.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, Literal, Protocol

import attrs
import msgspec

from chaosharness.kernel.leap import WAKES_LEAP, counts_to
from chaosharness.kernel.spans import DAY_MS, ahead_in, ahead_of, look_through

Why = Literal[
    "reads a clock",
    "counts",
    "holds messages",
    "cannot be compared",
    "wakes too often",
    "sleeps past the calm",
]
"""Why a loop is run on: what it does between two sleeps; or that events, or the calm, ran out."""

WAKES_CLOCK: Final = 5
"""Wakes at least of a loop that reads a clock, where a duration or a due time was shown."""

WAKES_HOLDING: Final = 20
"""Wakes at least of a loop that holds what it has not settled, and of one that reads a clock
where no duration was shown."""

WAKES_COUNTING: Final = 100
"""Wakes of a loop whose state is another each time, or cannot be compared."""

WAKES_NAMED: Final = 1_000
"""Below it, a number that the code of such a loop names is worth so many wakes."""

LONG_MS: Final = 1_200_000
"""After this time without a change, `WAKES_HOLDING` wakes of such a loop are enough."""

COMMITS_MIN: Final = 8
"""Commits in a row, with nothing else happening, after which contents are compared."""

WAKES_GUESSED: Final = 2_000
"""Wakes at most for the sake of a duration that was only read off the code."""

LOOKS_MAX: Final = 4
"""Sleeps in a row whose states are compared, to tell whether a reader of clocks counts."""

ROW: Final = 8
"""Sleeps in a row at which a loop is still looked at once it has gone on for long enough: the first
after each power of two of its wakes."""

SEEN_MAX: Final = 1_000

READING: Final = frozenset({"read", "sleep", "wake", "rollback"})
"""Kinds of event that leave nothing behind for anybody."""

State = tuple[Hashable, bool]
"""What is comparable of sleeping code, and whether that is all there is."""


Place = tuple[Hashable, ...]
"""Which code sleeps, and where in it; what a `State` begins with. Nothing where that is unknown."""


class Looper(Protocol):
    """On whose behalf a loop runs: a `Scope`."""

    place: str
    clock: int
    reckons_ms: int
    incarnation: Any


class Clockwork(Protocol):
    """What the loops of a run share: its `World`."""

    now: int
    effects: int
    stirred: int
    idled: int
    shifted: int
    unlike: int
    raw: list[Any]
    rest: Rest


@attrs.frozen
class RanOn:
    """A loop that was not at rest when the run ended: its horizon was over.

    Attributes:
        place: Which loop, for example `relay.loop`.
        why: What kept it from rest.
        after_ms: For how long the run went on after the last change.
    """

    place: str
    why: Why
    after_ms: int

    def __str__(self) -> str:
        after_s = self.after_ms / 1000
        return f"{self.place} {self.why}: run on for {after_s:,.0f} s after the last change"


_BY_WAKES: Final = frozenset[Why]({"counts", "cannot be compared"})
"""Loops that are run on for so many wakes, and for nothing else."""


class Loop(msgspec.Struct, eq=False, weakref=True):
    """What repeats by itself: the main line of a scope, an asyncio task, a trio task.

    Attributes:
        effects: What `world.effects` was when it was woken last.
        real: The same, without what background loops did.
        clock: How often its scope had read a clock by then.
        rest_at: The effects at which its rounds are known to repeat, else -1.
        seen: The states it slept in and was woken from since the effects changed.
        wakes: How often it was woken since the real effects changed.
        slept_ms: Its longest sleep.
        woke_ms: When it was woken last.
        why: What kept it from rest at its last sleep.
        counts: Whether it was in another state at its last sleep, clocks aside.
        holds: Whether it held messages there.
        due_ms: The latest time ahead of the clock that it had in memory, in `look_ahead`.
        guessed_due_ms: The same, of numbers that may be something else.
        due_at: All of these.
        limit: A number to which it may be counting its rounds; 0 for none.
        rounds: How often it slept at the same place since then, where it was looked at each time.
        read_wakes: The wakes at which it was seen to have read a clock last.
        looks: How often it was looked at since the real effects changed.
        look_at: The wakes at which it is looked at again.
        sure: Whether all that it knows could be compared whenever it was.
        woke_at: How many events there were when it was woken last.
        stood: In which state it waited last to be woken by others, and at which effects.
        unlike: How often others had stood otherwise than before when it woke.
    """

    effects: int = -1
    real: int = -1
    clock: int = -1
    rest_at: int = -1
    seen: set[Hashable] = set()
    wakes: int = 0
    slept_ms: int = 0
    woke_ms: int = 0
    why: Why = "counts"
    counts: bool = False
    holds: bool = False
    due_ms: int = 0
    guessed_due_ms: int = 0
    due_at: tuple[int, ...] = ()
    limit: int = 0
    rounds: int = 0
    read_wakes: int = -ROW
    looks: int = 0
    look_at: int = 0
    sure: bool = True
    woke_at: int = 0
    stood: tuple[int, Hashable, int] | None = None
    unlike: int = 0
    _times: dict[Hashable, int] = {}
    _kin: dict[Hashable, list[tuple[Any, Loop]]] = {}

    def came_by(self, state: Any) -> None:
        """Count how often the loop slept at this place: a round may have several sleeps."""
        place = state[:2]
        self._times[place] = times = self._times.get(place, 0) + 1
        if times > self.rounds:
            self.rounds = times

    def is_amid_a_round(self) -> bool:
        """Say whether it has read a clock a few sleeps ago: a round may have several of them."""
        return self.why == "reads a clock" and self.wakes - self.read_wakes < ROW

    def is_left_alone(self, real: int, spot: Callable[[Any], Place] | None, at: Any) -> bool:
        """Say whether the loop need not be looked at: it has gone on for long enough as it is.

        Whatever it knows, the run may end (`Rest.spent`); another state could only say that
        it came to rest so late, and for that it is looked at now and then.

        Args:
            real: The real effects of the run.
            spot: Says at which place code sleeps, without a look at what it knows.
            at: Where `spot` has to look.
        """
        wakes = self.wakes
        if wakes < WAKES_COUNTING + ROW or self.real != real:
            return False
        if self.why not in _BY_WAKES or wakes - (1 << wakes.bit_length() - 1) < ROW:
            return False
        if self.limit and self.rounds < self.limit + WAKES_CLOCK:  # its rounds are still counted
            place = () if spot is None else spot(at)
            if not place:
                return False
            self.came_by(place)
        return True

    def child(self, code: Hashable, task: Any, ended: Callable[[Any], bool]) -> Loop:
        """Return the loop of a task that this one has started.

        A task that is made anew each time round carries on for its predecessor.
        """
        kin = self._kin.setdefault(code, [])
        for index, (former, loop) in enumerate(kin):
            if ended(former):
                kin[index] = (task, loop)
                return loop
        kin.append((task, loop := Loop()))
        return loop


class Wait:
    """One sleep of one loop: what an agenda entry is told to wait for.

    Args:
        world: The run.
        loop: Which loop.
        scope: On whose behalf it runs.
        delay_ms: How long it sleeps.
        look: Takes the fingerprint of the sleeping code, if need be.
        at: Where `look` has to look; None: nowhere, for code at work, whose run goes on anyway.
        holds: Whether the loop has in hand what it was given and has not settled.
        spot: Says at which place the sleeping code stands; None where only `look` can.

    Attributes:
        rest_at: The effects at which the loop is at rest in this sleep, else -1.
        delay_ms: How long it sleeps.
        stirred: How often anything but a loop at rest had gone on when it fell asleep.
        idled: How often that was a loop that only asks for the time: see `is_idle`.
        idle: Whether it sleeps for that alone.
        steady: Whether in its round no thread that it woke has come to wait in another state.
    """

    __slots__ = (
        "_asks",
        "_scope",
        "_state",
        "_world",
        "delay_ms",
        "idle",
        "idled",
        "loop",
        "rest_at",
        "steady",
        "stirred",
    )

    def __init__(
        self,
        world: Clockwork,
        loop: Loop,
        scope: Looper,
        delay_ms: int,
        look: Callable[[Any], State],
        at: Any,
        *,
        holds: bool = False,
        spot: Callable[[Any], Place] | None = None,
    ) -> None:
        self._world = world
        self._scope = scope
        self.delay_ms = delay_ms
        self._state: Hashable = None
        self.loop = loop
        self.rest_at = -1
        self.stirred = world.stirred
        self.idled = world.idled
        self.idle = self._asks = False
        self.steady = loop.unlike == world.unlike
        if delay_ms > loop.slept_ms:
            loop.slept_ms = delay_ms
        if at is None:
            loop.looks = LOOKS_MAX
            return
        effects = world.effects
        came_round = loop.effects == effects
        loop.holds = holds
        if came_round and scope.clock != loop.clock:
            self._asks = True
            loop.read_wakes = loop.wakes
            if loop.why != "reads a clock":
                loop.why = "reads a clock"
                loop.seen.clear()
            if loop.wakes >= WAKES_LEAP:
                world.rest.leaps = True
            if loop.wakes >= WAKES_CLOCK - 1:
                world.rest.look_ahead(world, loop, scope.reckons_ms, look, at)
        elif came_round and loop.is_amid_a_round():
            self._asks = True  # its clock is read at another sleep of the same round
        elif came_round and loop.rest_at == effects and not holds:
            self.rest_at = effects
        elif not holds and loop.is_left_alone(effects - world.rest.by_background, spot, at):
            return
        else:
            self._state, sure = look(at)
            if not came_round:
                return
            loop.counts = self._state not in loop.seen
            loop.came_by(self._state)
            if loop.wakes == WAKES_HOLDING and (loop.counts or not sure):
                loop.limit = counts_to(self._state, WAKES_NAMED)
            if loop.counts:
                loop.why = "holds messages" if holds else "counts"
            elif holds or not sure:
                loop.why = "holds messages" if holds else "cannot be compared"
                loop.counts = not sure
            else:
                self.rest_at = loop.rest_at = effects

    def woke(self) -> None:
        """Take note that the sleep is over, before the loop goes on."""
        world = self._world
        loop = self.loop
        incarnation = self._scope.incarnation
        if self.rest_at != world.effects and incarnation is not None:
            incarnation.shifted = world.stirred
        if loop.effects != world.effects:
            loop.effects = world.effects
            loop.seen.clear()
            loop.rest_at = -1
            real = world.effects - world.rest.by_background
            if loop.real != real:
                loop.real = real
                loop.wakes = loop.looks = loop.look_at = loop.limit = 0
                loop.due_ms = loop.guessed_due_ms = 0
                loop.due_at = ()
                loop.rounds = 0
                loop.read_wakes = -ROW
                loop.sure = True
                loop._times.clear()
        loop.woke_at = len(world.raw)
        loop.unlike = world.unlike
        loop.wakes += 1
        loop.woke_ms = world.now
        loop.clock = self._scope.clock
        if self._state is not None and len(loop.seen) < SEEN_MAX:
            loop.seen.add(self._state)

    @property
    def beat_ms(self) -> int:
        """After how long it sleeps like this again."""
        return self.delay_ms

    @property
    def scope(self) -> Looper:
        """On whose behalf it sleeps."""
        return self._scope

    @property
    def incarnation(self) -> Any:
        """Which process sleeps."""
        return self._scope.incarnation

    def may_leap(self) -> bool:
        """Say whether the rounds to come are like the last ones, but for what the clock says."""
        world, loop = self._world, self.loop
        if not world.rest.leaps or loop.real != world.effects - world.rest.by_background:
            return False
        if loop.why != "reads a clock" or loop.looks <= 1 or not self.steady:
            return False
        return not loop.counts and not loop.holds

    def is_idle(self) -> bool:
        """Say whether the loop has gone on for long enough, and does nothing but ask for the time.

        As far as it goes the run could end. Its last round was like those before it, but for what
        the clock says, all it knows could be compared, and nobody has written meanwhile what
        others may hold against a clock: a lease, a heartbeat.
        """
        world, loop = self._world, self.loop
        self.idle = (
            self._asks
            and self.steady
            and loop.sure
            and loop.looks > 1
            and not (loop.counts or loop.holds)
            and world.rest.spent(world, loop, self._scope.reckons_ms) == "reads a clock"
            and all(event[1] in READING for event in world.raw[loop.woke_at :])
        )
        return self.idle

    def ahead(self) -> Iterable[int]:
        """Return the times that the loop may wait for, in ms of the run."""
        rest = self._world.rest
        since_ms = rest.since_ms
        return (
            *rest.due_at,
            *self.loop.due_at,
            since_ms + rest.shown_ms,
            since_ms + self._scope.reckons_ms,
        )

    def holding_out(self, calm_ms: int = 0) -> RanOn | None:
        """Return how far the loop was run on, if that is far enough, for a wait not at rest.

        Args:
            calm_ms: The length of the calm, once that is over: a loop that woke from its last
                change and has changed nothing for a good part of the calm, or sleeps too long
                for that, has gone far enough.
        """
        world = self._world
        loop = self.loop
        why = world.rest.spent(world, loop, self._scope.reckons_ms)
        if why is None and calm_ms:
            if world.rest.has_stood_still(loop, world.now - calm_ms // WAKES_CLOCK):
                why = loop.why
            elif self.delay_ms * WAKES_CLOCK > calm_ms:
                why = "sleeps past the calm"
        if why is None:
            return None
        return RanOn(self._scope.place, why, world.now - world.rest.since_ms)


class Rest:
    """What a run has shown of the times that matter to it, and when it changed last.

    Args:
        events_max: Events after the last change that no loop is worth.

    Attributes:
        by_background: How many effects were those of background loops, which do not count.
        since_ms: When the last effect that counts was noticed.
        shown_ms: The longest duration that statements have shown: a lease, a time-out in SQL.
        behind_ms: By how much the slowest clock is behind.
        read_at: The instants at which somebody read a clock.
        tick_ms: By how much each reading moves the clock of who asks; 0 but in a clean run
            that is made to see what is measured.
        asked_ms: Whether somebody asked for the milliseconds since the start of the run: only
            then is a small number in memory a time.
        leaps: Whether a loop has gone round so often that idle rounds are skipped.
        due_at: The times ahead that were stored or sent.
        looked: Code whose constants have been read, and on whose behalf.
        spots: For each parameter of a statement: how far behind the clock it was, and when.
        ran_on: The loops that were not at rest at the end.
        row: Which row of commits it is that follow each other with nothing else in between.
        alike_at: The effects at which that row goes on.
        ahead_ms: How far ahead of the clock times were that were stored or sent.
    """

    __slots__ = (
        "_asked",
        "_due_ms",
        "_events_max",
        "_guessed_due_ms",
        "_mark",
        "_real",
        "_scanned",
        "ahead_ms",
        "alike_at",
        "asked_ms",
        "behind_ms",
        "by_background",
        "due_at",
        "leaps",
        "looked",
        "ran_on",
        "read_at",
        "row",
        "shown_ms",
        "since_ms",
        "spots",
        "tick_ms",
    )

    def __init__(self, *, events_max: int) -> None:
        self._events_max = events_max
        self._real = -1
        self._asked = (-1, 0, 0)
        self._mark = self._scanned = self.row = 0
        self.alike_at = -1
        self._due_ms = self._guessed_due_ms = 0
        self.by_background = 0
        self.leaps = False
        self.due_at: dict[int, None] = {}
        self.ahead_ms: set[int] = set()
        self.since_ms = 0
        self.shown_ms = self.behind_ms = 0
        self.asked_ms = False
        self.read_at: set[int] = set()
        self.tick_ms = 0
        self.looked: set[Hashable] = set()
        self.spots: dict[Hashable, tuple[int, int]] = {}
        self.ran_on: tuple[RanOn, ...] = ()

    def show(self, duration_ms: int) -> None:
        """Learn of a duration that the system reckons with."""
        if self.shown_ms < duration_ms <= DAY_MS:
            self.shown_ms = duration_ms

    def notice(self, world: Clockwork) -> None:
        """Take note of the last effect, whenever it is asked whether the run is over."""
        real = world.effects - self.by_background
        if real != self._real:
            self._real = real
            self.since_ms = world.now
            self._mark = len(world.raw)
            self.leaps = False

    def spent(self, world: Clockwork, loop: Loop, reckons_ms: int) -> Why | None:
        """Say why a loop is not at rest, if it was run on for long enough.

        Args:
            world: The run.
            loop: Which loop.
            reckons_ms: The longest duration that was read off its code.
        """
        if len(world.raw) - self._mark > self._events_max:
            return "wakes too often"
        if loop.real != self._real:
            return None
        if loop.why in ("reads a clock", "holds messages"):
            if not self._is_past(world, loop, reckons_ms):
                return None
            if loop.why == "reads a clock" and not loop.looks:
                return None  # others went on meanwhile: it is looked at when it sleeps again
            if not loop.counts:
                return loop.why
        wakes = loop.wakes
        if loop.limit and (loop.rounds or wakes // 2) < loop.limit + WAKES_CLOCK:
            return None
        still_ms = world.now - self.since_ms
        enough = wakes >= WAKES_COUNTING or (wakes >= WAKES_HOLDING and still_ms >= LONG_MS)
        return loop.why if enough else None

    def all_went_round(self, world: Clockwork, resting: Iterable[Wait], calm_ms: int) -> bool:
        """Say whether loops at rest have gone round since something else may have told them more.

        Time has changed what a broker has in store (a message that was put off is there), or other
        code of the process has gone on (a timer has set a flag): no effect shows it. Each is
        waited for once, and not where it sleeps for a good part of the calm.
        """
        key = (world.effects, world.shifted)
        if self._asked[:2] != key:
            self._asked = (*key, world.stirred)
        until = self._asked[2]
        return not any(
            wait.stirred < min(max(world.shifted, wait.incarnation.shifted), until)
            and wait.delay_ms * WAKES_CLOCK <= calm_ms
            for wait in resting
        )

    def has_stood_still(self, loop: Loop, since_ms: int) -> bool:
        """Say whether a loop was woken since the last change, which lies so far back."""
        return loop.real == self._real and self.since_ms <= since_ms

    def _is_past(
        self, world: Clockwork, loop: Loop, reckons_ms: int, *, soon: bool = False
    ) -> bool:
        """Say whether a loop is past all that was shown; `soon`: whether it may be at its next."""
        self._scan(world)
        wakes = loop.wakes + soon
        now = world.now + soon * loop.slept_ms
        slack_ms = 2 * loop.slept_ms + self.behind_ms
        due_ms = max(self._due_ms, loop.due_ms)
        told = self.shown_ms > loop.slept_ms or due_ms > self.since_ms
        few = told and loop.why == "reads a clock" and not loop.holds
        if wakes < (WAKES_CLOCK if few else WAKES_HOLDING):
            return False
        if now < max(self.since_ms + self.shown_ms, due_ms) + slack_ms:
            return False
        due_ms = max(self._guessed_due_ms, loop.guessed_due_ms)
        until_ms = max(self.since_ms + reckons_ms, due_ms) + slack_ms
        return now >= until_ms or wakes >= WAKES_GUESSED

    def look_ahead(
        self,
        world: Clockwork,
        loop: Loop,
        reckons_ms: int,
        look: Callable[[Any], State],
        at: Any,
    ) -> None:
        """Look for due times in the memory of a loop that reads a clock, before it is spent.

        And whether it counts: the same place in the same state, but for what the clock says.
        """
        if loop.wakes < loop.look_at or loop.real != self._real:
            return
        if not (self._is_past(world, loop, reckons_ms, soon=True) or self.leaps):
            return
        state, sure = look(at)
        loop.sure &= sure
        seen = loop.seen
        if not loop.looks:
            seen.clear()
        loop.counts = state not in seen
        if loop.counts:
            found = look_through(state, world.now, loop.woke_ms, small=self.asked_ms)
            loop.due_ms, loop.guessed_due_ms, known, loop.due_at = found
            loop.counts = known not in seen
            if loop.counts and loop.looks == LOOKS_MAX - 2:
                loop.limit = counts_to(known, WAKES_NAMED)
            seen.update((state, known))
        loop.looks += 1
        again = loop.counts and loop.looks < LOOKS_MAX
        loop.look_at = loop.wakes + 1 if again else 2 * loop.wakes

    def store(self, data: Any, now_ms: int) -> None:
        """Learn of due times in what a store was given, where no event holds it."""
        self._expect(ahead_of(data, now_ms), now_ms)

    def know(self, due_ms: int) -> None:
        """Learn when something is due for sure, be it in a month."""
        self.due_at[due_ms] = None
        self._due_ms = max(self._due_ms, due_ms)

    def _expect(self, due_at: Sequence[int], now_ms: int) -> None:
        if not due_at:
            return
        self.due_at.update(dict.fromkeys(due_at))
        due_ms = max(due_at)
        if now_ms in self.read_at:
            self._due_ms = max(self._due_ms, due_ms)
            self.ahead_ms.update(one - now_ms for one in due_at)
        else:
            self._guessed_due_ms = max(self._guessed_due_ms, due_ms)

    def scan_all(self, world: Clockwork) -> None:
        """Look at what was stored and sent where a clock was read: a run without loops never asks
        what is due."""
        read_at = self.read_at
        if not read_at:
            return
        for event in world.raw[self._scanned :]:
            at_ms = event[0]
            if at_ms in read_at:
                self.ahead_ms.update(one - at_ms for one in ahead_in(event))

    def _scan(self, world: Clockwork) -> None:
        """Look for due times in what was stored and sent up to the last effect."""
        raw = world.raw
        for index in range(self._scanned, self._mark):
            at_ms = raw[index][0]
            self._expect(ahead_in(raw[index]), at_ms)
        self._scanned = max(self._scanned, self._mark)


__all__ = ["Loop", "Place", "RanOn", "Rest", "State", "Wait", "Why"]
