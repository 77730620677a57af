"""SQS as clients speak with it: actions and parameters by AWS's names in, answers by them out.

`SqsWire(machine).call("SendMessage", {"QueueUrl": ..., "MessageBody": ...}, now)` returns what
boto3 would, or a `Refusal`. What AWS checks before a request gets to a queue is checked here.

Source:
    API Reference, each action; answers recorded from AWS.

Not modelled:
    Permissions; tags are kept and have no effect, and so are the attributes of encryption.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from chaosharness.machines.machine import Refusal
from chaosharness.machines.sqs import operations as op
from chaosharness.machines.sqs import refusals
from chaosharness.machines.sqs.attributes import (
    ARN,
    attributes_of,
    check_attributes,
    check_id,
    encryption_after,
    md5_of,
    md5_of_attributes,
    name_of,
    settings_from,
    size_of,
    wanted,
)
from chaosharness.machines.sqs.machine import SqsMachine
from chaosharness.machines.sqs.settings import BATCH_MAX, SIZE_MAX, QueueSettings

Answer = dict[str, Any] | Refusal
URL: Final = "https://sqs.eu-central-1.amazonaws.com/000000000000/"
BATCH_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
LIST_MAX: Final = 1_000
NOT_ALLOWED: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no message may have (API Reference, `SendMessage`: the characters of XML 1.0)."""
SENDER: Final = "000000000000"


