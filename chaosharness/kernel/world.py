"""One run: virtual time, the order of things, and where a fault may strike.

The loop pops what is due, earliest first, and stops when the system is quiet in calm,
when a budget is spent, or when something can never go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextvars import copy_context
from heapq import heappop, heappush
from itertools import chain
from operator import attrgetter
from typing import Any, Final, Literal, TypeGuard

from chaosharness.errors import ChaosharnessError, RefusedValue
from chaosharness.kernel.agenda import ACTION, ARGUMENT, DUE, TICKET, WAITER, Agenda, Entry
from chaosharness.kernel.arms import Arms
from chaosharness.kernel.budget import (
    FOR_EVER,
    Budget,
    Ending,
    Verdict,
    never_quiet,
    too_many_events,
)
from chaosharness.kernel.deadline import LOOK_EVERY, OutOfTime, deadline
from chaosharness.kernel.falls import Falls
from chaosharness.kernel.history import History, RawEvent
from chaosharness.kernel.leap import idle_readers, leap, pass_over
from chaosharness.kernel.lines import new_events
from chaosharness.kernel.mortal import Located, Mortal, Once
from chaosharness.kernel.publications import Publications
from chaosharness.kernel.rest import WAKES_CLOCK, RanOn, Rest, Wait
from chaosharness.kernel.site import Armed, Phase

Lasting = Literal["next", "timeout", "long"] | int
"""How long trouble lasts, chosen from the system itself, or in whole milliseconds.

