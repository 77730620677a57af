"""EventBridge as a pure machine: events in, rules that match, attempts at targets, dead letters.

Who drives it is told which deliveries are due (`HandedOut`, the receipt is an `Attempt`), tries
them, and says how each went: `Delivered`, or `Failed`.

Source:
    Amazon EventBridge User Guide, "Event buses", "Event patterns", "How EventBridge retries
    delivering events" (24 hours and 185 attempts), "Using dead-letter queues to process undelivered
    events" (attributes of a letter); API Reference, PutEvents, PutRule, PutTargets.

Not modelled:
    Archives and replay; pipes, schedules, API destinations, partner events; input transformers; the
    custom event buses with subscribers in order; permissions. That a new rule takes a while to
    match. How long pauses between attempts are is not documented (`pause_ms`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any, Final

import attrs

from chaosharness.machines.eventbridge.patterns import check, matches
from chaosharness.machines.eventbridge.settings import (
    SIZE_MAX,
    TARGETS_MAX,
    RuleSettings,
    TargetSettings,
    pause_ms,
)
from chaosharness.machines.machine import Buried, Fact, HandedOut, Refusal, Settled, Stored
from chaosharness.machines.sns.filters import BadPolicy

REGION: Final = "eu-central-1"
ACCOUNT: Final = "000000000000"
ARN: Final = f"arn:aws:events:{REGION}:{ACCOUNT}:"
QUEUE_ARN: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"


@attrs.frozen
class PutRule:
    """PutRule: make a rule, or change it; its targets stay."""

    rule: str
    settings: RuleSettings


@attrs.frozen
class DeleteRule:
    """DeleteRule: one with targets stays. Deleting none succeeds."""

    rule: str


@attrs.frozen
class PutTarget:
    """PutTargets, for one target: add it under its id, or change it."""

    rule: str
    id: str
    settings: TargetSettings


@attrs.frozen
class RemoveTarget:
    """RemoveTargets, for one target. What is on its way already is delivered."""

    rule: str
    id: str


@attrs.frozen
class PutEvent:
    """One entry of PutEvents. `message` is kept and handed on with all facts.

    Attributes:
        detail: JSON, an object.
        time_ms: As the sender says it, since 1970; by default when it comes.
    """

    source: str
    detail_type: str
    detail: str
    message: Any = None
    resources: tuple[str, ...] = ()
    time_ms: int | None = None


@attrs.frozen
class Delivered:
    """An attempt went well."""

    attempt: Attempt


@attrs.frozen
class Failed:
    """An attempt failed. `for_good`: the target is gone, or permission is: no retry."""

    attempt: Attempt
    for_good: bool = False


@attrs.frozen(eq=False)
class Attempt:
    """One attempt to deliver one event to one target.

    Attributes:
        number: From 1.
        body: What the queue gets.
        begun_ms: When the event came.
    """

    rule: str
    id: str
    target: TargetSettings
    message: Any
    number: int
    body: str
    begun_ms: int


class Rule:
    """A rule and its targets, by id."""

    def __init__(self, name: str, settings: RuleSettings) -> None:
        self.name = name
        self.settings = settings
        self.targets: dict[str, TargetSettings] = {}


class EventBridgeMachine:
    """One event bus of one account and region.

    Args:
        bus: Its name, the place of what is stored.
        epoch_ms: Of the moment 0, since 1970: for the time stamps of events.
    """

    def __init__(self, bus: str = "default", epoch_ms: int = 0) -> None:
        self.bus = bus
        self.rules: dict[str, Rule] = {}
        self._epoch_ms = epoch_ms
        self._facts: list[Fact] = []
        self._numbers = 0
        self._pending: list[tuple[int, int, Attempt]] = []

    def apply(self, operation: Any, now: int) -> Any:
        """Do what is asked for; return an answer, or a `Refusal`."""
        self.tick(now)
        do = DO.get(type(operation))
        if do is None:
            raise TypeError(f"{operation!r} is no operation of EventBridge")
        return do(self, operation, now)

    def due(self) -> int | None:
        """Return when the next attempt is due; None for never."""
        return self._pending[0][0] if self._pending else None

    def tick(self, now: int) -> None:
        """Hand out the attempts that are due."""
        while self._pending and self._pending[0][0] <= now:
            one = heappop(self._pending)[2]
            again = one.number > 1
            self._facts.append(HandedOut(one.message, self.bus, one.target, one.number, again, one))

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
        facts, self._facts = self._facts, []
        return facts

    # ---- rules

    def _put_rule(self, operation: PutRule, now: int) -> str | Refusal:
        try:
            check(operation.settings.pattern)
        except BadPolicy as error:
            text = f"Event pattern is not valid. Reason: {error}"
            return Refusal("InvalidEventPatternException", text)
        known = self.rules.get(operation.rule)
        if known is None:
            self.rules[operation.rule] = Rule(operation.rule, operation.settings)
        else:
            known.settings = operation.settings
        return self.arn(operation.rule)

    def _delete_rule(self, operation: DeleteRule, now: int) -> Refusal | None:
        known = self.rules.get(operation.rule)
        if known is not None and known.targets:
            return Refusal("ValidationException", "Rule can't be deleted since it has targets.")
        self.rules.pop(operation.rule, None)
        return None

    def _put_target(self, operation: PutTarget, now: int) -> Refusal | None:
        rule = self.rules.get(operation.rule)
        if rule is None:
            return self.no_rule(operation.rule)
        if operation.id not in rule.targets and len(rule.targets) >= TARGETS_MAX:
            text = "The requested resource exceeds the maximum number allowed."
            return Refusal("LimitExceededException", text)
        target = operation.settings
        if target.queue.endswith(".fifo") and target.group is None:
            text = (
                f"Parameter(s) SqsParameters must be specified for target: {operation.id} of type "
                f"{QUEUE_ARN}{target.queue}."
            )
            return Refusal("ValidationException", text)
        rule.targets[operation.id] = target
        return None

    def _remove_target(self, operation: RemoveTarget, now: int) -> Refusal | None:
        rule = self.rules.get(operation.rule)
        if rule is None:
            return self.no_rule(operation.rule)
        if rule.targets.pop(operation.id, None) is None:
            text = f"Rule {operation.rule} does not have any target with id {operation.id}."
            return Refusal("ResourceNotFoundException", text)
        return None

    def no_rule(self, rule: str) -> Refusal:
        """Return what it says of a rule that is not there."""
        text = f"Rule {rule} does not exist on EventBus {self.bus}."
        return Refusal("ResourceNotFoundException", text)

    def arn(self, rule: str) -> str:
        """Return what a rule is called everywhere."""
        place = "" if self.bus == "default" else f"{self.bus}/"
        return f"{ARN}rule/{place}{rule}"

    # ---- events

    def _put_event(self, operation: PutEvent, now: int) -> str | Refusal:
        refusal = _refuse(operation)
        if refusal is not None:
            return refusal
        self._numbers += 1
        name = f"00000000-0000-4000-b000-{self._numbers:012x}"
        event = self._event(operation, name, now)
        body = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        self._facts.append(Stored(operation.message, self.bus))
        for rule in self.rules.values():
            if rule.settings.enabled and matches(rule.settings.pattern, event):
                for key, target in rule.targets.items():
                    first = Attempt(rule.name, key, target, operation.message, 1, body, now)
                    self._push(now, first)
        self.tick(now)
        return name

    def _event(self, operation: PutEvent, name: str, now: int) -> dict[str, Any]:
        at_ms = self._epoch_ms + now if operation.time_ms is None else operation.time_ms
        return {
            "version": "0",
            "id": name,
            "detail-type": operation.detail_type,
            "source": operation.source,
            "account": ACCOUNT,
            "time": f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "region": REGION,
            "resources": [*operation.resources],
            "detail": json.loads(operation.detail),
        }

    def _push(self, due: int, attempt: Attempt) -> None:
        self._numbers += 1
        heappush(self._pending, (due, self._numbers, attempt))

    # ---- how attempts went

    def _delivered(self, operation: Delivered, now: int) -> bool:
        attempt = operation.attempt
        self._facts.append(Settled(attempt.message, self.bus, attempt.target))
        return False

    def _failed(self, operation: Failed, now: int) -> bool:
        """Take note; say whether there will be another attempt."""
        attempt = operation.attempt
        reason = self._over(attempt, now, for_good=operation.for_good)
        if reason:
            to = attempt.target.dead_letter
            self._facts.append(Buried(attempt.message, self.bus, to, reason, attempt.number))
            return False
        later = attrs.evolve(attempt, number=attempt.number + 1)
        self._push(now + pause_ms(attempt.number), later)
        return True

    def _over(self, attempt: Attempt, now: int, *, for_good: bool) -> str:
        """Return why there is no other attempt; nothing if there is one."""
        if for_good:
            return "the target is gone"
        if attempt.number > attempt.target.attempts_max:
            return "MaximumRetryAttempts"
        too_old = now + pause_ms(attempt.number) - attempt.begun_ms > attempt.target.age_ms_max
        return "MaximumEventAgeInSeconds" if too_old else ""


Do = Callable[[EventBridgeMachine, Any, int], Any]
DO: Final[dict[type, Do]] = {
    PutRule: EventBridgeMachine._put_rule,
    DeleteRule: EventBridgeMachine._delete_rule,
    PutTarget: EventBridgeMachine._put_target,
    RemoveTarget: EventBridgeMachine._remove_target,
    PutEvent: EventBridgeMachine._put_event,
    Delivered: EventBridgeMachine._delivered,
    Failed: EventBridgeMachine._failed,
}

REQUIRED: Final = (("Source", "source"), ("DetailType", "detail_type"), ("Detail", "detail"))


def _refuse(operation: PutEvent) -> Refusal | None:
    """Return why an entry is not taken: the others of its request are."""
    for name, field in REQUIRED:
        if not getattr(operation, field):
            text = f"Parameter {name} is not valid. Reason: {name} is a required argument."
            return Refusal("InvalidArgument", text)
    try:
        detail = json.loads(operation.detail)
    except ValueError:
        detail = None
    if not isinstance(detail, Mapping):
        return Refusal("MalformedDetail", "Detail is malformed.")
    return None


def size_of(operation: PutEvent) -> int:
    """Return the bytes of an entry, as its limit counts them."""
    texts = (operation.source, operation.detail_type, operation.detail, *operation.resources)
    return sum(len(text.encode()) for text in texts) + 14 * (operation.time_ms is not None)


def too_long(size: int) -> Refusal | None:
    """Return why a request is refused as a whole."""
    if size < SIZE_MAX:
        return None
    text = "Total size of the entries in the request is over the limit."
    return Refusal("ValidationException", text)


def letter_of(attempt: Attempt, rule_arn: str, reason: str) -> dict[str, str]:
    """Return what a dead letter says beside the event: its message attributes."""
    gone = reason == "the target is gone"
    words = {
        "RULE_ARN": rule_arn,
        "TARGET_ARN": f"{QUEUE_ARN}{attempt.target.queue}",
        "ERROR_CODE": "NO_RESOURCE" if gone else "SERVICE_UNAVAILABLE",
        "ERROR_MESSAGE": "The target does not exist." if gone else "The target did not answer.",
        "RETRY_ATTEMPTS": str(attempt.number - 1),
    }
    return words if gone else {**words, "EXHAUSTED_RETRY_CONDITION": reason}
