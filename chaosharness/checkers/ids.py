"""Whether ids travel: which request an event belongs to, and which event it follows from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from chaosharness.checkers.callbacks import name_of_event
from chaosharness.checkers.effects import names_of
from chaosharness.checkers.payload import leaf_name, payload_of
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import is_poison
from chaosharness.kernel.history import Event, History
from chaosharness.schemas.shape import leaves

CORRELATION: Final = ("correlationid", "xcorrelationid", "traceparent", "xrequestid", "requestid")
PARENT_ID: Final = "parentid"
CAUSATION: Final = ("causationid", "xcausationid", "causedby", PARENT_ID)
TASK: Final = "celery: root id"
"""The id of the task that a task of Celery goes back to: no field can be called so."""
ITSELF: Final = "celery: id"
PARENT: Final = "celery: parent id"
"""Likewise, of a task and of the one that asked for it."""
OWN: Final = ("messageid", "eventid", "xmessageid", "xeventid", "ceid", "natsmsgid")


def ids_travel(
    *,
    correlation: str | None = None,
    causation: str | None = None,
    message_id: str | None = None,
    ignore: Iterable[str] = (),
) -> Property:
    """Claim that each event carries the ids on that the message before it had.

    The correlation id is the same from the first message of a request to the last. The causation
    id, where a message has one, is the id of the message that it follows from. Both are looked for
    in headers, in RabbitMQ's properties and in payloads, whatever the case and the hyphens of their
    names; in the envelope, too, that SNS puts into a queue. Of a `traceparent` the trace is
    compared. A task of Celery without one of these belongs to the task that it goes back to, its
    `root_id`, and follows from its `parent_id`: Celery's own `correlation_id` is another one for
    each task.

    Args:
        correlation: What the correlation id is called; by default `correlation_id`,
            `x-correlation-id`, `traceparent`, `request_id`, the first that a message has.
        causation: What the causation id is called; by default `causation_id`, `caused_by`,
            `parent_id`.
            Named here, each event has to have one that follows from a message with an id; else
            each that follows from a message which has one itself.
        message_id: What a message's own id is called; by default `message_id`, `event_id`,
            `ce-id`, `Nats-Msg-Id`, and the `id` of an event of EventBridge or of CloudEvents. A
            message may have several, and a causation id names one of them.
        ignore: Events that begin something new, by topic.

    >>> ids_travel(correlation="x-correlation-id")

    Not modelled:
        Events that a relay publishes, which follow from a row. Ids that a broker gives and no
        message holds: the `MessageId` of SQS, the id of an entry of Redis.
    """
    new = names_of(ignore)
    known = [
        (_plain(own),) if own is not None else usual
        for own, usual in ((correlation, CORRELATION), (causation, CAUSATION), (message_id, OWN))
    ]

    def judge(evidence: Evidence) -> list[Finding]:
        found: dict[tuple[str, str], Finding] = {}
        for before, event in answers(evidence.history):
            node = name_of_event(event)
            if new & {node.name, node.name.partition("/")[0], node.name.partition(":")[0]}:
                continue
            for kind, words in _lost(before, event, *known, each=causation is not None):
                place = event.operation.partition("/")[0]
                one = Finding(
                    f"{place} publishes {node} {words}",
                    (before.index, event.index),
                    event.entity,
                    {"event": node.name, "before": name_of_event(before).name},
                    kind=kind,
                    place=node.name,
                )
                found.setdefault((kind, node.name), one)
        return [*found.values()]

    def tested(evidence: Evidence) -> bool:
        ids = (ids_of(before) for before, _ in answers(evidence.history))
        return any(TASK in one or _first(one, known[0]) or _first(one, known[2]) for one in ids)

    return Property("ids travel", judge, "always", tested=tested)


def answers(history: History) -> Iterator[tuple[Event, Event]]:
    """Yield each message that a handler published, after the one that it had in hand."""
    for event in history.of("publish"):
        if not event.operation or "instead_of" in event.data or is_poison(event.data.get("value")):
            continue
        for cause in history.causes(event.index):
            if cause.kind == "deliver":
                message = cause.data.get("message")
                if isinstance(message, int) and not is_poison(history[message].data.get("value")):
                    yield history[message], event
                break


def own_ids(event: Event, names: tuple[str, ...]) -> list[str]:
    """Return what a message is called itself, the author's names first.

    Args:
        event: The message.
        names: What its id may be called, in headers, properties or the payload.
    """
    ids = ids_of(event)
    found = [ids[name] for name in names if ids.get(name)]
    said = dict(payload_of(event))
    inside = [(_plain(leaf_name(path)), value) for path, value in _leaves(said)]
    found += [value for name, value in inside if name in names]
    if "id" in said and ("specversion" in said or "detail-type" in said):
        found.append(str(said["id"]))  # CloudEvents, and the envelope of EventBridge
    return found


def _leaves(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a payload says, and what an envelope of SNS holds, where it may be an id."""
    for path, value in (*said.items(), *_in_envelope(said)):
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield path, str(value)


