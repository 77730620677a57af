"""SNS as the SDK speaks with it: its actions on the topics of a system.

Source:
    Amazon SNS API Reference: Publish, PublishBatch, CreateTopic, DeleteTopic, Subscribe,
    Unsubscribe, SetSubscriptionAttributes, the lists and attributes of these; answers recorded
    from AWS, which the machine is held against.

Not modelled:
    Endpoints other than queues; attributes of topics that change later; tags, permissions; a
    message that somebody else publishes and nobody can read (`Poison`); that a change of a filter
    takes up to 15 minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from chaosharness.adapters.aws.answers import Said, refusal
from chaosharness.adapters.aws.asking import Line, Request, not_known
from chaosharness.adapters.aws.entries import FAILED, failing
from chaosharness.adapters.aws.topic_checks import (
    OF_SUBSCRIPTIONS,
    PROTOCOLS,
    invalid,
    refused,
    text_for_queues,
)
from chaosharness.brokers.message import Message, Text
from chaosharness.brokers.sns.rows import SURFACES
from chaosharness.brokers.sns.sns import OpenSNS
from chaosharness.brokers.sqs.sqs import FIFO
from chaosharness.kernel.scope import Scope
from chaosharness.machines.machine import Refusal
from chaosharness.machines.sns import SubscriptionSettings, TopicSettings
from chaosharness.machines.sns import machine as op
from chaosharness.machines.sns.filters import NESTED, BadPolicy, check
from chaosharness.machines.sqs.attributes import ARN as QUEUE_ARN
from chaosharness.machines.sqs.attributes import name_of

PAGE_MAX: Final = 100
ACCOUNT: Final = "000000000000"
SETTABLE: Final = ("FilterPolicy", "FilterPolicyScope", "RawMessageDelivery", "RedrivePolicy")
Answer = dict[str, Any] | Refusal


class Topics:
    """The topics of a run, as the SDK sees them."""

    def __init__(self, topics: OpenSNS) -> None:
        self.name = topics.name
        self.topics = topics

    def knows(self, action: str) -> bool:
        """Say whether an action is modelled."""
        return action in ACTIONS or action in READS

    def about(self, request: Request) -> str:
        """Return the topic that a request is about."""
        given = request.given
        if "PhoneNumber" in given:
            not_known(request, "PhoneNumber")
        if given.get("Protocol", "sqs") in PROTOCOLS and given.get("Protocol", "sqs") != "sqs":
            not_known(request, f"Protocol={given['Protocol']!r}")
        name = given.get("AttributeName", SETTABLE[0])
        if name in OF_SUBSCRIPTIONS and name not in SETTABLE:
            not_known(request, f"AttributeName={name!r}")
        if "SubscriptionArn" in given:
            return _topic_and_queue(given["SubscriptionArn"])[0]
        return name_of(given.get("TopicArn") or given.get("TargetArn") or given.get("Name") or "")

    def waits(self, request: Request) -> Callable[[Scope, Line], Any] | None:
        """Nothing waits."""
        return None

    def refused(self, request: Request) -> Said:
        """Return what SNS says where it does nothing for now."""
        words = {"Code": "ServiceUnavailable", "Message": "Service is temporarily unavailable."}
        return Said(503, words | {"Type": "Receiver"})

    def do(self, request: Request, scope: Scope, operation: str, attempt: int) -> dict[str, Any]:
        """Do what is asked for.

        Raises:
            Said: SNS refuses.
        """
        topic, action = self.about(request), request.action
        wrong = refused(action, request.given)
        if wrong is not None:
            raise refusal(wrong)
        if action in READS:
            answer = READS[action](self, topic, request.given)
        else:
            answer = ACTIONS[action](self, topic, request, scope, operation, attempt)
        if isinstance(answer, Refusal):
            raise refusal(answer)
        return answer

    # ---- topics and subscriptions

    def _create(
        self, topic: str, request: Request, scope: Scope, operation: str, attempt: int
    ) -> Answer:
        attributes = request.given.get("Attributes", {})
        if topic not in self.topics.machine.topics:
            by_content = attributes.get("ContentBasedDeduplication", "") == "true"
            settings = TopicSettings(
                fifo=topic.endswith(FIFO),
                by_content=by_content,
                as_standard=not self.topics.definition.fifo,
            )
            self.topics.do(op.CreateTopic(topic, settings), scope, operation, attempt)
        return {"TopicArn": f"{op.ARN}{topic}"}

    def _subscribe(
        self, topic: str, request: Request, scope: Scope, operation: str, attempt: int
    ) -> Answer:
        given = request.given
        attributes = given.get("Attributes", {})
        queue = name_of(given["Endpoint"])
        arn = {"SubscriptionArn": f"{op.ARN}{topic}:{queue}"}
        known = self.topics.machine.topics.get(topic)
        for one in () if known is None else known.subscriptions:
            if one.queue == queue:
                told = attributes_of(one)
                if all(told.get(name) == value for name, value in attributes.items()):
                    return arn
                return invalid(
                    "Attributes Reason: Subscription already exists with different attributes"
                )
        try:
            settings = _settings(queue, attributes)
        except BadPolicy as error:
            return _bad("Attributes Reason: ", error)
        answer = self.topics.do(op.Subscribe(topic, settings), scope, operation, attempt)
        return answer if isinstance(answer, Refusal) else arn

    def _delete(
        self, topic: str, request: Request, scope: Scope, operation: str, attempt: int
    ) -> Answer:
        self.topics.do(op.DeleteTopic(topic), scope, operation, attempt)
        return {}

    def _unsubscribe(
        self, topic: str, request: Request, scope: Scope, operation: str, attempt: int
    ) -> Answer:
        queue = _topic_and_queue(request.given["SubscriptionArn"])[1]
        self.topics.do(op.Unsubscribe(topic, queue), scope, operation, attempt)
        return {}

    def _change(
        self, topic: str, request: Request, scope: Scope, operation: str, attempt: int
    ) -> Answer:
        given = request.given
        found = self._subscription(given["SubscriptionArn"])
        if isinstance(found, Refusal):
            return found
        name = given["AttributeName"]
        attributes = {"FilterPolicyScope": found.filter_scope, **attributes_of(found)}
        attributes[name] = given.get("AttributeValue", "")
        letters = json.loads(attributes.get("RedrivePolicy") or "{}").get("deadLetterTargetArn")
        if letters and topic.endswith(FIFO) > letters.endswith(FIFO):
            return invalid(
                "RedrivePolicy: must use a FIFO queue as DLQ for a FIFO Subscription to a FIFO "
                "Topic."
            )
        try:
            settings = _settings(found.queue, attributes)
        except BadPolicy as error:
            return _bad("", error)
        answer = self.topics.do(op.Change(topic, settings), scope, operation, attempt)
        return answer if isinstance(answer, Refusal) else {}

    def _subscription(self, arn: str) -> SubscriptionSettings | Refusal:
        topic, queue = _topic_and_queue(arn)
        known = self.topics.machine.topics.get(topic)
        for one in () if known is None else known.subscriptions:
            if one.queue == queue:
                return one
        return op.NO_SUBSCRIPTION

    # ---- what there is

    def _list(self, topic: str, given: Mapping[str, Any]) -> Answer:
        names = sorted(self.topics.machine.topics)
        return _page("Topics", [{"TopicArn": f"{op.ARN}{name}"} for name in names], given)

    def _list_subscriptions(self, topic: str, given: Mapping[str, Any]) -> Answer:
        topics = self.topics.machine.topics
        if topic and topic not in topics:
            return op.NO_TOPIC
        found = [
            {
                "SubscriptionArn": f"{op.ARN}{name}:{one.queue}",
                "Owner": ACCOUNT,
                "Protocol": "sqs",
                "Endpoint": f"{QUEUE_ARN}{one.queue}",
                "TopicArn": f"{op.ARN}{name}",
            }
            for name in ([topic] if topic else sorted(topics))
            for one in topics[name].subscriptions
        ]
        return _page("Subscriptions", found, given)

    def _get(self, topic: str, given: Mapping[str, Any]) -> Answer:
        known = self.topics.machine.topics.get(topic)
        if known is None:
            return op.NO_TOPIC
        attributes = {
            "TopicArn": f"{op.ARN}{topic}",
            "Owner": ACCOUNT,
            "SubscriptionsConfirmed": str(len(known.subscriptions)),
            "SubscriptionsPending": "0",
            "SubscriptionsDeleted": "0",
        }
        if known.settings.fifo:
            by_content = str(known.settings.by_content).lower()
            attributes |= {"FifoTopic": "true", "ContentBasedDeduplication": by_content}
        return {"Attributes": attributes}

    def _get_subscription(self, topic: str, given: Mapping[str, Any]) -> Answer:
        found = self._subscription(given["SubscriptionArn"])
        if isinstance(found, Refusal):
            return found
        told = {
            "SubscriptionArn": given["SubscriptionArn"],
            "TopicArn": f"{op.ARN}{topic}",
            "Protocol": "sqs",
            "Endpoint": f"{QUEUE_ARN}{found.queue}",
            "Owner": ACCOUNT,
            "PendingConfirmation": "false",
            "ConfirmationWasAuthenticated": "true",
            "SubscriptionPrincipal": f"arn:aws:iam::{ACCOUNT}:user/shop",
        }
        return {"Attributes": told | attributes_of(found)}

    # ---- publishing

    def _publish(
        self, topic: str, request: Request, scope: Scope, operation: str, attempt: int
    ) -> Answer:
        return self._publish_one(topic, request.given, scope, operation, attempt)

    def _asked(
        self, topic: str, given: Mapping[str, Any], scope: Scope, operation: str
    ) -> op.Publish:
        """Return what the machine is asked for, for one message."""
        text = given["Message"]
        if given.get("MessageStructure") == "json":
            text = text_for_queues(text)
        body = Text(text.encode("utf-8", "surrogatepass"))
        attributes = {name: _value(one) for name, one in given.get("MessageAttributes", {}).items()}
        message = Message(topic, None, attributes, body, scope.entity, scope.hops + 1)
        return op.Publish(
            topic,
            text,
            message,
            given.get("Subject"),
            attributes,
            given.get("MessageGroupId"),
            given.get("MessageDeduplicationId"),
        )

    def _publish_one(
        self, topic: str, given: Mapping[str, Any], scope: Scope, operation: str, attempt: int
    ) -> Answer:
        asked = self._asked(topic, given, scope, operation)
        names, body = self.topics.world.publications, asked.message.body
        asked.message.name = names.name(operation, scope.entity, scope.message, body)
        answer = self.topics.do(asked, scope, operation, attempt)
        if isinstance(answer, Refusal):
            return answer
        told = {"MessageId": answer}
        if topic.endswith(FIFO):
            told["SequenceNumber"] = op.sequence_of(answer)
        return told

    def _publish_batch(
        self, topic: str, request: Request, scope: Scope, operation: str, attempt: int
    ) -> Answer:
        entries = request.given["PublishBatchRequestEntries"]
        for entry in [one for one in entries if one["Message"]]:
            # a group that is missing is wrong with the whole call; an empty message fails alone
            wrong = self.topics.machine.refused(self._asked(topic, entry, scope, operation))
            if wrong is not None:
                return wrong
        surface = SURFACES[self.topics.profile(topic), "entry of a batch"]
        failed = failing(self.name, topic, request, scope, entries, surface)
        done: dict[str, Any] = {"Successful": [], "Failed": []}
        for index, entry in enumerate(entries):
            if index in failed:
                done["Failed"].append({"Id": entry["Id"], **FAILED})
                continue
            answer = self._publish_one(topic, entry, scope, operation, attempt)
            if isinstance(answer, Refusal):
                told = {"Code": answer.code, "Message": answer.text, "SenderFault": True}
                done["Failed"].append({"Id": entry["Id"], **told})
            else:
                done["Successful"].append({"Id": entry["Id"], **answer})
        return done


def _topic_and_queue(arn: str) -> tuple[str, str]:
    """Return the topic and the queue of a subscription."""
    *_, topic, queue = ("", "", *arn.split(":"))
    return topic, queue


def _page(name: str, found: list[dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of a list, and where the next one begins."""
    begin = int(given.get("NextToken") or 0)
    answer: dict[str, Any] = {name: found[begin : begin + PAGE_MAX]}
    if begin + PAGE_MAX < len(found):
        answer["NextToken"] = str(begin + PAGE_MAX)
    return answer


