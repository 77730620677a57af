"""Which handlers had to ask the service that an event came from, to understand it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from chaosharness.checkers.flow import Callback, Node
from chaosharness.checkers.reading import is_poison
from chaosharness.kernel.history import Event, History

CHANGES: Final = ("commit", "write", "publish", "effect")
"""What a service does that was told something, and not only asked."""


def asks_back(history: History) -> Iterator[Callback]:
    """Yield who asked the service back that its event came from, once for each time.

    The handler calls an endpoint of the service that published the event, or one of those that led
    to it, and that changes nothing: what it asks for, the event did not say.
    """
    for callback, _ in calls_back(history):
        yield callback


def calls_back(history: History) -> Iterator[tuple[Callback, Event]]:
    """Yield the same with the event of each call."""
    telling = _told(history)
    for call in history.of("call"):
        service = call.data.get("service")
        if service is None or call.index in telling:
            continue
        message = _message_in_hand(history, call)
        if message is None or service == call.actor.partition("#")[0]:
            continue
        if service in _senders(history, message):
            place = call.operation.partition("/")[0]
            asked = Node("call", f"{service}.{call.data.get('endpoint')}")
            yield (Node("handler", place), asked, name_of_event(message)), call


def _told(history: History) -> set[int]:
    """Return the calls that changed something where they were answered."""
    found: set[int] = set()
    answering: dict[int, tuple[int, str]] = {}  # the call that an event answers, and who does
    for index, raw in enumerate(history.raw):
        actor, cause = raw[2].partition("#")[0], raw[6]
        if cause < 0:
            continue
        above = history.raw[cause]
        if above[1] == "call" and (above[7] or {}).get("service") == actor:
            answering[index] = (cause, actor)
        elif cause in answering and above[2].partition("#")[0] == actor:
            answering[index] = answering[cause]
        if index in answering and raw[1] in CHANGES:
            found.add(answering[index][0])
    return found


def _message_in_hand(history: History, call: Event) -> Event | None:
    """Return the message whose handler makes a call; None where it is another's, or nobody's."""
    actor = call.actor
    for event in history.causes(call.index):
        if event.kind == "deliver":
            message = event.data.get("message")
            if event.data.get("to") != actor or not isinstance(message, int):
                return None
            found = history[message]
            return None if is_poison(found.data.get("value")) else found
        if event.actor != actor and event.kind not in ("effect", "reply"):
            return None  # what it does when it is called is not about an event
    return None


def _senders(history: History, message: Event) -> set[str]:
    """Return the services that published a message, and those before it on its way."""
    before = (one for one in history.causes(message.index) if one.kind == "publish")
    return {one.actor.partition("#")[0] for one in (message, *before)}


def name_of_event(event: Event) -> Node:
    """Return the sort of event that a published message is."""
    data = event.data
    topic = data.get("topic") or data.get("exchange") or data.get("queue") or "?"
    key = data.get("key") if data.get("exchange") else None
    name = f"{topic}/{key}" if key else str(topic)
    kind = _type_of(data.get("value"))
    return Node("event", f"{name}:{kind}" if kind else name)


TYPES: Final = ("type", "event", "event_type", "eventType", "kind", "name")
"""Fields of a payload that say which sort of event it is, where a topic carries several."""


def _type_of(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            value = json.loads(value)
        except ValueError:
            return ""
    if isinstance(value, dict):
        for field in TYPES:
            if isinstance(value.get(field), str):
                return str(value[field])
    return ""
