"""SNS as a pure machine: topics, subscriptions, filters, retries and dead letters.

Who drives it is told which deliveries are due (`HandedOut`, the receipt is an `Attempt`), tries
them, and says how each went: `Delivered`, or `Failed`.

Source:
    Amazon SNS Developer Guide, "Message delivery retries" (AWS endpoints: 3 at once, 2 after 1 s
    each, 10 after 1 to 20 s, 100,000 after 20 s), "Dead-letter queues" (client errors are not
    retried), "Message filtering", "FIFO topics"; answers recorded from AWS.

Not modelled:
    Endpoints other than SQS queues; permissions; data protection; message archives; that a
    change of a filter takes up to 15 minutes.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from heapq import heappop, heappush
from typing import Any, Final, Literal

import attrs

from chaosharness.machines.machine import (
    Buried,
    Fact,
    HandedOut,
    Recognised,
    Refusal,
    Settled,
    Stored,
)
from chaosharness.machines.sns.filters import matches, of_attributes, of_body

DEDUPLICATION_MS: Final = 300_000
SIZE_MAX: Final = 262_144
ATTEMPTS_MAX: Final = 100_015
ARN: Final = "arn:aws:sns:eu-central-1:000000000000:"


def sequence_of(name: str) -> str:
    """Return the sequence number of a message of a FIFO topic, by its id: 20 digits, growing."""
    return f"1{int(name[-12:], 16):019d}"


def retry_ms(attempt: int) -> int | None:
    """Return how long after an attempt that failed the next one comes; None for never."""
    if attempt <= 3:
        return 0
    if attempt <= 5:
        return 1_000
    if attempt <= 15:
        return min(1_000 << (attempt - 6), 20_000)
    return 20_000 if attempt < ATTEMPTS_MAX else None


@attrs.frozen(kw_only=True)
class SubscriptionSettings:
    """A subscription of a queue.

    Attributes:
        queue: Where messages go.
        filter_policy: Which ones; None for all.
        filter_scope: What the policy is about.
        raw: Whether the body is handed on as it is, or in an envelope.
        dead_letter: The queue for messages that cannot be delivered.
    """

    queue: str
    filter_policy: Mapping[str, Any] | None = None
    filter_scope: Literal["MessageAttributes", "MessageBody"] = "MessageAttributes"
    raw: bool = False
    dead_letter: str | None = None


@attrs.frozen(kw_only=True)
class TopicSettings:
    """A topic. FIFO: order in a group, and messages are recognised when published again.

    Attributes:
        as_standard: FIFO: whether it takes what a FIFO topic takes, and promises only what a
            standard topic does.
    """

    fifo: bool = False
    by_content: bool = False
    as_standard: bool = False

    @property
    def keeps_order(self) -> bool:
        """Whether it keeps what FIFO promises."""
        return self.fifo and not self.as_standard


@attrs.frozen
class CreateTopic:
    """CreateTopic."""

    topic: str
    settings: TopicSettings


@attrs.frozen
class Subscribe:
    """Subscribe."""

    topic: str
    settings: SubscriptionSettings


@attrs.frozen
class DeleteTopic:
    """DeleteTopic: its subscriptions go with it. Deleting none succeeds."""

    topic: str


@attrs.frozen
class Unsubscribe:
    """Unsubscribe. What is on its way already is delivered."""

    topic: str
    queue: str


@attrs.frozen
class Change:
    """SetSubscriptionAttributes: the subscription of this queue is another from now on."""

    topic: str
    settings: SubscriptionSettings


@attrs.frozen
class Publish:
    """Publish. `message` is kept and handed on with all facts."""

    topic: str
    body: str
    message: Any = None
    subject: str | None = None
    attributes: Mapping[str, Any] = attrs.field(factory=dict)
    group: str | None = None
    deduplication: str | None = None


@attrs.frozen
class Delivered:
    """An attempt went well."""

    attempt: Attempt


@attrs.frozen
class Failed:
    """An attempt failed. `for_good`: the queue is gone, or permission is: no retry."""

    attempt: Attempt
    for_good: bool = False


@attrs.frozen(eq=False)
class Attempt:
    """One attempt to deliver one message to one subscriber.

    Attributes:
        number: From 1.
        body: What the queue gets.
        attributes: What it gets beside, where the delivery is raw.
        group: MessageGroupId; a standard queue is told that of a standard topic alone.
        deduplication: What a FIFO queue recognises it by, if its topic is FIFO.
    """

    topic: str
    subscription: SubscriptionSettings
    message: Any
    number: int
    body: str
    attributes: Mapping[str, Any]
    group: str | None
    deduplication: str | None


class Topic:
    """A topic and who has subscribed to it."""

    def __init__(self, name: str, settings: TopicSettings) -> None:
        self.name = name
        self.settings = settings
        self.subscriptions: list[SubscriptionSettings] = []
        self.seen: dict[str, tuple[int, str, Any]] = {}


class SnsMachine:
    """All topics of one account and region.

    Args:
        epoch_ms: Of the moment 0, since 1970: for the time stamps of envelopes.
    """

    def __init__(self, epoch_ms: int = 0) -> None:
        self._epoch_ms = epoch_ms
        self.topics: dict[str, Topic] = {}
        self._facts: list[Fact] = []
        self._numbers = 0
        self._pending: list[tuple[int, int, Attempt]] = []

    def apply(self, operation: Any, now: int) -> Any:
        """Do what is asked for; return an answer, or a `Refusal`."""
        self.tick(now)
        do = DO.get(type(operation))
        if do is None:
            raise TypeError(f"{operation!r} is no operation of SNS")
        return do(self, operation, now)

    def due(self) -> int | None:
        """Return when the next attempt is due; None for never."""
        return self._pending[0][0] if self._pending else None

    def tick(self, now: int) -> None:
        """Hand out the attempts that are due."""
        while self._pending and self._pending[0][0] <= now:
            attempt = heappop(self._pending)[2]
            self._facts.append(
                HandedOut(
                    attempt.message,
                    attempt.topic,
                    attempt.subscription,
                    attempt.number,
                    attempt.number > 1,
                    attempt,
                )
            )

    def take(self) -> list[Fact]:
        """Return what happened since this was asked last, in order."""
        facts, self._facts = self._facts, []
        return facts

    # ---- topics

    def _create(self, operation: CreateTopic, now: int) -> Refusal | None:
        self.topics[operation.topic] = Topic(operation.topic, operation.settings)
        return None

    def _subscribe(self, operation: Subscribe, now: int) -> Refusal | None:
        topic = self.topics.get(operation.topic)
        if topic is None:
            return NO_TOPIC
        if operation.settings.queue.endswith(".fifo") and not topic.settings.fifo:
            return _invalid(
                "Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to "
                "standard SNS topics"
            )
        topic.subscriptions.append(operation.settings)
        return None

    def _delete(self, operation: DeleteTopic, now: int) -> None:
        self.topics.pop(operation.topic, None)

    def _unsubscribe(self, operation: Unsubscribe, now: int) -> None:
        topic = self.topics.get(operation.topic)
        if topic is not None:
            left = [one for one in topic.subscriptions if one.queue != operation.queue]
            topic.subscriptions[:] = left

    def _change(self, operation: Change, now: int) -> Refusal | None:
        topic = self.topics.get(operation.topic)
        for nth, one in enumerate(() if topic is None else topic.subscriptions):
            if topic is not None and one.queue == operation.settings.queue:
                topic.subscriptions[nth] = operation.settings
                return None
        return NO_SUBSCRIPTION

    # ---- publishing

    def _publish(self, operation: Publish, now: int) -> str | Refusal:
        refusal = self.refused(operation)
        if refusal is not None:
            return refusal
        topic = self.topics[operation.topic]
        key = self._key(operation, topic)
        recognises = key is not None and topic.settings.keeps_order
        if key is not None and recognises:
            at_ms, first_id, first = topic.seen.get(key, (-DEDUPLICATION_MS, "", None))
            if now - at_ms < DEDUPLICATION_MS:
                self._facts.append(Recognised(operation.message, topic.name, first))
                return first_id
        self._numbers += 1
        name = f"00000000-0000-4000-9000-{self._numbers:012x}"
        if key is not None and recognises:
            topic.seen[key] = (now, name, operation.message)
        self._facts.append(Stored(operation.message, topic.name))
        for subscription in topic.subscriptions:
            if _passes(subscription, operation):
                self._hand_on(topic, subscription, operation, key, name, now)
        return name

    def refused(self, operation: Publish) -> Refusal | None:
        """Return what is said of a message that is not taken; None of one that is."""
        topic = self.topics.get(operation.topic)
        if topic is None:
            return NO_TOPIC
        if not operation.body:
            return _invalid("Empty message")
        if len(operation.body.encode()) > SIZE_MAX:
            return _invalid("Message too long")
        if topic.settings.fifo:
            if operation.group is None:
                return _invalid("The MessageGroupId parameter is required for FIFO topics")
            if operation.deduplication is None and not topic.settings.by_content:
                return _invalid(
                    "The topic should either have ContentBasedDeduplication enabled or "
                    "MessageDeduplicationId provided explicitly"
                )
        elif operation.deduplication is not None:
            return _invalid(
                "MessageDeduplicationId Reason: The request includes MessageDeduplicationId "
                "parameter that is not valid for this topic type"
            )
        return None

    def _key(self, operation: Publish, topic: Topic) -> str | None:
        if not topic.settings.fifo:
            return None
        return operation.deduplication or sha256(operation.body.encode()).hexdigest()

    def _hand_on(
        self,
        topic: Topic,
        subscription: SubscriptionSettings,
        operation: Publish,
        key: str | None,
        name: str,
        now: int,
    ) -> None:
        raw = subscription.raw
        attempt = Attempt(
            topic.name,
            subscription,
            operation.message,
            1,
            operation.body if raw else envelope(operation, topic, name, self._epoch_ms + now),
            operation.attributes if raw else {},
            operation.group,
            key,
        )
        self._push(now, attempt)
        self.tick(now)

    def _push(self, due: int, attempt: Attempt) -> None:
        self._numbers += 1
        heappush(self._pending, (due, self._numbers, attempt))

    # ---- how attempts went

    def _delivered(self, operation: Delivered, now: int) -> bool:
        attempt = operation.attempt
        self._facts.append(Settled(attempt.message, attempt.topic, attempt.subscription))
        return False

    def _failed(self, operation: Failed, now: int) -> bool:
        """Take note; say whether there will be another attempt."""
        attempt = operation.attempt
        wait_ms = None if operation.for_good else retry_ms(attempt.number)
        if wait_ms is None:
            to = attempt.subscription.dead_letter
            reason = "the queue is gone" if operation.for_good else "retries are over"
            self._facts.append(Buried(attempt.message, attempt.topic, to, reason, attempt.number))
            return False
        self._push(now + wait_ms, attrs.evolve(attempt, number=attempt.number + 1))
        self.tick(now)
        return True


Do = Callable[[SnsMachine, Any, int], Any]
DO: Final[dict[type, Do]] = {
    CreateTopic: SnsMachine._create,
    Subscribe: SnsMachine._subscribe,
    DeleteTopic: SnsMachine._delete,
    Unsubscribe: SnsMachine._unsubscribe,
    Change: SnsMachine._change,
    Publish: SnsMachine._publish,
    Delivered: SnsMachine._delivered,
    Failed: SnsMachine._failed,
}

NO_TOPIC: Final = Refusal("NotFound", "Topic does not exist")
NO_SUBSCRIPTION: Final = Refusal("NotFound", "Subscription does not exist")


def _invalid(text: str) -> Refusal:
    return Refusal("InvalidParameter", f"Invalid parameter: {text}")


def _passes(subscription: SubscriptionSettings, operation: Publish) -> bool:
    policy = subscription.filter_policy
    if policy is None:
        return True
    if subscription.filter_scope == "MessageBody":
        return matches(policy, of_body(operation.body))
    return matches(policy, of_attributes(operation.attributes))


def envelope(operation: Publish, topic: Topic, name: str, now: int) -> str:
    """Return a body as SNS wraps it, unless the delivery is raw."""
    words: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": name,
        "TopicArn": f"{ARN}{topic.name}",
        "Message": operation.body,
        "Timestamp": _timestamp(now),
    }
    if topic.settings.fifo:
        words["SequenceNumber"] = sequence_of(name)
    if operation.subject is not None:
        words["Subject"] = operation.subject
    if operation.attributes:
        words["MessageAttributes"] = {
            key: {"Type": type_of(value), "Value": text_of(value)}
            for key, value in operation.attributes.items()
        }
    return json.dumps(words)


def _timestamp(now: int) -> str:
    return f"{datetime.fromtimestamp(now // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{now % 1000:03}Z"


def type_of(value: Any) -> str:
    """Return the data type of a message attribute."""
    if isinstance(value, bytes):
        return "Binary"
    if isinstance(value, list | tuple):
        return "String.Array"
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return "Number" if numeric else "String"


def text_of(value: Any) -> str:
    """Return a message attribute as text."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return json.dumps(list(value)) if isinstance(value, list | tuple) else str(value)
