"""EventBridge: a bus whose rules hand each event that matches on to queues.

Source:
    Amazon EventBridge User Guide; API Reference. See `chaosharness/machines/eventbridge` for the
    rules, and `rows.py` for what may strike where.

Not modelled:
    Targets that are no queues (Lambda, Step Functions, HTTP, other buses); what the machine leaves
    out; an event that somebody else sends and nobody can read (`Poison`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from chaosharness.brokers.eventbridge.router import OpenEventBridge
from chaosharness.brokers.sqs.sqs import FIFO, SQS, OpenSQS
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel import allowed
from chaosharness.kernel.world import World
from chaosharness.machines.eventbridge import RuleSettings, TargetSettings
from chaosharness.machines.eventbridge.patterns import check, detail_types, matches
from chaosharness.machines.eventbridge.settings import TARGETS_MAX
from chaosharness.machines.sns.filters import BadPolicy


@attrs.frozen
class EventTarget:
    """A queue that a rule hands events on to.

    Args:
        queue: Name of a queue of the SQS that the bus belongs to.
        group: MessageGroupId, where that is a FIFO queue; it must recognise by content.
        attempts_max: How often it is tried again: 0 to 185.
        age_ms_max: How old an event may be for that: a minute to 24 hours.
        dead_letter: The queue for events that cannot be delivered; without one they are dropped.

    Raises:
        ValueError: A value is out of the range that AWS accepts.
    """

    queue: str
    group: str | None = attrs.field(default=None, kw_only=True)
    attempts_max: int = attrs.field(default=185, kw_only=True)
    age_ms_max: int = attrs.field(default=86_400_000, kw_only=True)
    dead_letter: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        self.settings()  # checks them

    def settings(self) -> TargetSettings:
        """Return what the machine goes by."""
        return TargetSettings(**attrs.asdict(self))


def _targets(given: Any) -> tuple[EventTarget, ...]:
    given = (given,) if isinstance(given, str | EventTarget) else given
    right = "names of queues, or an EventTarget for each"
    if not isinstance(given, list | tuple):
        raise allowed.refused("EventRule", "targets", right, given)
    for one in given:
        if not isinstance(one, str | EventTarget):
            raise allowed.refused("EventRule", "targets", right, one)
    if len(given) > TARGETS_MAX:
        raise InvalidDefinition(f"a rule has {TARGETS_MAX} targets at most, not {len(given)}")
    return tuple(EventTarget(one) if isinstance(one, str) else one for one in given)


@attrs.frozen
class EventRule:
    """A rule: which events it takes, and where they go.

    Args:
        pattern: What an event must be like: `{"source": ["shop"], "detail-type": ["OrderPlaced"],
            "detail": {"cents": [{"numeric": [">", 1000]}]}}`.
        targets: Names of queues, or an `EventTarget` for each.

    Raises:
        InvalidDefinition: EventBridge refuses the pattern; it says why in its words.
    """

    pattern: Mapping[str, Any]
    targets: tuple[EventTarget, ...] = attrs.field(converter=_targets)

    def __attrs_post_init__(self) -> None:
        try:
            check(self.pattern)
        except BadPolicy as error:
            raise InvalidDefinition(f"Event pattern is not valid. Reason: {error}") from None

    def settings(self) -> RuleSettings:
        """Return what the machine goes by."""
        return RuleSettings(pattern=self.pattern)


def _rules(given: Any) -> dict[str, EventRule]:
    right = '{"big": EventRule({"detail-type": ["OrderPlaced"]}, "orders")}'
    if not isinstance(given, Mapping):
        raise allowed.refused("EventBridge", "rules", right, given)
    for name, rule in given.items():
        if not isinstance(name, str) or not isinstance(rule, EventRule):
            raise allowed.refused("EventBridge", "rules", right, {name: rule})
    return dict(given)


@attrs.frozen
class EventBridge:
    """An event bus. Services publish to it, and consume from the queues that its rules lead to.

    `env.publisher(events)` gives `publish(detail_type, detail, key=None, source=None)`; see
    `OpenEventBridge.publish`. A queue gets the whole event: `{"detail-type": ..., "source": ...,
    "detail": ...}`.

    Args:
        name: What reports call it.
        queues: The SQS whose queues are targets; a part of the same system, added before.
        rules: By name: `{"big": EventRule({"detail-type": ["OrderPlaced"]}, ["billing"])}`.
        bus: What code under test calls it: `EventBusName`.
        source: Who sends, where a publish does not say.
        latency_ms: From the bus to a queue.
        timeout_ms: How long a caller waits for an answer.

    Raises:
        InvalidDefinition: A queue is not there; a FIFO queue is a target without a group, or cannot
            recognise events by their content; dead letters go to a FIFO queue.
    """

    name: str = attrs.field(validator=allowed.text())
    queues: SQS
    rules: Mapping[str, EventRule] = attrs.field(converter=_rules)
    bus: str = attrs.field(default="default", validator=allowed.text(), kw_only=True)
    source: str = attrs.field(default="app", validator=allowed.text(), kw_only=True)
    latency_ms: int = attrs.field(default=1, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=30_000, validator=allowed.whole(1), kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.queues, SQS):
            raise InvalidDefinition(f"{self.name} needs the SQS of its queues, not {self.queues!r}")
        for rule, one in self.rules.items():
            for target in one.targets:
                self._check(f"{self.name}: rule {rule!r}", target)

    def _check(self, rule: str, target: EventTarget) -> None:
        """Refuse a target that does not work."""
        known = self.queues.queues
        for queue in filter(None, (target.queue, target.dead_letter)):
            if queue not in known:
                raise InvalidDefinition(
                    f"{rule} leads to {queue!r}, but {self.queues.name} has no such queue; it has: "
                    f"{', '.join(sorted(known))}"
                )
        if target.dead_letter is not None and target.dead_letter.endswith(FIFO):
            raise InvalidDefinition(f"{rule}: dead letters of EventBridge go to a standard queue")
        if not target.queue.endswith(FIFO):
            return
        if target.group is None:
            raise InvalidDefinition(
                f"{rule} leads to {target.queue!r}, a FIFO queue: give "
                f'EventTarget("{target.queue}", group="...")'
            )
        if not known[target.queue].by_content:
            raise InvalidDefinition(
                f"{rule} leads to {target.queue!r}, a FIFO queue: EventBridge gives no "
                "deduplication id, so declare it as SQSQueue(by_content=True)"
            )

    def goes_to(self, topic: str | None, exchange: str) -> list[tuple[str, str]]:
        """Return the queues that events of a type may reach, with the name of their SQS."""
        return [
            (self.queues.name, target.queue)
            for rule in self.rules.values()
            if topic is None
            or any(matches(asked, {"detail-type": topic}) for asked in detail_types(rule.pattern))
            for target in rule.targets
        ]

    def open(self, world: World) -> OpenEventBridge:
        """Return this bus, without events, for one run."""
        desk = world.states.get(self.queues.name)
        if not isinstance(desk, OpenSQS):
            raise InvalidDefinition(
                f"{self.name} hands on to {self.queues.name}, which the system must be given "
                f"before it: system.add({self.queues.name}), then system.add({self.name})"
            )
        return OpenEventBridge(self, world, desk)