def ids_of(event: Event) -> dict[str, str]:
    """Return what a message says about itself: headers, properties, payload, by plain names."""
    found: dict[str, str] = {}
    for path, value in _leaves(dict(payload_of(event))):
        found.setdefault(_plain(leaf_name(path)), value)
    properties: dict[str, Any] = event.data.get("properties") or {}
    headers: dict[str, Any] = event.data.get("headers") or {}
    if {"task", "root_id", "id"} <= headers.keys():  # Celery: each task has an id of its own
        properties = {name: one for name, one in properties.items() if one != headers["id"]}
        found[TASK], found[ITSELF] = str(headers["root_id"]), str(headers["id"])
        found[PARENT] = str(headers.get("parent_id") or "")
        headers = {**headers, "parent_id": None}
    for named in (properties, headers):
        found |= {_plain(name): str(one) for name, one in named.items() if one is not None}
    return found


def _in_envelope(said: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what is inside of the envelope that SNS puts into a queue where it is not raw."""
    if said.get("Type") != "Notification" or "TopicArn" not in said:
        return
    for path, value in said.items():
        words = path.split(".")
        if words[0] == "MessageAttributes" and words[-1] == "Value":
            yield ".".join(words[1:-1]).replace(".", "-"), value
    message = said.get("Message")
    if isinstance(message, str):
        with suppress(ValueError):
            yield from leaves(json.loads(message))


def _lost(
    before: Event,
    event: Event,
    correlation: tuple[str, ...],
    causation: tuple[str, ...],
    own: tuple[str, ...],
    *,
    each: bool,
) -> Iterator[tuple[str, str]]:
    """Say what is wrong with the ids of a message that follows from another one.

    Args:
        before: The other one.
        event: The message.
        correlation: What correlation ids are called.
        causation: What causation ids are called.
        own: What a message's own id is called.
        each: Whether each message that follows from one with an id must say so.
    """
    had, has = ids_of(before), ids_of(event)
    name, value = _first(had, correlation) or ("", "")
    if not value and TASK in had and TASK in has:
        name, value = TASK, had[TASK]  # nobody chose it: it is compared among tasks alone
    source = name_of_event(before)
    if value:
        here = has.get(name) or (_first(has, correlation) or ("", ""))[1]
        if not here:
            yield "correlation lost", f"without the correlation id {value} of {source}"
        elif _trace(name, here) != _trace(name, value):
            yield (
                "correlation changed",
                f"with another correlation id than {source}: {here}, not {value}",
            )
    follows, its = _first(has, causation), own_ids(before, own)
    if follows is None and TASK in had and TASK in has and PARENT_ID in causation:
        if has[ITSELF] == had[ITSELF]:
            return  # it asks for itself again, and follows from what it followed from
        follows, its = (PARENT, has[PARENT]), [had[ITSELF], *its]
    if not its:
        return
    if follows is None:
        if each or _first(had, causation) is not None:
            yield "causation lost", f"without saying that it follows from {source} {its[0]}"
    elif follows[1] not in its:
        yield (
            "causation changed",
            f"which says that it follows from {follows[1]}, and follows from {source} {its[0]}",
        )


def _first(ids: dict[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    return next(((name, ids[name]) for name in names if ids.get(name)), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _trace(name: str, value: str) -> str:
    """Return what stays the same along a request: of a `traceparent`, its trace."""
    parts = value.split("-")
    return parts[1] if name == "traceparent" and len(parts) == 4 else value