class SqsWire:
    """A machine, as clients speak with it.

    Args:
        machine: The queues.
        epoch_ms: Of the moment 0, since 1970: for the time stamps of answers.
        as_standard: Whether FIFO queues that are made promise only what standard ones do.
    """

    def __init__(
        self, machine: SqsMachine, epoch_ms: int = 0, *, as_standard: bool = False
    ) -> None:
        self.machine = machine
        self._as_standard = as_standard
        self.epoch_ms = epoch_ms
        self._others: dict[str, dict[str, str]] = {}
        self._tags: dict[str, dict[str, str]] = {}

    def call(self, action: str, parameters: Mapping[str, Any], now: int) -> Answer:
        """Do what a client asks for; return the answer without its metadata, or a `Refusal`.

        Raises:
            KeyError: There is no such action here.
        """
        return ACTIONS[action](self, parameters, now)

    # ---- queues

    def know(self, queue: str, now: int = 0) -> None:
        """Take note of a queue that was made: when, and what it has beside its settings."""
        stamp = str((self.epoch_ms + now) // 1000)
        times = {"CreatedTimestamp": stamp, "LastModifiedTimestamp": stamp}
        self._others[queue] = {"SqsManagedSseEnabled": "true", **times}

    def _create(self, given: Mapping[str, Any], now: int) -> Answer:
        name, attributes = given["QueueName"], given.get("Attributes", {})
        fifo = name.endswith(".fifo")
        found = self.machine.queues.get(name)
        new = QueueSettings(fifo=fifo, as_standard=self._as_standard)
        before = new if found is None else found.settings
        settings = settings_from(attributes, before, new=found is None)
        if isinstance(settings, Refusal):
            return settings
        if found is not None and settings != before:
            changed = next(
                key
                for key in attributes
                if settings_from({key: attributes[key]}, before, new=True) != before
            )
            return Refusal(
                "QueueAlreadyExists",
                "A queue already exists with the same name and a different value for attribute "
                f"{changed}",
            )
        if found is None:
            refusal = self.machine.apply(op.Configure(name, settings), now)
            if refusal is not None:
                return refusal  # type: ignore[no-any-return]
            self.know(name, now)
            limit = attributes.get("FifoThroughputLimit")
            self._others[name].update({"FifoThroughputLimit": limit} if limit else {})
            self._tags[name] = dict(given.get("tags", {}))
        return {"QueueUrl": f"{URL}{name}"}

    def _set(self, given: Mapping[str, Any], now: int) -> Answer:
        name, attributes = name_of(given["QueueUrl"]), given["Attributes"]
        queue = self.machine.queues.get(name)
        if queue is None:
            return refusals.NO_QUEUE
        settings = settings_from(attributes, queue.settings, new=False)
        if isinstance(settings, Refusal):
            return settings
        others = encryption_after(attributes, self._others[name])
        if isinstance(others, Refusal):
            return others
        if "FifoThroughputLimit" in attributes:
            others["FifoThroughputLimit"] = attributes["FifoThroughputLimit"]
        stamp = str((self.epoch_ms + now) // 1000)
        self._others[name] = {**others, "LastModifiedTimestamp": stamp}
        self.machine.apply(op.Configure(name, settings), now)
        return {}

    def _get(self, given: Mapping[str, Any], now: int) -> Answer:
        name = name_of(given["QueueUrl"])
        queue = self.machine.queues.get(name)
        if queue is None:
            return refusals.NO_QUEUE
        self.machine.tick(now)
        visible, held = queue.waiting(now), len(queue.leases)
        counts = (visible, len(queue.records) - visible - held, held)
        found = attributes_of(name, queue.settings, self._others[name], counts)
        names = given.get("AttributeNames", ())
        if "All" not in names:
            found = {key: value for key, value in found.items() if key in names}
        return {"Attributes": found} if found else {}

    def _url(self, given: Mapping[str, Any], now: int) -> Answer:
        name = given["QueueName"]
        return {"QueueUrl": f"{URL}{name}"} if name in self.machine.queues else refusals.NO_QUEUE

    def _list(self, given: Mapping[str, Any], now: int) -> Answer:
        prefix = given.get("QueueNamePrefix", "")
        names = [name for name in sorted(self.machine.queues) if name.startswith(prefix)]
        return _page("QueueUrls", names, given)

    def _list_sources(self, given: Mapping[str, Any], now: int) -> Answer:
        letters = name_of(given["QueueUrl"])
        queues = self.machine.queues
        if letters not in queues:
            return refusals.NO_QUEUE
        names = [name for name in sorted(queues) if queues[name].settings.dead_letter == letters]
        return {"queueUrls": [], **_page("queueUrls", names, given)}

    def _list_tags(self, given: Mapping[str, Any], now: int) -> Answer:
        name = name_of(given["QueueUrl"])
        if name not in self.machine.queues:
            return refusals.NO_QUEUE
        tags = self._tags.get(name)
        return {"Tags": dict(tags)} if tags else {}

    def _tag(self, given: Mapping[str, Any], now: int) -> Answer:
        name = name_of(given["QueueUrl"])
        if name not in self.machine.queues:
            return refusals.NO_QUEUE
        tags = self._tags.setdefault(name, {})
        tags.update(given.get("Tags", {}))
        for key in given.get("TagKeys", ()):
            tags.pop(key, None)
        return {}

    def _delete_queue(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._plain(op.DeleteQueue(name_of(given["QueueUrl"])), now)

    def _purge(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._plain(op.Purge(name_of(given["QueueUrl"])), now)

    def _plain(self, operation: Any, now: int) -> Answer:
        answer = self.machine.apply(operation, now)
        return answer if isinstance(answer, Refusal) else {}

    # ---- messages

    def _send(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._send_one(name_of(given["QueueUrl"]), given, now)

    def _send_one(self, queue: str, given: Mapping[str, Any], now: int) -> Answer:
        body = given.get("MessageBody")
        if not body:
            return refusals.missing("MessageBody")
        if NOT_ALLOWED.search(body) is not None:
            return refusals.CONTENTS
        attributes = given.get("MessageAttributes", {})
        group, unique = given.get("MessageGroupId"), given.get("MessageDeduplicationId")
        refusal = (
            check_attributes(attributes)
            or check_id(group, "MessageGroupId")
            or check_id(unique, "MessageDeduplicationId")
        )
        if refusal is not None:
            return refusal
        delay = given.get("DelaySeconds")
        answer = self.machine.apply(
            op.Send(
                queue,
                body,
                None,
                len(body.encode()) + size_of(attributes),
                group,
                unique,
                None if delay is None else delay * 1000,
                attributes,
                given.get("MessageSystemAttributes", {}),
            ),
            now,
        )
        if isinstance(answer, Refusal):
            return answer
        found = {"MessageId": answer.id, "MD5OfMessageBody": md5_of(body)}
        if attributes:
            found["MD5OfMessageAttributes"] = md5_of_attributes(attributes)
        if answer.sequence:
            found["SequenceNumber"] = f"{answer.sequence:020d}"
        return found

    def _receive(self, given: Mapping[str, Any], now: int) -> Answer:
        wait = given.get("WaitTimeSeconds", 0)
        if not 0 <= wait <= 20:
            reason = "Must be >= 0 and <= 20, if provided."
            return refusals.invalid_value(wait, "WaitTimeSeconds", reason)
        visibility = given.get("VisibilityTimeout")
        answer = self.machine.apply(
            op.Receive(
                name_of(given["QueueUrl"]),
                None,
                given.get("MaxNumberOfMessages", 1),
                None if visibility is None else visibility * 1000,
                wait > 0,
                given.get("ReceiveRequestAttemptId"),
            ),
            now,
        )
        if isinstance(answer, Refusal):
            return answer
        found = [answer_of(one, given, self.epoch_ms) for one in answer]
        return {"Messages": found} if found else {}

    def _delete(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._delete_one(name_of(given["QueueUrl"]), given, now)

    def _delete_one(self, queue: str, given: Mapping[str, Any], now: int) -> Answer:
        text = given["ReceiptHandle"]
        handle = op.Handle.parse(text)
        if handle is None:
            return refusals.handle_invalid(text)
        return self._plain(op.Delete(queue, handle), now)

    def _change(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._change_one(name_of(given["QueueUrl"]), given, now)

    def _change_one(self, queue: str, given: Mapping[str, Any], now: int) -> Answer:
        text = given["ReceiptHandle"]
        handle = op.Handle.parse(text)
        if handle is None:
            return refusals.handle_invalid(text)
        visibility_ms = given["VisibilityTimeout"] * 1000
        return self._plain(op.ChangeVisibility(queue, handle, visibility_ms), now)

    # ---- batches

    def _send_batch(self, given: Mapping[str, Any], now: int) -> Answer:
        entries = given["Entries"]
        size = sum(
            len(one.get("MessageBody", "").encode()) + size_of(one.get("MessageAttributes", {}))
            for one in entries
        )
        if size > SIZE_MAX:
            return Refusal(
                "AWS.SimpleQueueService.BatchRequestTooLong",
                f"Batch requests cannot be longer than {SIZE_MAX} bytes. You have sent {size} "
                "bytes.",
            )
        queue = self.machine.queues.get(name_of(given["QueueUrl"]))
        if queue is not None and queue.settings.fifo:  # recorded: these fail the whole batch
            if any("MessageGroupId" not in one for one in entries):
                return refusals.invalid("The request must contain the parameter MessageGroupId.")
            if not queue.settings.by_content and any(
                "MessageDeduplicationId" not in one for one in entries
            ):
                return refusals.NO_DEDUPLICATION
        return self._batch(given, now, self._send_one, "SendMessageBatch")

    def _batch(
        self,
        given: Mapping[str, Any],
        now: int,
        one: Callable[[str, Mapping[str, Any], int], Answer],
        action: str,
    ) -> Answer:
        """Do with each entry what is done with one: each may fail alone."""
        entries = given["Entries"]
        if not entries:
            return refusals.empty_batch(action)
        if len(entries) > BATCH_MAX:
            return Refusal(
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                f"Maximum number of entries per request are 10. You have sent {len(entries)}.",
            )
        if any(not BATCH_ID.fullmatch(entry["Id"]) for entry in entries):
            return Refusal(
                "AWS.SimpleQueueService.InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and "
                "underscores. It can be at most 80 letters long.",
            )
        if len({entry["Id"] for entry in entries}) < len(entries):
            return Refusal("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Id is repeated.")
        queue = name_of(given["QueueUrl"])
        successful, failed = [], []
        for entry in entries:
            answer = one(queue, entry, now)
            if isinstance(answer, Refusal):
                text = answer.text.replace(
                    "parameters are invalid", "parameters cannot be validated"
                )
                words = {"Code": answer.code, "Message": text, "SenderFault": answer.sender_fault}
                failed.append({"Id": entry["Id"], **words})
            else:
                successful.append({"Id": entry["Id"], **answer})
        found = {"Successful": successful, "Failed": failed}
        return {name: value for name, value in found.items() if value}

    def _delete_batch(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._batch(given, now, self._delete_one, "DeleteMessageBatch")

    def _change_batch(self, given: Mapping[str, Any], now: int) -> Answer:
        return self._batch(given, now, self._change_one, "ChangeMessageVisibilityBatch")

    # ---- moving dead letters back

    def _start_move(self, given: Mapping[str, Any], now: int) -> Answer:
        to = given.get("DestinationArn")
        task = self.machine.apply(
            op.StartMove(
                name_of(given["SourceArn"]),
                None if to is None else name_of(to),
                given.get("MaxNumberOfMessagesPerSecond"),
            ),
            now,
        )
        return task if isinstance(task, Refusal) else {"TaskHandle": _task_handle(task)}

    def _list_moves(self, given: Mapping[str, Any], now: int) -> Answer:
        self.machine.tick(now)
        source = name_of(given["SourceArn"])
        tasks = [one for one in self.machine.moves.tasks if one.source == source]
        most = given.get("MaxResults", 1)
        return {"Results": [_task(one) for one in reversed(tasks)][:most]}

    def _cancel_move(self, given: Mapping[str, Any], now: int) -> Answer:
        source, _, number = given["TaskHandle"].rpartition("#")
        if not source:
            return refusals.invalid("Value for parameter TaskHandle is invalid.")
        if source not in self.machine.queues:
            return Refusal(
                "ResourceNotFoundException",
                "The resource that you specified for the SourceArn parameter doesn't exist.",
            )
        task = self.machine.apply(op.CancelMove(int(number)), now)
        if isinstance(task, Refusal):
            return task
        return {"ApproximateNumberOfMessagesMoved": task.moved}


def _task_handle(task: Any) -> str:
    return f"{task.source}#{task.number}"


def _task(task: Any) -> dict[str, Any]:
    found = {
        "Status": task.status,
        "SourceArn": f"{ARN}{task.source}",
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "StartedTimestamp": task.started_ms,
    }
    if task.to is not None:
        found["DestinationArn"] = f"{ARN}{task.to}"
    if task.per_second_max is not None:
        found["MaxNumberOfMessagesPerSecond"] = task.per_second_max
    if task.status == "RUNNING":
        found["TaskHandle"] = _task_handle(task)
    if task.failure:
        found["FailureReason"] = task.failure
    return found


def _page(name: str, queues: list[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of addresses, and where the next one begins: where a page was asked for."""
    begin = int(given.get("NextToken") or 0)
    most = given.get("MaxResults")
    end = begin + (most or LIST_MAX)
    answer: dict[str, Any] = {}
    if queues[begin:end]:
        answer[name] = [f"{URL}{queue}" for queue in queues[begin:end]]
    if most is not None and end < len(queues):
        answer["NextToken"] = str(end)
    return answer


def answer_of(one: op.Received, given: Mapping[str, Any], epoch_ms: int = 0) -> dict[str, Any]:
    """Return a message as a receive answers it, with the attributes that were asked for."""
    found: dict[str, Any] = {
        "MessageId": one.id,
        "ReceiptHandle": str(one.handle),
        "Body": one.body,
        "MD5OfBody": md5_of(one.body),
    }
    attributes = {
        "SenderId": SENDER,
        "SentTimestamp": str(epoch_ms + one.sent_ms),
        "ApproximateReceiveCount": str(one.receives),
        "ApproximateFirstReceiveTimestamp": str(epoch_ms + one.first_received_ms),
        **{name: value["StringValue"] for name, value in one.system_attributes.items()},
    }
    if one.group is not None:
        attributes["MessageGroupId"] = one.group
    if one.sequence:
        attributes["SequenceNumber"] = f"{one.sequence:020d}"
        attributes["MessageDeduplicationId"] = one.deduplication or ""
    if one.died_in is not None:
        attributes["DeadLetterQueueSourceArn"] = f"{ARN}{one.died_in}"
    names = {*given.get("AttributeNames", ()), *given.get("MessageSystemAttributeNames", ())}
    if "All" not in names:
        attributes = {name: value for name, value in attributes.items() if name in names}
    if attributes:
        found["Attributes"] = attributes
    asked = wanted(one.attributes, given.get("MessageAttributeNames", ()))
    if asked:
        found["MessageAttributes"] = asked
        found["MD5OfMessageAttributes"] = md5_of_attributes(asked)
    return found


Action = Callable[[SqsWire, Mapping[str, Any], int], Answer]
ACTIONS: Final[dict[str, Action]] = {
    "CreateQueue": SqsWire._create,
    "SetQueueAttributes": SqsWire._set,
    "GetQueueAttributes": SqsWire._get,
    "GetQueueUrl": SqsWire._url,
    "ListQueues": SqsWire._list,
    "ListDeadLetterSourceQueues": SqsWire._list_sources,
    "ListQueueTags": SqsWire._list_tags,
    "TagQueue": SqsWire._tag,
    "UntagQueue": SqsWire._tag,
    "DeleteQueue": SqsWire._delete_queue,
    "PurgeQueue": SqsWire._purge,
    "SendMessage": SqsWire._send,
    "SendMessageBatch": SqsWire._send_batch,
    "ReceiveMessage": SqsWire._receive,
    "DeleteMessage": SqsWire._delete,
    "DeleteMessageBatch": SqsWire._delete_batch,
    "ChangeMessageVisibility": SqsWire._change,
    "ChangeMessageVisibilityBatch": SqsWire._change_batch,
    "StartMessageMoveTask": SqsWire._start_move,
    "ListMessageMoveTasks": SqsWire._list_moves,
    "CancelMessageMoveTask": SqsWire._cancel_move,
}
