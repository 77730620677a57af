"""SNS as the SDK speaks with it: its actions on the topics of a system.

Source:
    Amazon SNS API Reference: Publish, PublishBatch, CreateTopic, Subscribe; answers recorded from
    AWS, which the machine is held against.

Not modelled:
    Endpoints other than queues; unsubscribing and attributes that change later; listing, tags,
    permissions; a message that somebody else publishes and nobody can read (`Poison`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from chaosharness.adapters.aws.answers import Said, refusal
from chaosharness.adapters.aws.asking import Line, Request, not_known
from chaosharness.brokers.message import Message, Text
from chaosharness.brokers.sns.sns import OpenSNS
from chaosharness.brokers.sqs.sqs import FIFO
from chaosharness.kernel.scope import Scope
from chaosharness.machines.machine import Refusal
from chaosharness.machines.sns import SubscriptionSettings, TopicSettings
from chaosharness.machines.sns import machine as op
from chaosharness.machines.sns.filters import BadPolicy, check
from chaosharness.machines.sqs.attributes import name_of

ACTIONS: Final = frozenset(("CreateTopic", "Publish", "PublishBatch", "Subscribe"))
BATCH_MAX: Final = 10


class Topics:
    """The topics of a run, as the SDK sees them."""

    def __init__(self, topics: OpenSNS) -> None:
        self.name = topics.name
        self.topics = topics

    def knows(self, action: str) -> bool:
        """Say whether an action is modelled."""
        return action in ACTIONS

    def about(self, request: Request) -> str:
        """Return the topic that a request is about."""
        given = request.given
        for name in ("PhoneNumber", "MessageStructure"):
            if name in given:
                not_known(request, name)
        return name_of(given.get("TopicArn") or given.get("TargetArn") or given.get("Name") or "")

    def waits(self, request: Request) -> Callable[[Scope, Line], Any] | None:
        """Nothing waits."""
        return None

    def refused(self) -> Said:
        """Return what SNS says where it does nothing for now."""
        words = {"Code": "ServiceUnavailable", "Message": "Service is temporarily unavailable."}
        return Said(503, words | {"Type": "Receiver"})

    def do(self, request: Request, scope: Scope, operation: str, attempt: int) -> dict[str, Any]:
        """Do what is asked for.

        Raises:
            Said: SNS refuses.
        """
        topic, given = self.about(request), request.given
        site = (scope, operation, attempt)
        answer: dict[str, Any] | Refusal
        match request.action:
            case "Publish":
                answer = self._publish(topic, given, *site)
            case "PublishBatch":
                return self._publish_batch(topic, given["PublishBatchRequestEntries"], *site)
            case "CreateTopic":
                return self._create(topic, given.get("Attributes", {}), *site)
            case _:
                answer = self._subscribe(topic, request, *site)
        if isinstance(answer, Refusal):
            raise refusal(answer)
        return answer

    def _create(
        self, topic: str, attributes: Mapping[str, str], scope: Scope, operation: str, attempt: int
    ) -> dict[str, Any]:
        if topic not in self.topics.machine.topics:
            by_content = attributes.get("ContentBasedDeduplication", "") == "true"
            settings = TopicSettings(fifo=topic.endswith(FIFO), by_content=by_content)
            self.topics.do(op.CreateTopic(topic, settings), scope, operation, attempt)
        return {"TopicArn": f"{op.ARN}{topic}"}

    def _subscribe(
        self, topic: str, request: Request, scope: Scope, operation: str, attempt: int
    ) -> dict[str, Any] | Refusal:
        given = request.given
        if given["Protocol"] != "sqs":
            not_known(request, f"Protocol={given['Protocol']!r}")
        attributes = given.get("Attributes", {})
        queue = name_of(given["Endpoint"])
        arn = {"SubscriptionArn": f"{op.ARN}{topic}:{queue}"}
        known = self.topics.machine.topics.get(topic)
        if known is not None and any(one.queue == queue for one in known.subscriptions):
            return arn
        try:
            settings = _settings(queue, attributes)
        except BadPolicy as error:
            return Refusal("InvalidParameter", str(error))
        answer = self.topics.do(op.Subscribe(topic, settings), scope, operation, attempt)
        return answer if isinstance(answer, Refusal) else arn

    def _publish(
        self, topic: str, given: Mapping[str, Any], scope: Scope, operation: str, attempt: int
    ) -> dict[str, Any] | Refusal:
        world = self.topics.world
        text = given["Message"]
        body = Text(text.encode("utf-8", "surrogatepass"))
        attributes = {name: _value(one) for name, one in given.get("MessageAttributes", {}).items()}
        message = Message(topic, None, attributes, body, scope.entity, scope.hops + 1)
        message.name = world.publications.name(operation, scope.entity, scope.message, body)
        asked = op.Publish(
            topic,
            text,
            message,
            given.get("Subject"),
            attributes,
            given.get("MessageGroupId"),
            given.get("MessageDeduplicationId"),
        )
        answer = self.topics.do(asked, scope, operation, attempt)
        return answer if isinstance(answer, Refusal) else {"MessageId": answer}

    def _publish_batch(
        self, topic: str, entries: list[dict[str, Any]], scope: Scope, operation: str, attempt: int
    ) -> dict[str, Any]:
        if len(entries) > BATCH_MAX:
            words = "The batch request contains more entries than permissible"
            raise refusal(Refusal("TooManyEntriesInBatchRequest", words))
        if len({entry["Id"] for entry in entries}) < len(entries):
            words = "Two or more batch entries in the request have the same Id"
            raise refusal(Refusal("BatchEntryIdsNotDistinct", words))
        done: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in entries:
            answer = self._publish(topic, entry, scope, operation, attempt)
            if isinstance(answer, Refusal):
                told = {"Code": answer.code, "Message": answer.text, "SenderFault": True}
                done["Failed"].append({"Id": entry["Id"], **told})
            else:
                done["Successful"].append({"Id": entry["Id"], **answer})
        return done


def _settings(queue: str, attributes: Mapping[str, str]) -> SubscriptionSettings:
    """Return a subscription as its attributes say it.

    Raises:
        BadPolicy: SNS refuses the filter.
    """
    scope = "MessageBody" if attributes.get("FilterPolicyScope") == "MessageBody" else None
    policy = json.loads(attributes.get("FilterPolicy") or "null")
    if policy is not None:
        check(policy, body=scope is not None)
    letters = json.loads(attributes.get("RedrivePolicy") or "{}").get("deadLetterTargetArn")
    return SubscriptionSettings(
        queue=queue,
        filter_policy=policy,
        filter_scope="MessageBody" if scope else "MessageAttributes",
        raw=attributes.get("RawMessageDelivery", "").lower() == "true",
        dead_letter=None if letters is None else name_of(letters),
    )


def _value(attribute: Mapping[str, Any]) -> Any:
    """Return the value of a message attribute."""
    kind = attribute["DataType"]
    if kind.startswith("Binary"):
        return attribute["BinaryValue"]
    if kind == "String.Array" or kind.startswith("Number"):
        return json.loads(attribute["StringValue"])
    return attribute["StringValue"]
