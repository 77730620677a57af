"""EventBridge as the SDK speaks with it: its actions on the bus of a system.

Source:
    Amazon EventBridge API Reference: PutEvents, PutRule, DeleteRule, DescribeRule, EnableRule,
    DisableRule, ListRules, PutTargets, RemoveTargets, ListTargetsByRule, DescribeEventBus.

Not modelled:
    Buses that are made at run time; targets that are no queues; schedules, input transformers,
    roles, tags; pages of lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

import attrs

from chaosharness.adapters.aws.answers import Said, refusal
from chaosharness.adapters.aws.asking import Line, Request, not_known
from chaosharness.adapters.aws.entries import failing
from chaosharness.brokers.eventbridge.router import OpenEventBridge
from chaosharness.brokers.eventbridge.rows import ENTRY
from chaosharness.brokers.message import NO_HEADERS, Message, Text
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel.scope import Scope
from chaosharness.machines.eventbridge import RuleSettings, TargetSettings
from chaosharness.machines.eventbridge import machine as op
from chaosharness.machines.eventbridge.settings import ATTEMPTS_MAX, DAY_MS, ENTRIES_MAX
from chaosharness.machines.machine import Refusal
from chaosharness.machines.sqs.attributes import name_of

Answer = dict[str, Any] | Refusal
UNMODELLED: Final = ("ScheduleExpression", "RoleArn", "EndpointId", "NextToken")
IN_TARGETS: Final = ("Input", "InputPath", "InputTransformer", "RoleArn")
INTERNAL: Final = {
    "ErrorCode": "InternalFailure",
    "ErrorMessage": "The request processing has failed because of an unknown error.",
}


class Events:
    """The bus of a run, as the SDK sees it."""

    def __init__(self, bus: OpenEventBridge) -> None:
        self.name = bus.name
        self.bus = bus

    def knows(self, action: str) -> bool:
        """Say whether an action is modelled."""
        return action in ACTIONS

    def about(self, request: Request) -> str:
        """Return the rule that a request is about, or the types of its events."""
        given = request.given
        for name in UNMODELLED:
            if name in given:
                not_known(request, name)
        if "Entries" in given:
            kinds = dict.fromkeys(str(one.get("DetailType", "")) for one in given["Entries"])
            return " and ".join(filter(None, kinds))
        return str(given.get("Rule") or given.get("Name") or "")

    def waits(self, request: Request) -> Callable[[Scope, Line], Any] | None:
        """Nothing waits."""
        return None

    def refused(self, request: Request) -> Said:
        """Return what EventBridge says where it does nothing for now."""
        words = {"Code": "ThrottlingException", "Message": "Rate exceeded", "Type": "Sender"}
        return Said(400, words)

    def do(self, request: Request, scope: Scope, operation: str, attempt: int) -> dict[str, Any]:
        """Do what is asked for.

        Raises:
            Said: EventBridge refuses.
        """
        if "EventBusName" in request.given:
            self._see_that_it_is(name_of(request.given["EventBusName"]))
        asking = Asking(request, scope, operation, attempt)
        answer = ACTIONS[request.action](self, request.given, asking)
        if isinstance(answer, Refusal):
            raise refusal(answer)
        return answer

    def _see_that_it_is(self, name: str) -> None:
        if name != self.bus.definition.bus:
            text = f"Event bus {name} does not exist."
            raise refusal(Refusal("ResourceNotFoundException", text))

    # ---- events

    def _put_events(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        entries = given["Entries"]
        if len(entries) > ENTRIES_MAX:
            return _not_valid(
                f"Value '{entries}' at 'entries' failed to satisfy constraint: Member must have "
                f"length less than or equal to {ENTRIES_MAX}"
            )
        about = self.about(asking.request)
        failed = failing(self.name, about, asking.request, asking.scope, entries, ENTRY)
        asked = [self._event(one) for one in entries]
        too_long = op.too_long(sum(map(op.size_of, asked)))
        if too_long is not None:
            return too_long
        found: list[dict[str, Any]] = []
        for index, (entry, event) in enumerate(zip(entries, asked, strict=True)):
            if index in failed:
                found.append(dict(INTERNAL))
            elif name_of(entry.get("EventBusName", self.bus.definition.bus)) != (
                self.bus.definition.bus
            ):
                self._heard_by_nobody(entry["EventBusName"])
            else:
                found.append(self._put(event, asking))
        return {"FailedEntryCount": sum("ErrorCode" in one for one in found), "Entries": found}

    def _heard_by_nobody(self, name: str) -> NoReturn:
        """Refuse an event for a bus that is not there, which AWS takes without a word.

        Raises:
            InvalidDefinition: Always: it calls the run off.
        """
        mine = self.bus.definition.bus
        call_off(
            InvalidDefinition(
                f"boto3: put_events for EventBusName={name!r}{asked_at()}, and this system has "
                f"{mine!r}. AWS takes such an event, answers with an id, and nobody gets it. Say "
                f"EventBridge(..., bus={name_of(name)!r}), or mend the name"
            )
        )

    def _event(self, entry: Mapping[str, Any]) -> op.PutEvent:
        at = entry.get("Time")
        return op.PutEvent(
            entry.get("Source", ""),
            entry.get("DetailType", ""),
            entry.get("Detail", ""),
            None,
            tuple(entry.get("Resources", ())),
            round(at.timestamp() * 1000) if isinstance(at, datetime) else None,
        )

    def _put(self, event: op.PutEvent, asking: Asking) -> dict[str, Any]:
        scope = asking.scope
        body = Text(event.detail.encode("utf-8", "surrogatepass"))
        message = Message(event.detail_type, None, NO_HEADERS, body, scope.entity, scope.hops + 1)
        names = self.bus.world.publications
        message.name = names.name(asking.operation, scope.entity, scope.message, body)
        one = attrs.evolve(event, message=message)
        answer = self.bus.do(one, scope, asking.operation, asking.attempt)
        if isinstance(answer, Refusal):
            return {"ErrorCode": answer.code, "ErrorMessage": answer.text}
        return {"EventId": answer}

    # ---- rules

    def _put_rule(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        try:
            pattern = json.loads(given.get("EventPattern") or "{}")
        except ValueError:
            text = "Event pattern is not valid. Reason: Malformed JSON"
            return Refusal("InvalidEventPatternException", text)
        enabled = given.get("State", "ENABLED") == "ENABLED"
        rule = op.PutRule(given["Name"], RuleSettings(pattern=pattern, enabled=enabled))
        answer = self._do(rule, asking)
        return answer if isinstance(answer, Refusal) else {"RuleArn": answer}

    def _switch(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        known = self.bus.machine.rules.get(given["Name"])
        if known is None:
            return self.bus.machine.no_rule(given["Name"])
        enabled = asking.request.action == "EnableRule"
        settings = attrs.evolve(known.settings, enabled=enabled)
        self._do(op.PutRule(given["Name"], settings), asking)
        return {}

    def _delete_rule(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        answer = self._do(op.DeleteRule(given["Name"]), asking)
        return answer if isinstance(answer, Refusal) else {}

    def _describe_rule(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        if given["Name"] not in self.bus.machine.rules:
            return self.bus.machine.no_rule(given["Name"])
        return {**self._rule(given["Name"]), "CreatedBy": op.ACCOUNT}

    def _list_rules(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        prefix = given.get("NamePrefix", "")
        names = [name for name in sorted(self.bus.machine.rules) if name.startswith(prefix)]
        return {"Rules": [self._rule(name) for name in names]}

    def _rule(self, name: str) -> dict[str, Any]:
        machine = self.bus.machine
        settings = machine.rules[name].settings
        return {
            "Name": name,
            "Arn": machine.arn(name),
            "EventPattern": json.dumps(settings.pattern),
            "State": "ENABLED" if settings.enabled else "DISABLED",
            "EventBusName": machine.bus,
        }

    # ---- targets

    def _put_targets(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        for one in given["Targets"]:
            for name in IN_TARGETS:
                if name in one:
                    not_known(asking.request, name)
            if ":sqs:" not in one["Arn"]:
                not_known(asking.request, f"the target {one['Arn']!r}, which is no queue")
        for one in given["Targets"]:
            try:
                settings = _target(one)
            except ValueError as error:
                return _not_valid(str(error))
            answer = self._do(op.PutTarget(given["Rule"], one["Id"], settings), asking)
            if isinstance(answer, Refusal):
                return answer
        return {"FailedEntryCount": 0, "FailedEntries": []}

    def _remove_targets(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        failed = []
        if given["Rule"] not in self.bus.machine.rules:
            return self.bus.machine.no_rule(given["Rule"])
        for name in given["Ids"]:
            answer = self._do(op.RemoveTarget(given["Rule"], name), asking)
            if isinstance(answer, Refusal):
                words = {"ErrorCode": answer.code, "ErrorMessage": answer.text}
                failed.append({"TargetId": name, **words})
        return {"FailedEntryCount": len(failed), "FailedEntries": failed}

    def _list_targets(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        rule = self.bus.machine.rules.get(given["Rule"])
        if rule is None:
            return self.bus.machine.no_rule(given["Rule"])
        found = [
            {"Id": name, "Arn": f"{op.QUEUE_ARN}{target.queue}"}
            for name, target in rule.targets.items()
        ]
        return {"Targets": found}

    def _describe_bus(self, given: Mapping[str, Any], asking: Asking) -> Answer:
        name = given.get("Name", "default")
        self._see_that_it_is(name)
        return {"Name": name, "Arn": f"{op.ARN}event-bus/{name}"}

    def _do(self, asked: Any, asking: Asking) -> Any:
        return self.bus.do(asked, asking.scope, asking.operation, asking.attempt)


@attrs.frozen
class Asking:
    """Who asks, and at which site."""

    request: Request
    scope: Scope
    operation: str
    attempt: int


def _not_valid(text: str) -> Refusal:
    return Refusal("ValidationException", f"1 validation error detected: {text}")


def _target(given: Mapping[str, Any]) -> TargetSettings:
    """Return a target as PutTargets spells it.

    Raises:
        ValueError: A value is out of range.
    """
    retry = given.get("RetryPolicy", {})
    letters = given.get("DeadLetterConfig", {}).get("Arn")
    age_s = retry.get("MaximumEventAgeInSeconds")
    return TargetSettings(
        queue=name_of(given["Arn"]),
        group=given.get("SqsParameters", {}).get("MessageGroupId"),
        attempts_max=retry.get("MaximumRetryAttempts", ATTEMPTS_MAX),
        age_ms_max=DAY_MS if age_s is None else age_s * 1000,
        dead_letter=None if letters is None else name_of(letters),
    )


ACTIONS: Final[dict[str, Callable[[Events, Mapping[str, Any], Asking], Answer]]] = {
    "PutEvents": Events._put_events,
    "PutRule": Events._put_rule,
    "EnableRule": Events._switch,
    "DisableRule": Events._switch,
    "DeleteRule": Events._delete_rule,
    "DescribeRule": Events._describe_rule,
    "ListRules": Events._list_rules,
    "PutTargets": Events._put_targets,
    "RemoveTargets": Events._remove_targets,
    "ListTargetsByRule": Events._list_targets,
    "DescribeEventBus": Events._describe_bus,
}