def attributes_of(one: SubscriptionSettings) -> dict[str, str]:
    """Return what can be set of a subscription, as SNS spells it."""
    found = {"RawMessageDelivery": str(one.raw).lower()}
    if one.filter_policy is not None:
        found["FilterPolicy"] = json.dumps(one.filter_policy)
        found["FilterPolicyScope"] = one.filter_scope
    if one.dead_letter is not None:
        found["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": QUEUE_ARN + one.dead_letter})
    return found


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


def _bad(where: str, error: BadPolicy) -> Refusal:
    """Return what SNS says of a filter that it refuses."""
    words = str(error)
    return invalid(f"{where}{words if words == NESTED else f'FilterPolicy: {words}'}")


def _value(attribute: Mapping[str, Any]) -> Any:
    """Return the value of a message attribute."""
    kind = attribute["DataType"]
    if kind.startswith("Binary"):
        return attribute["BinaryValue"]
    if kind == "String.Array" or kind.startswith("Number"):
        return json.loads(attribute["StringValue"])
    return attribute["StringValue"]


ACTIONS: Final[dict[str, Callable[[Topics, str, Request, Scope, str, int], Answer]]] = {
    "CreateTopic": Topics._create,
    "DeleteTopic": Topics._delete,
    "Subscribe": Topics._subscribe,
    "Unsubscribe": Topics._unsubscribe,
    "SetSubscriptionAttributes": Topics._change,
    "Publish": Topics._publish,
    "PublishBatch": Topics._publish_batch,
}
READS: Final[dict[str, Callable[[Topics, str, Mapping[str, Any]], Answer]]] = {
    "ListTopics": Topics._list,
    "ListSubscriptions": Topics._list_subscriptions,
    "ListSubscriptionsByTopic": Topics._list_subscriptions,
    "GetTopicAttributes": Topics._get,
    "GetSubscriptionAttributes": Topics._get_subscription,
}
