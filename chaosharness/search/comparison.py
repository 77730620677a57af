"""Systems side by side: what each survives, by kind of fault, and what its calm run costs.

Everything is counted in runs. Nothing here ranks: a system that claims less breaks less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import attrs

from chaosharness.campaign import Campaign
from chaosharness.checkers.flow import EventGraph, Node
from chaosharness.checkers.proof import unproved
from chaosharness.checkers.reactions import event_graph
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.history import History
from chaosharness.search.claims import chosen
from chaosharness.search.exploration import Progress
from chaosharness.search.explore import explore
from chaosharness.system import System
from chaosharness.system.given import wired_at

Outcome = Literal["survives", "broken", "unknown", "nowhere"]

CLIENT: Final = "client"

CALM: Final = "calm"
"""The row of the run without any fault."""


@attrs.frozen
class Broken:
    """A claim that broke, and the least faults that did it, as code."""

    claim: str
    schedule: str


@attrs.frozen(kw_only=True)
class Survival:
    """What came of one kind of fault, struck alone wherever it is legal.

    Attributes:
        tried: Schedules that were run.
        total: Schedules there are; None if nobody has counted.
        complete: Whether all were run.
        broken: The claims that broke, and that the calm run keeps.
        restless: Runs that did not become quiet. Where no claim says that this is wrong, nothing
            is known of them.
    """

    tried: int
    total: int | None
    complete: bool
    broken: tuple[Broken, ...]
    restless: int = 0

    @property
    def outcome(self) -> Outcome:
        """Say how it ended: `survives` only if every schedule was run, and each became quiet."""
        if self.broken:
            return "broken"
        if not self.complete or self.restless:
            return "unknown"
        return "survives" if self.tried else "nowhere"


@attrs.frozen(kw_only=True)
class Costs:
    """What the calm run took for all its items.

    Attributes:
        items: Workload items.
        published: Messages that a broker stored.
        delivered: Deliveries to a consumer.
        commits: Transactions that became durable.
        calls: Requests that left their caller.
        latency_ms: Virtual time from an item's arrival to the last commit or effect on its behalf,
            the longest of all items. Side effects count too.
    """

    items: int
    published: int
    delivered: int
    commits: int
    calls: int
    latency_ms: int


@attrs.frozen(kw_only=True)
class Flow:
    """What the calm run shows of who knows the flow.

    Attributes:
        handlers: Places that react, or send of themselves.
        events: Sorts of message.
        unseen: Sorts of message that the busiest service neither sends nor hears.
        busiest: The service that sends or hears the most sorts; empty without messages.
        senders: Services that send something: each knows a part of what comes next.
        circles: Events that led to themselves.
    """

    handlers: int
    events: int
    unseen: int
    busiest: str
    senders: int
    circles: int


@attrs.frozen(kw_only=True)
class NewStep:
    """Where a step goes that must run after one effect and before another.

    Attributes:
        after: The effect before it.
        before: The effect behind it.
        way: What leads from the one to the other today: handlers and events, in order; empty where
            the calm run shows no way.
        services: Who must change, besides the service that does the new step: one of those that
            stand on the way. If none does, it is the one that does the later effect: it must hear
            the new step instead.
    """

    after: str
    before: str
    way: tuple[str, ...]
    services: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Compared:
    """One system among those that are compared.

    Attributes:
        system: Its name.
        claims: How many claims were judged: no two systems need claim the same.
        untested: Claims that no run put to the test: nothing is known of them.
        unproved: Why the calm run puts nothing to the test; empty where it does.
        survival: By kind of fault, `calm` first.
    """

    system: str
    claims: int
    untested: tuple[str, ...]
    unproved: str
    survival: dict[str, Survival]
    costs: Costs
    flow: Flow
    new_step: NewStep | None = None

    @property
    def outcome(self) -> Outcome:
        """Say how it came out over all kinds: the worst of them."""
        found = {one.outcome for one in self.survival.values()}
        if "broken" in found:
            return "broken"
        return "unknown" if "unknown" in found or self.untested or self.unproved else "survives"


def compared(
    system: System,
    *,
    runs_max: int = 1_000,
    between: tuple[str, str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Compared:
    """Run a system calm, and with each kind of fault alone, and say what came of it.

    Args:
        system: The system, with its own claims.
        runs_max: Runs for each kind of fault, at most.
        between: Two effects, such as `bank.charge` and `courier.book`: where would a new step
            between them go?
        on_progress: Called after each run.
    """
    claims = chosen(system, None)
    calm = explore(system, properties=claims, faults_max=0, runs_max=1, mode="small-first")
    already = {one.property for one in calm.counterexamples}
    tested = _tested(calm)
    survival = {CALM: _survival(calm, 0, set())}
    for kind in FAULTS:
        found = _struck(system, kind, runs_max, on_progress)
        tested |= _tested(found)
        survival[kind.__name__] = _survival(found, 1, already)
    history = system.calm().history
    return Compared(
        system=system.name,
        claims=len(claims),
        untested=tuple(one.name for one in claims if one.name not in tested),
        unproved=_unproved(system, history),
        survival=survival,
        costs=costs_of(history),
        flow=flow_of(event_graph(history)),
        new_step=new_step_of(event_graph(history), *between) if between else None,
    )


def _unproved(system: System, history: History) -> str:
    reason = unproved(history, system.examples)
    return reason and f"{reason}{wired_at(system.given())}"


def _struck(
    system: System,
    kind: type[Fault],
    runs_max: int,
    on_progress: Callable[[Progress], None] | None,
) -> Campaign:
    return explore(
        system,
        faults_max=1,
        runs_max=runs_max,
        mode="small-first",
        kinds=[kind],
        thorough=True,
        on_progress=on_progress,
    )


def _tested(campaign: Campaign) -> set[str]:
    """Return the claims that some run put to the test; of `sometimes`, those that were reached."""
    return {
        one.name
        for one in campaign.standings
        if one.tested and (one.when != "sometimes" or one.reached)
    }


def _survival(campaign: Campaign, faults: int, already: set[str]) -> Survival:
    level = next((one for one in campaign.coverage.levels if one.faults == faults), None)
    broken = tuple(
        Broken(one.property, str(one.schedule))
        for one in campaign.counterexamples
        if one.property not in already
    )
    return Survival(
        tried=level.tried if level else 0,
        total=level.total if level else None,
        complete=level is not None and level.complete,  # without a level nothing is known
        broken=broken,
        restless=sum(one.times for one in campaign.troubles),
    )


def costs_of(history: History) -> Costs:
    """Count what a run took."""
    arrived = {event.entity: event.at_ms for event in history.of("arrive")}
    took = [
        event.at_ms - arrived[event.entity]
        for event in history.of("commit", "effect")
        if event.entity in arrived
    ]
    return Costs(
        items=len(arrived),
        published=len(history.places_of("publish")),
        delivered=len(history.places_of("deliver")),
        commits=len(history.places_of("commit")),
        calls=len(history.places_of("call")),
        latency_ms=max(took, default=0),
    )


def flow_of(graph: EventGraph) -> Flow:
    """Say what a graph shows of who knows the flow."""
    knows: dict[str, set[str]] = {}
    senders = set()
    for source, to in graph.edges:
        if _service(source.name) == CLIENT and source.kind == "handler":
            continue  # what brings items in is no service
        if source.kind == "handler" and to.kind == "event":
            senders.add(_service(source.name))
            knows.setdefault(_service(source.name), set()).add(to.name)
        elif source.kind == "event" and to.kind == "handler":
            knows.setdefault(_service(to.name), set()).add(source.name)
    busiest = min(knows, key=lambda name: (-len(knows[name]), name), default="")
    events = len(graph.nodes("event"))
    return Flow(
        handlers=len(graph.nodes("handler")),
        events=events,
        unseen=events - len(knows.get(busiest, ())),
        busiest=busiest,
        senders=len(senders),
        circles=len(graph.cycles()),
    )


def new_step_of(graph: EventGraph, after: str, before: str) -> NewStep:
    """Say where a step goes that must run after one effect and before another."""
    ends = {one for one in graph.nodes("handler") if Node("effect", before) in graph.after(one)}
    ways: list[tuple[Node, ...]] = [
        (one,) for one in graph.nodes("handler") if Node("effect", after) in graph.after(one)
    ]
    seen = {way[-1] for way in ways}
    for way in ways:
        if way[-1] in ends:
            services = dict.fromkeys(_service(one.name) for one in way if one.kind == "handler")
            inner = [*services][1:-1] or [*services][-1:]
            return NewStep(
                after=after, before=before, way=tuple(map(str, way)), services=tuple(inner)
            )
        following = [one for one in graph.after(way[-1]) if one.kind in ("event", "handler")]
        ways += [(*way, one) for one in following if one not in seen]
        seen |= {*following}
    return NewStep(after=after, before=before, way=(), services=())


def ends_of(histories: Iterable[History]) -> tuple[str, str] | None:
    """Return the first and the last effect that all calm runs have in common."""
    orders = [effects_of(history) for history in histories]
    common = [one for one in (orders[0] if orders else ()) if all(one in each for each in orders)]
    return (common[0], common[-1]) if len(common) > 1 else None


def effects_of(history: History) -> list[str]:
    """Return the effects of a run, each once, in their order: `bank.charge`."""
    return [*dict.fromkeys(one.operation.partition("/")[2] for one in history.of("effect"))]


def _service(handler: str) -> str:
    return handler.partition(".")[0]
