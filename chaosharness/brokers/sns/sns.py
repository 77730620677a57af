"""SNS: topics that hand each message on to every queue that has subscribed.

Source:
    Amazon SNS Developer Guide; answers recorded from AWS. See the machine,
    `chaosharness/machines/sns`, for the rules, and `rows.py` for what may strike where.

Not modelled:
    Subscribers that are no queues (Lambda, HTTP, e-mail, text messages); subscribing while a system
    runs; that a change of a filter takes up to 15 minutes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from chaosharness.brokers.message import NO_HEADERS, POISON, Message, encode, key_of
from chaosharness.brokers.relay import Relay, twin_of
from chaosharness.brokers.sns.rows import SURFACES
from chaosharness.brokers.sqs.errors import answered
from chaosharness.brokers.sqs.sqs import FIFO, SQS, OpenSQS
from chaosharness.brokers.trouble import refuse_words
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Duplicate, Poison
from chaosharness.handlers.port import Surface, current_scope, operate_for
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Buried, Fact, HandedOut, Settled
from chaosharness.machines.sns import SnsMachine, SubscriptionSettings, TopicSettings
from chaosharness.machines.sns import machine as op
from chaosharness.machines.sns.filters import BadPolicy, check
from chaosharness.machines.sqs.operations import Send


@attrs.frozen
class SNSSubscription:
    """A queue that has subscribed to a topic.

    Args:
        queue: Name of a queue of the SQS that the topics belong to.
        filter_policy: Which messages it gets: `{"kind": ["order", {"prefix": "re"}]}`; None: all.
        filter_scope: What the policy is about: `MessageAttributes` (headers), or the JSON in
            `MessageBody`.
        raw: Whether the queue gets the body as it was published, or in the envelope of SNS
            (`{"Type": "Notification", "Message": "..."}`), which is AWS's default.
        dead_letter: The queue for messages that cannot be delivered.

    Raises:
        InvalidDefinition: SNS refuses the policy; it says why in its words.
    """

    queue: str
    filter_policy: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    filter_scope: Literal["MessageAttributes", "MessageBody"] = attrs.field(
        default="MessageAttributes",
        validator=attrs.validators.in_(("MessageAttributes", "MessageBody")),
        kw_only=True,
    )
    raw: bool = attrs.field(default=False, kw_only=True)
    dead_letter: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.filter_policy is None:
            return
        if not isinstance(self.filter_policy, Mapping):
            right = 'a policy such as {"kind": ["order"]}, or None'
            raise allowed.refused("SNSSubscription", "filter_policy", right, self.filter_policy)
        try:
            check(self.filter_policy, body=self.filter_scope == "MessageBody")
        except BadPolicy as error:
            raise InvalidDefinition(f"the subscription of {self.queue!r}: {error}") from None

    def settings(self) -> SubscriptionSettings:
        """Return what the machine goes by."""
        return SubscriptionSettings(**attrs.asdict(self, recurse=False))


def _subscriptions(given: Any) -> tuple[SNSSubscription, ...]:
    given = (given,) if isinstance(given, str | SNSSubscription) else given
    right = "names of queues, or an SNSSubscription for each"
    if not isinstance(given, list | tuple):
        raise allowed.refused("SNSTopic", "subscriptions", right, given)
    for one in given:
        if not isinstance(one, str | SNSSubscription):
            raise allowed.refused("SNSTopic", "subscriptions", right, one)
    return tuple(SNSSubscription(one) if isinstance(one, str) else one for one in given)


@attrs.frozen
class SNSTopic:
    """A topic. One whose name ends in `.fifo` is a FIFO topic.

    Args:
        subscriptions: Names of queues, or an `SNSSubscription` for each.
        by_content: FIFO: whether equal bodies within 5 minutes are the same message.
    """

    subscriptions: tuple[SNSSubscription, ...] = attrs.field(converter=_subscriptions)
    by_content: bool = attrs.field(default=False, kw_only=True)


def _topics(given: Any) -> dict[str, SNSTopic]:
    if not isinstance(given, Mapping):
        right = 'who has subscribed to each: {"orders": ["billing"]}'
        raise allowed.refused("SNS", "topics", right, given)
    return {
        name: one if isinstance(one, SNSTopic) else SNSTopic(one) for name, one in given.items()
    }


@attrs.frozen
class SNS:
    """The SNS topics of an account. Services publish to them, and consume from the queues.

    Args:
        name: What reports call it.
        queues: The SQS whose queues subscribe; a part of the same system, added before.
        topics: Who has subscribed to each: `{"orders": ["billing", SNSSubscription("audit",
            raw=True)]}`, or an `SNSTopic`.
        latency_ms: From a topic to a queue.
        timeout_ms: How long a caller waits for an answer.
        fifo: Whether topics that are named `.fifo` keep what FIFO promises; as for `SQS`.

    Raises:
        InvalidDefinition: A queue is not there; or a FIFO queue subscribes to a standard topic.
    """

    name: str = attrs.field(validator=allowed.text())
    queues: SQS
    topics: Mapping[str, SNSTopic] = attrs.field(converter=_topics)
    latency_ms: int = attrs.field(default=1, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=30_000, validator=allowed.whole(1), kw_only=True)
    fifo: bool = attrs.field(default=True, validator=allowed.flag(), kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.queues, SQS):
            raise InvalidDefinition(f"{self.name} needs the SQS of its queues, not {self.queues!r}")
        known = self.queues.queues
        for name, topic in self.topics.items():
            for one in topic.subscriptions:
                for queue in filter(None, (one.queue, one.dead_letter)):
                    if queue not in known:
                        raise InvalidDefinition(
                            f"{queue!r} subscribes to {name!r}, but {self.queues.name} has no such "
                            f"queue; it has: {', '.join(sorted(known))}"
                        )
                if one.queue.endswith(FIFO) and not name.endswith(FIFO):
                    raise InvalidDefinition(
                        f"{one.queue!r} subscribes to {name!r}: FIFO SQS Queues can not be "
                        "subscribed to standard SNS topics"
                    )

    def goes_to(self, topic: str | None, exchange: str) -> list[tuple[str, str]]:
        """Return the queues that subscribe, with the name of their SQS; to any topic if None."""
        topics = self.topics if topic is None else {topic} & self.topics.keys()
        return [
            (self.queues.name, one.queue)
            for name in sorted(topics)
            for one in self.topics[name].subscriptions
        ]

    def open(self, world: World) -> OpenSNS:
        """Return these topics, without messages, for one run."""
        desk = world.states.get(self.queues.name)
        if not isinstance(desk, OpenSQS):
            raise InvalidDefinition(
                f"{self.name} hands on to {self.queues.name}, which the system must be given "
                f"before it: system.add({self.queues.name}), then system.add({self.name})"
            )
        return OpenSNS(self, world, desk)


Draft = tuple[Message, op.Publish, str]
"""A message to be published, what the machine is asked for it, and the message in hand."""


class OpenSNS(Relay):
    """The topics during one run, as services use them."""

    refusal = "ServiceUnavailable"
    where = "the messages of {} are in the queues that subscribe to it"
    ended = (op.Delivered, op.Failed)
    machine: SnsMachine
    text_only = True
    """A message is a text: what is no text is sent in base64."""

    def __init__(self, definition: SNS, world: World, desk: OpenSQS) -> None:
        super().__init__(definition, world, desk, SnsMachine(EPOCH_MS))
        self._lanes: dict[tuple[str, str, str], deque[op.Attempt]] = {}
        self._over: op.Attempt | None = None
        """The attempt that has just gone well, or failed."""
        for name, topic in definition.topics.items():
            settings = TopicSettings(
                fifo=name.endswith(FIFO),
                by_content=topic.by_content,
                as_standard=not definition.fifo,
            )
            self.machine.apply(op.CreateTopic(name, settings), 0)
            for one in topic.subscriptions:
                answered(name, self.machine.apply(op.Subscribe(name, one.settings()), 0))

    def close(self) -> None:
        """Let go of what was to be handed on, at the end of a run."""
        self._lanes.clear()

    # ---- publishing

    def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        group: str | None = None,
        deduplication: str | None = None,
        subject: str | None = None,
        **unknown: Any,
    ) -> Any:
        """Publish a message to a topic. That it was taken says nothing about its delivery.

        In an `async` handler, await it.

        Args:
            topic: Name of a topic.
            value: Payload.
            key: Correlates the message with its workload item; SNS does not see it.
            headers: Message attributes: texts, numbers, lists of either, bytes.
            group: MessageGroupId; on a FIFO topic by default the key.
            deduplication: MessageDeduplicationId (FIFO).
            subject: Subject.

        Raises:
            AWSError: SNS refuses: a message without a text, one without a group for a FIFO topic.
            UnserialisablePayload: The value has no JSON form.
            TimeoutError: No answer: it may have been taken.
            ConnectionError: Refused for now: it was not taken.
        """
        if unknown:
            refuse_words(self.publish, self.name, unknown)
        world = self.world
        scope = current_scope("publish", world)
        if topic not in self.machine.topics:
            known = ", ".join(sorted(self.machine.topics)) or "none"
            raise InvalidDefinition(f"{self.name} has no topic {topic!r}; it has: {known}")
        body = encode(value, topic)
        name = key_of(key, topic)
        entity = scope.entity
        if name is not None:
            entity = world.entity_for(name, entity)
        fifo = topic.endswith(FIFO)
        if group is None and fifo:
            group = name
        operation = f"{scope.place}/{self.name}.publish {topic}"
        message = Message(topic, name, headers or NO_HEADERS, body, entity, scope.hops + 1)
        text = body.decode("utf-8", "surrogateescape")
        asked = op.Publish(topic, text, message, subject, dict(headers or {}), group, deduplication)
        draft = (message, asked, scope.message)
        surface = SURFACES[self.profile(topic), "publish"]
        return operate_for(scope, entity, operation, self._store, draft, self, surface)

    def _store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        message, asked, in_hand = draft
        names = self.world.publications
        message.name = names.name(operation, message.entity, in_hand, message.body)
        copies = 1
        for fault in scope.struck:
            if isinstance(fault, Poison):
                body = POISON[fault.content]
                poison = Message(message.topic, None, NO_HEADERS, body, 0, message.hops)
                poison.name = self.world.publications.poison_at(message.name)
                own, scope.entity = scope.entity, 0
                text = body.decode("utf-8", "surrogateescape")
                unique = f"poison-{len(self.world.raw)}" if asked.group is not None else None
                changed: dict[str, Any] = {"body": text, "message": poison, "deduplication": unique}
                self._take(attrs.evolve(asked, **changed, attributes={}), scope, "", 0)
                scope.entity = own
            elif isinstance(fault, Duplicate):
                copies = 2
        for nth in range(copies):
            one = asked
            if nth:
                name = names.name(operation, message.entity, in_hand, message.body)
                one = attrs.evolve(asked, message=twin_of(message, name))
            self._take(one, scope, operation, attempt)

    def _take(self, asked: op.Publish, scope: Scope, operation: str, attempt: int) -> None:
        answered(operation or asked.topic, self.do(asked, scope, operation, attempt))

    def _take_note(self, fact: Fact, scope: Scope | None, operation: str, attempt: int) -> None:
        match fact:
            case HandedOut():
                self._set_out(fact.receipt)
            case Buried(message, place, to, reason):
                self._bury(message, place, to, reason)
            case Settled():
                pass  # the queue has it, and says so
            case _:
                self.journal.write(fact, scope, operation, attempt)

    # ---- delivering

    def _set_out(self, attempt: op.Attempt) -> None:
        """Deliver after the way to the queue; in a group of a FIFO topic one after the other."""
        if self.profile(attempt.topic) != "fifo":
            self.world.after(self.latency_ms, self._deliver, attempt)
            return
        lane = self._lane(attempt)
        if attempt.number > 1:
            lane[0] = attempt
        else:
            lane.append(attempt)
        if lane[0] is attempt:
            self.world.after(self.latency_ms, self._deliver, attempt)

    def profile(self, topic: str) -> str:
        """Return what may strike at a topic: which promises it keeps."""
        return "fifo" if topic.endswith(FIFO) and self.definition.fifo else "standard"

    def _lane(self, attempt: op.Attempt) -> deque[op.Attempt]:
        place = (attempt.topic, attempt.subscription.queue, attempt.group or "")
        return self._lanes.setdefault(place, deque())

    def site(self, attempt: op.Attempt) -> tuple[str, Surface]:
        """Return the operation of an attempt, and what may strike there."""
        operation = f"{self.name}.{attempt.topic}/deliver to {attempt.subscription.queue}"
        return operation, SURFACES[self.profile(attempt.topic), "fan out"]

    def end(self, attempt: op.Attempt, how: op.Delivered | op.Failed) -> None:
        """Say how it went; in a group of a FIFO topic the next one follows what is done with."""
        self._over = attempt
        again = self.machine.apply(how, self.world.now)
        if self.profile(attempt.topic) == "fifo" and not again:
            lane = self._lane(attempt)
            lane.popleft()
            if lane:
                self.world.after(self.latency_ms, self._deliver, lane[0])
        self._tell()

    def send(self, attempt: op.Attempt) -> Any:
        """Have the queue take it, as a message of its own."""
        message, queue = attempt.message, attempt.subscription.queue
        body = attempt.body.encode("utf-8", "surrogateescape")
        sent = Message(
            queue,
            message.key,
            attempt.attributes or NO_HEADERS,
            body,
            message.entity,
            message.hops,
            message.published,
            name=message.name,
        )
        return self.desk.do(_as_sent(attempt, queue, sent))

    def _bury(self, message: Message, topic: str, to: str | None, reason: str) -> None:
        index = self.buried(message, topic, to, reason)
        attempt = self._over
        if to is not None and attempt is not None:
            body = attempt.body.encode("utf-8", "surrogateescape")
            headers = attempt.attributes or NO_HEADERS
            letter = Message(to, message.key, headers, body, message.entity, message.hops, index)
            letter.name = message.name
            self.desk.do(_as_sent(attempt, to, letter))


def _as_sent(attempt: op.Attempt, queue: str, message: Message) -> Send:
    """Return what a queue is asked to take: the message of an attempt, as it would be delivered."""
    group, key = attempt.group, attempt.deduplication
    if not queue.endswith(FIFO):
        group, key = (group if key is None else None), None
    body = message.body or b""
    return Send(queue, body, message, len(body), group, key, None)