`next`: until just after the next thing that happens elsewhere, timers aside. `timeout`: just
past the next timer that is running. `long`: past every timeout the system is known to have.
"""

RESTART_MS: Final = 1_000
"""How long a process that ended by itself is down before it is started again."""
WORLD: Final = "world"


class Background:
    """The waiter of a timer that watches over something and never keeps a system from quiet."""

    idle: Final = False

    def woke(self) -> None:
        """Take no note."""


BACKGROUND: Final = Background()

_HELD: Final = attrgetter("on_death", "on_stall", "on_resume", "processes", "takers", "mains")
"""What lives on an incarnation, and knows it."""

LONG_MS_MIN: Final = 600_000
IDLE_SHARE: Final = 3
"""The part of its events that a run may spend, at most, on loops that change nothing."""


Waiting = tuple[tuple[str, ...], str]
"""What waits: the names under which a user may have said that it may, and a sentence."""


class World:
    """Everything one run shares. Made anew for each run; nothing survives it."""

    __slots__ = (
        "_at_calm",
        "_calm_asked",
        "_deadline",
        "_deliveries_max",
        "_events_to",
        "_resting",
        "_within",
        "agenda",
        "answers",
        "armed",
        "arms",
        "before_end",
        "budget",
        "calm_since",
        "chaos",
        "context",
        "counts",
        "counts_in_chaos",
        "crew",
        "durations",
        "effects",
        "ending",
        "entities",
        "error",
        "falls",
        "hops_max",
        "idled",
        "in_flight",
        "incarnations",
        "lacked",
        "longest_ms",
        "may_wait",
        "now",
        "on_advance",
        "on_armed",
        "on_built",
        "on_living",
        "on_missed",
        "on_network",
        "on_read",
        "on_restless",
        "on_settled",
        "on_stuck",
        "on_turn",
        "on_waiting",
        "past",
        "promised_ms",
        "publications",
        "raw",
        "rest",
        "shifted",
        "spoken",
        "states",
        "stirred",
        "surfaces",
        "turn",
        "unbuilt",
        "unlike",
        "unreachable",
        "untold",
    )

    def __init__(self, *, budget: Budget, armed: Sequence[Armed] = ()) -> None:
        self.now = 0
        self.raw: list[RawEvent] = new_events()
        self.agenda = Agenda()
        self.budget = budget
        self.counts: dict[tuple[str, int, str], int] = {}
        self.counts_in_chaos = self.counts
        self.arms = Arms(armed, self.counts)
        self.armed = self.arms.by_operation
        self._at_calm: list[Callable[[], None]] = []
        self._calm_asked = False
        self._deadline = deadline()
        self._events_to = self._look_at(0)  # below 0 where the loop has to look up
        self._deliveries_max = budget.deliveries_max
        self.hops_max = budget.hops_max
        self.chaos = True
        self.context = copy_context()
        self.crew: Any = None
        self.durations: set[int] = set()
        self.turn = 0
        self.calm_since = 0
        self.before_end: list[Callable[[], None]] = []
        """Told that a phase is about to end though something is to come: what is waited for, they
        promise."""
        self.promised_ms = 0
        self.effects = self.stirred = self.idled = self.shifted = self.unlike = 0
        self._resting = -1
        self._within: dict[int, int] = {}
        self.ending: Ending | None = None
        self.entities: dict[Hashable, int] = {}
        self.in_flight: dict[Located, str] = {}
        self.incarnations: list[Mortal] = []
        self.lacked: set[str] = set()  # what clients asked for, and the system has not
        self.longest_ms = LONG_MS_MIN
        self.on_advance: Callable[[int], None] | None = None
        self.on_read: Callable[[], None] | None = None
        self.on_stuck: Callable[[Any], str] | None = None
        self.error: Exception | None = None
        self.falls = Falls()
        self.on_armed: Callable[[str, Any], None] | None = None
        self.on_network: list[Callable[[], None]] = []
        self.publications = Publications()
        self.rest = Rest(events_max=budget.events_max // IDLE_SHARE)
        self.on_settled: list[Callable[[], str]] = []
        """Asked where a run comes to rest: what waits for somebody who never comes, or nothing."""
        self.on_waiting: list[Callable[[], Iterable[Waiting]]] = []
        """Asked then, too: what waits for somebody outside, who may be meant to come later."""
        self.on_missed: list[Callable[[], Iterable[int]]] = []
        """Asked at the end: which messages nobody took, though somebody would have later."""
        self.on_living: list[Callable[[], Iterable[Waiting]]] = []
        """Asked then, too: what goes on for ever by design, until somebody outside ends it."""
        self.on_restless: list[Callable[[], str]] = []
        """Asked where a run never comes to rest: what may be meant to go on, or nothing."""
        self.on_built: list[Callable[[], None]] = []
        """Told once every service has been built."""
        self.unbuilt: set[str] = set()  # services that have not been built yet
        self.may_wait: frozenset[str] = frozenset()  # workflows, states, tasks, steps: by name
        self.on_turn: Callable[[Hashable], None] | None = None
        self.past: set[str] = set()  # what went past this world: where to
        self.spoken: dict[str, set[str]] = {}  # client libraries, and operations they passed
        self.states: dict[str, Any] = {}
        self.surfaces: dict[str, Any] = {}
        self.untold: set[str] = set()  # services whose processes cannot be told to stop
        self.unreachable: set[tuple[str, str]] = set()
        self.answers: list[tuple[str, int, int]] = []  # who answered, asked by which event, when

    # ---- history

    @property
    def history(self) -> History:
        """The events so far."""
        return History(self.raw)

    def record(
        self,
        kind: str,
        actor: str,
        *,
        operation: str = "",
        entity: int = 0,
        attempt: int = 0,
        cause: int = -1,
        data: Any = None,
    ) -> int:
        """Add an event that no scope did (a broker, the world itself); return its index."""
        index = len(self.raw)
        assert cause < index
        self.raw.append((self.now, kind, actor, operation, entity, attempt, cause, data))
        return index

    # ---- time

    def after(self, delay_ms: int, action: Callable[[Any], None], argument: Any = None) -> Entry:
        """Do `action(argument)` when `delay_ms` have passed."""
        assert delay_ms >= 0
        return self.agenda.add(self.now + delay_ms, action, argument)

    def go_on(self, action: Callable[[Any], None], argument: Any = None) -> None:
        """Have the process at work do `action(argument)` at this instant, elsewhere on the stack.

        In a round of a loop at rest it is a part of that round, and stirs no other loop, unless
        anything else has gone on by then: that may have left it more to do.
        """
        entry = self.agenda.add(self.now, action, argument)
        if self._resting == self.effects:
            self._within[entry[TICKET]] = self.effects + self.stirred

    def is_resting(self) -> bool:
        """Say whether all that goes on just now is a round of a loop at rest."""
        return self._resting == self.effects

    def stir(self) -> None:
        """Take note that something has gone on which is no round of a loop at rest.

        That woke it sleeps as before, maybe: this round of it is none like those to come.
        """
        self._resting = -1
        self.stirred += 1
        self.unlike += 1

    def timer(
        self, delay_ms: int, action: Callable[[Any], None], argument: Any, waiter: Any = None
    ) -> Entry:
        """Like `after`, for a timer that user code asked for; `waiter` is the `Wait` of a loop."""
        assert delay_ms >= 0
        return self.agenda.add(self.now + delay_ms, action, argument, waiter or False)

    def know_timeout(self, timeout_ms: int) -> None:
        """Remember a timeout of the system, so that `long` lasts longer than it."""
        self.know_duration(timeout_ms)
        if timeout_ms > self.longest_ms:
            self.longest_ms = timeout_ms

    def know_duration(self, duration_ms: int) -> None:
        """Remember a time that the system waits, grants or repeats after: what stalls are sized by.

        Unlike a timeout it lengthens nothing that happens in this run.
        """
        if duration_ms > 0:
            self.durations.add(duration_ms)

    def due(self, lasting: Lasting) -> int:
        """Return the virtual time at which trouble that begins now is over."""
        if isinstance(lasting, int):
            return self.now + lasting
        if lasting == "next":
            for entry in self.agenda.pending():
                if entry[WAITER] is None:
                    return int(entry[DUE])
            return self.now + 1  # nothing is to come but timers, and they may be far away
        if lasting == "timeout":
            for entry in self.agenda.pending():
                if entry[WAITER] is not None and entry[DUE] > self.now:
                    return int(entry[DUE]) + 1
        return self.now + self.long_ms()

    def alone_until(self, lasting: Lasting) -> int:
        """Return, like `due`, when what is late or stalls by itself goes on: no calm wakes it.

        The run lasts till then, where that is past its end: trouble past a timeout of days. Not
        where the length was given in ms.
        """
        at_ms = self.due(lasting)
        told = isinstance(lasting, int)  # in ms: it ends with the chaos at the latest
        if not told and at_ms > self.budget.chaos_ms + self.budget.calm_ms:
            self.promise(at_ms + self.budget.chaos_ms)
        return at_ms

    def long_ms(self) -> int:
        """Return how long `long` lasts: past every timeout that is known so far."""
        return 2 * self.longest_ms + 1

    # ---- sites

    def reach(self, operation: str, entity: int, message: str = "") -> int:
        """Count that an operation is reached for the message in hand; return the attempt."""
        key = (operation, entity, message)
        self.counts[key] = attempt = self.counts.get(key, 0) + 1
        return attempt

    def meet(self, operation: str, surface: Any) -> None:
        """Learn what may go wrong at an operation, when it is reached for the first time."""
        self.surfaces[operation] = surface
        if operation in self.armed and self.on_armed is not None:
            self.on_armed(operation, surface)

    def is_mistake(self, error: BaseException | None) -> TypeGuard[ChaosharnessError]:
        """Say whether an error is a mistake to be mended first, which calls the run off.

        Poison may lead code to anything. A value that a port refuses is what a fault made of it,
        where one has struck: what a lost reply left out, what a restart forgot.
        """
        if not isinstance(error, ChaosharnessError) or self.publications.poisoned:
            return False
        return not (isinstance(error, RefusedValue) and self.struck())

    def refuse(self, error: Exception) -> None:
        """Call the run off because its input is wrong: the caller of the run gets `error`."""
        if self.error is None:
            self.error = error
        self.end("stuck", str(error))

    def strikes(
        self, operation: str, phase: Phase, entity: int, attempt: int, message: str = ""
    ) -> list[Any]:
        """Return the faults that strike at this site, in the schedule's order."""
        if not self.chaos:
            return []
        struck = self.arms.strike(operation, phase, entity, attempt, message)
        self.effects += len(struck)
        return struck

    def struck(self) -> bool:
        """Say whether any fault has struck so far."""
        return self.arms.struck()

    def entity_for(self, key: Hashable, entity: int) -> int:
        """Return the workload item that a business key belongs to.

        The first item to use a key owns it. That is how a relay which reads rows from a
        table, on behalf of nobody, gets the item of the row it publishes.
        """
        if key is None:
            return entity
        if entity:
            self.entities.setdefault(key, entity)
            return entity
        return self.entities.get(key, 0)

    # ---- crashes and cuts

    def crash(self, incarnation: Mortal, down: Lasting, *, cause: int, how: str = "") -> None:
        """Kill an incarnation: its ports refuse from now on; then its connections drop.

        A process dies with the incarnation that is its host, and so do the others there. `how` is
        how it came to its end, where it was told to stop.
        """
        if not incarnation.alive:
            return
        incarnation = incarnation.host or incarnation
        dying = (incarnation, *incarnation.processes)
        for one in dying:
            one.alive = False
        self.effects += 1
        words = {"down": down, "how": how} if how else {"down": down}
        self.record("crash", incarnation.label, cause=cause, data=words)
        self.clear_away(dying)
        if incarnation.restart is None:
            return
        once = Once(incarnation.restart)
        if not self.chaos:
            self.after(down if isinstance(down, int) else 1, once)
        elif down == "long":
            self.at_calm(once)
        else:
            self.until(max(self.due(down), self.now + 1), once)

    def exit(self, process: Mortal) -> None:
        """End a process of a host, however far its code is: the host lives on."""
        if process.alive and process.host is not None:
            process.alive = False
            process.host.processes.remove(process)
            self.clear_away((process,))

    def clear_away(self, dying: tuple[Mortal, ...]) -> None:
        """Let go of what processes had in hand that are dead, and tell whoever waits for that."""
        for scope in [one for one in self.in_flight if one.incarnation in dying]:
            del self.in_flight[scope]
        for one in dying:
            for hook in one.on_death:
                hook()

    def part(self, service: str, peer: str, way: str, lasting: Lasting) -> None:
        """Cut the network between a service and a peer, until it heals or calm begins."""
        pairs = {(service, peer)} if way != "back" else set()
        if way != "out":
            pairs.add((peer, service))
        self.unreachable |= pairs
        due_ms = self.due(lasting)
        self.network_changed()
        self.until(due_ms, self._heal, pairs)

    def _heal(self, pairs: set[tuple[str, str]]) -> None:
        if pairs & self.unreachable:
            self.unreachable -= pairs
            self.network_changed()

    def network_changed(self) -> None:
        """Tell whoever keeps connections that who can reach whom has changed."""
        self.effects += 1
        for hook in self.on_network:
            hook()

    # ---- chaos, then calm

    def until(self, due_ms: int, action: Callable[[Any], None], argument: Any = None) -> None:
        """End trouble at a moment, or with the calm, which no trouble outlasts.

        Its end changes something: who went round in vain meanwhile may find it mended next time.
        """

        def over(_: object) -> None:
            self.effects += 1
            action(argument)

        entry = self.agenda.add(due_ms, over)

        def end() -> None:
            if entry[ACTION] is not None:
                self.agenda.cancel(entry)
                over(None)

        self.at_calm(end)

    def promise(self, until_ms: int) -> None:
        """Let this phase last until then at least: a timetable has something begin."""
        self.promised_ms = max(self.promised_ms, until_ms)

    def at_calm(self, action: Callable[[], None]) -> None:
        """Do this when the faults stop: heal, restart, let go. Called once, in order."""
        self._at_calm.append(action)

    def _begin_calm(self) -> None:
        assert self.chaos
        self.chaos = False
        self.counts_in_chaos = dict(self.counts)  # from here on no fault can strike
        self.calm_since = self.now
        self.record("phase", WORLD, data={"phase": "calm"})
        self.end_trouble()

    def end_trouble(self, _: object = None) -> None:
        """Heal, restart, let go: whatever goes wrong just now is over."""
        before = (self.effects, self.agenda.tickets, len(self.raw))
        if self.unreachable:
            self.unreachable.clear()
            self.effects += 1
            self.network_changed()
        actions, self._at_calm = self._at_calm, []
        for action in actions:
            action()
        if before != (self.effects, self.agenda.tickets, len(self.raw)):
            self.effects += 1  # something was healed, restarted or let go

    def too_often(self, times: int, operation: str) -> bool:
        """Say whether a message that is handed out once more ends the run.

        Once a fault has struck, it ends the chaos only: as many deliveries are left for the calm.
        What an outage leaves behind may last longer than itself (a lease of who is dead, a
        connection that nobody has missed yet), and this message may wait for another one.
        """
        if times <= self._deliveries_max:
            return False
        if self._ask_for_calm():
            self._deliveries_max = times + self.budget.deliveries_max
            return False
        why = f"{operation} handed out one message {times - 1:,} times"
        if self.falls.last:
            why += f"; {self.falls.last}"
        self.end("budget", why)
        return True

    def too_far(self, hops: int) -> bool:
        """Say whether a message is one too many of those that led to each other.

        Once a fault has struck, it ends the chaos only, likewise: who puts off what cannot be
        done now goes round as long as the outage lasts.
        """
        if hops <= self.hops_max:
            return False
        if self._ask_for_calm():
            self.hops_max = hops + self.budget.hops_max
            return False
        return True

    def _ask_for_calm(self) -> bool:
        """Have the faults stop, where one has struck; say whether they do."""
        if not (self.chaos and self.struck()):
            return False
        self._calm_asked = True
        self._events_to = -1
        return True

    # ---- the loop

    def end(self, verdict: Verdict, reason: str = "") -> None:
        """Call the run off after the present step. The first reason given stands."""
        if self.ending is None:
            self.ending = Ending(verdict, reason, self.rest.ran_on if verdict == "quiet" else ())
            self._events_to = -1

    def drive(self) -> None:
        """Do what is due, until the run is over or another loop has taken over.

        A handler runs right inside the action that starts it. When it stops at a port,
        the code that stops it takes over the loop elsewhere (`turn` moves on), and
        this loop, which lies beneath the handler on the stack, ends when it gets back.
        """
        turn = self.turn
        while self.ending is None:
            quiet = self._run_phase(turn)
            if self.turn != turn or self.ending is not None:
                return
            if self.chaos:
                self._begin_calm()
            elif quiet:
                self.end(*self._settled())
            else:
                lasted_ms = max(self.budget.calm_ms, self.promised_ms - self.calm_since)
                words = next(filter(None, (ask() for ask in self.on_restless)), "")
                self.end("budget", never_quiet(lasted_ms, self.raw) + words)

    def _not_meant(self, asked: Iterable[Callable[[], Iterable[Waiting]]]) -> Iterator[Waiting]:
        """Yield what waits, but for what the user said may."""
        for ask in asked:
            for names, words in ask():
                if self.may_wait.isdisjoint(names):
                    yield names, words

    def conclude(self) -> Ending:
        """Record how the run ended."""
        assert self.ending is not None
        data: dict[str, Any] = {"verdict": self.ending.verdict, "reason": self.ending.reason}
        if self.ending.ran_on:
            data["ran_on"] = [[one.place, one.why, one.after_ms] for one in self.ending.ran_on]
        if self.ending.verdict == "quiet":
            waiting = next(filter(None, (ask() for ask in self.on_settled)), "")
            if waiting:
                data["waits"] = waiting
            if asks := [words for _, words in self._not_meant(self.on_waiting)]:
                data["asks"] = asks
            if missed := sorted(one for ask in self.on_missed for one in ask()):
                data["missed"] = missed
            if lives := [[names[0], words] for names, words in self._not_meant(self.on_living)]:
                data["lives"] = lives
            if self.may_wait:
                data["may_wait"] = sorted(self.may_wait)
        self.record("end", WORLD, data=data)
        return self.ending

    def run(self) -> Ending:
        """Run until quiet in calm, or until the run is called off; nothing here parks."""
        self.drive()
        return self.conclude()

    def _run_phase(self, turn: int) -> bool:
        """Run until quiet (True), or until the deadline, the end, or another's turn (False)."""
        entries = self.agenda.entries
        within = self._within
        raw = self.raw
        budget = self.budget
        until_ms = budget.chaos_ms if self.chaos else self.calm_since + budget.calm_ms
        advance = self.on_advance
        while entries:
            due, ticket, action, argument, waiter = entry = heappop(entries)
            if action is None:
                continue
            if due > self.now:
                if waiter is not None:
                    if self._idle(entry, until_ms):
                        heappush(entries, entry)
                        return True
                    if self._is_passed_over(entry, until_ms):
                        heappush(entries, entry)
                        continue
                    due = entry[DUE]  # idle rounds may have been skipped
                if due > until_ms:
                    heappush(entries, entry)
                    for tell in self.before_end:
                        tell()
                    if self.promised_ms > until_ms:
                        until_ms = self.promised_ms
                        continue
                    self.now = until_ms
                    if self.chaos or self._idle(entry, until_ms, budget.calm_ms):
                        return not self.chaos
                    more_ms = self._more_calm(until_ms)
                    if not more_ms:
                        return False
                    until_ms += more_ms
                    continue
                self.now = due
                if advance is not None:
                    advance(due)
            entry[ACTION] = None  # from now on cancelling it is a no-op
            if waiter is None and not within:  # so it is nearly always
                self._resting = -1
                self.stirred += 1
                action(argument)
                if self.turn != turn:
                    return False
                if len(raw) > self._events_to and self._stops():
                    return False
                continue
            effects, rests = self.effects, False
            if waiter is not None:
                rests = getattr(waiter, "rest_at", -1) == effects
            elif within:
                rests = within.pop(ticket, -1) == effects + self.stirred
            if rests:
                self._resting = effects
            else:
                self._resting = -1
                self.stirred += 1
                if waiter is not None:
                    if waiter is False:
                        self.shifted = self.stirred  # time has changed something, for whoever looks
                    elif waiter.idle:
                        self.idled += 1
            if waiter is None or waiter is not BACKGROUND:
                action(argument)
            else:
                real = self.effects - self.rest.by_background
                action(argument)
                self.rest.by_background = self.effects - real
            if self.turn != turn:
                return False
            if len(raw) > self._events_to and self._stops():
                return False
        return True

    def _stops(self) -> bool:
        """Say whether the loop ends here: the run is called off, calm is asked for, or too much."""
        if self.ending is not None:
            return True
        self._events_to = self._look_at(len(self.raw))
        if self._calm_asked and self.chaos:
            return True
        if self._deadline is not None and self._deadline():
            self.refuse(OutOfTime())
            return True
        if len(self.raw) > self.budget.events_max:
            self.end("budget", too_many_events(self.budget, self.raw))
            return True
        return False

    def _look_at(self, events: int) -> int:
        """Return the events after which the loop has to look up next."""
        events_max = self.budget.events_max
        return events_max if self._deadline is None else min(events + LOOK_EVERY, events_max)

    def _more_calm(self, until_ms: int) -> int:
        """Return how much longer the calm may last for the sake of a change just before its end.

        Loops that slept since then have not shown yet that they have nothing more to do.
        """
        more_ms = self.budget.calm_ms // WAKES_CLOCK
        is_over = until_ms > self.calm_since + self.budget.calm_ms
        if is_over or self.in_flight or self.rest.since_ms < until_ms - more_ms:
            return 0
        return more_ms

    def _idle(self, popped: Entry, until_ms: int, calm_ms: int = 0) -> bool:
        """Say whether nothing that is to come would change anything.

        Args:
            popped: What comes next. It may be put off, where idle rounds are skipped.
            until_ms: The end of the phase.
            calm_ms: The length of the calm, once that is over.
        """
        rest = self.rest
        rest.notice(self)
        if calm_ms and self.in_flight:
            return False
        if self.in_flight and self.now - rest.since_ms <= 2 * self.longest_ms:
            return False  # it may wait for a loop that wakes often and does something at last
        effects = self.effects
        waits: list[Wait] = []
        resting: list[Wait] = []
        for entry in (popped, *self.agenda.entries):
            waiter = entry[WAITER]
            if entry[ACTION] is None or waiter is BACKGROUND:
                continue
            if not waiter:
                return False
            (waits if waiter.rest_at != effects else resting).append(waiter)
        ran_on: dict[str, RanOn] = {}
        for wait in waits:
            one = wait.holding_out(calm_ms)
            if one is None:
                if rest.leaps and not calm_ms and not self.in_flight:
                    leap(waits, popped, self.agenda.entries, self.now, until_ms)
                return False
            ran_on[one.place] = one
        if not calm_ms and not rest.all_went_round(self, resting, self.budget.calm_ms):
            return False
        rest.ran_on = tuple(ran_on.values())
        return True

    def _is_passed_over(self, popped: Entry, until_ms: int) -> bool:
        """Say whether rounds of loops that change nothing were skipped, the next one among them."""
        waiter = popped[WAITER]
        effects, entries = self.effects, self.agenda.entries
        rest_at = getattr(waiter, "rest_at", None)
        if rest_at == effects:
            if waiter.stirred != self.stirred or not waiter.steady:
                return False  # it has gone on since, or something else has
            return pass_over(popped, entries, effects, self.stirred, until_ms)
        if rest_at is None or self.in_flight or not waiter.is_idle():
            return False
        idle = idle_readers([popped, *entries], effects)  # which marks those that wake with it
        others = self.stirred - self.idled
        if id(waiter.incarnation) not in idle or waiter.stirred - waiter.idled != others:
            return False
        return pass_over(popped, entries, effects, self.stirred, until_ms, idle=idle, others=others)

    def forget(self) -> None:
        """Let go of everything but what happened, once the run is over."""
        assert self.ending is not None
        for incarnation in self.incarnations:
            incarnation.restart = incarnation.redeploy = None
        deque(map(list.clear, chain.from_iterable(map(_HELD, self.incarnations))), maxlen=0)
        self.incarnations.clear()
        self.agenda.entries.clear()
        self.in_flight.clear()
        self.states.clear()
        self.on_network.clear()
        self.on_settled.clear()
        self.on_waiting.clear()
        self.on_missed.clear()
        self.on_living.clear()
        self.on_restless.clear()
        self.before_end.clear()
        self._at_calm.clear()
        self.on_built.clear()
        self.on_armed = self.on_advance = self.on_read = self.on_stuck = None

    # ---- verdicts

    def _settled(self) -> tuple[Verdict, str]:
        for scope, place in self.in_flight.items():
            if self._is_done_and_goes_round(scope):
                continue
            if self.on_stuck is not None and "(at " not in place:
                place += self.on_stuck(scope)
            return "stuck", f"{place} {FOR_EVER}"
        return "quiet", ""

    def _is_done_and_goes_round(self, scope: Located) -> bool:
        """Say whether code sleeps that has settled what it took last, and has not asked for more.

        A loop that looks into a queue first asks for nothing more once it is empty. A handler is
        over when it returns, whatever was settled.
        """
        if scope.run is not None:
            return False
        waiters = [entry[WAITER] for entry in self.agenda.pending()]
        if not any(getattr(waiter, "scope", None) is scope for waiter in waiters):
            return False
        label = scope.incarnation.label
        for _, kind, whose, _, _, _, _, data in reversed(self.raw):
            if kind == "deliver" and data["to"] == label:
                return False
            if kind == "ack" and whose == label:
                return True
        return False


__all__ = [
    "ARGUMENT",
    "Armed",
    "Budget",
    "Ending",
    "Lasting",
    "Verdict",
    "World",
]
