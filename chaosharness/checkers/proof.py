"""Whether runs put anything to the test: no green without proof.

A broken system in which nothing is ever handled keeps every promise. So before anything
is called kept, the run without faults is asked whether something happened in it at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from chaosharness.checkers.progress import missed_of, nothing_handled, publisher_of
from chaosharness.kernel.history import History

_WORK: Final = frozenset({"effect", "write", "commit", "call", "publish"})
"""Kinds of event which show that code of a service did something about an item."""

_SIGNS: Final = _WORK | {"handled", "deliver", "poll", "read", "note", "dead", "reply"}
"""Kinds of event which show that something was done at all."""

_DONE: Final = _WORK | {"handled", "raised", "ack", "nack", "note", "dead", "decide"}
"""Kinds of event which show that a message was more than handed out."""

_CLIENT: Final = "client."

_REFUSED: Final = "HTTP4"
"""How the answer of an application begins that blames who asks."""

_LOOKED: Final = _WORK | {"read", "note", "dead", "raised"}
"""Kinds of event which show that a request came further than the door."""


def unproved(history: History, items: Sequence[Any]) -> str:
    """Say why a run without faults puts nothing to the test; nothing where it does.

    Args:
        history: Of the run.
        items: The workload.
    """
    if not items:
        return (
            "there is no workload, so nothing came in: give the entry examples=[...] with at "
            "least one item, or pass items=[...]"
        )
    if error := nothing_handled(history):
        return f"no handler came to its end, even without any fault: {error}"
    for reason in (
        *(missed, unread, put_aside, only_died, turned_away, sent_amiss, led_nowhere),
        *(kept_in_hand, lost_unheard),
    ):
        if found := reason(history):
            return found
    return ""


def failed(history: History) -> bool:
    """Say whether each handler of a run raised, or each loop died, and nothing else was done."""
    return bool(nothing_handled(history) or only_died(history))


def works(history: History) -> bool:
    """Say whether anything was done in a run, on behalf of an item or not."""
    return any(history.of(*_WORK))


def unread(history: History) -> str:
    """Say that what came in as messages was read by nobody; nothing otherwise."""
    topics: dict[str, None] = {}
    for event in history.of("publish"):
        if event.operation.startswith(_CLIENT):
            data = event.data
            topics[str(data.get("topic") or data.get("key") or data.get("broker"))] = None
    if not topics or any(history.of("deliver", "poll")) or _services_worked(history):
        return ""
    first, *others = topics
    where = f"{first!r}" + (f" and {len(others)} more" if others else "")
    return (
        f"nothing was consumed: messages were published to {where}, nobody read them and no "
        "handler ran. Does each service call env.consume(...), or begin its loop with "
        "env.main(...)?"
    )


def lost_unheard(history: History) -> str:
    """Say that a record was sent where nothing is, and no code is told; nothing otherwise."""
    for event in history.of("reply"):
        if event.data and event.data.get("unheard"):
            return (
                f"what {event.operation.partition('/')[0]} sent was lost, even without any fault, "
                f"and no code of it is told (it gives no on_delivery): {event.data['error']}. "
                "Declare it there, or mend the name"
            )
    return ""


def missed(history: History) -> str:
    """Say that a message was dropped for which a queue was bound only later; nothing otherwise."""
    for index in missed_of(history):
        event = history[index]
        if not event.entity:
            continue
        place, topic = publisher_of(event), event.data.get("topic")
        return (
            f"what {place} published as {topic!r} was dropped, even without any fault, and no code "
            "is told: no queue was bound for it yet, and one was only later. Declare and bind the "
            "queue before anything is published (the publisher may do it too), or publish with "
            "mandatory=True"
        )
    return ""


def put_aside(history: History) -> str:
    """Say that every message was put aside and nothing handled; nothing otherwise."""
    dead = [event for event in history.of("dead") if event.data.get("reason") != "expired"]
    if not dead or _services_worked(history):
        return ""
    reason = str(dead[0].data.get("error") or dead[0].data.get("reason") or "")
    why = f" ({reason})" if reason else ""
    return (
        f"everything was put aside, even without any fault{why}: no message was handled. Can "
        "the handlers read what the entry publishes?"
    )


def only_died(history: History) -> str:
    """Say that a main loop died of its own errors and nobody did anything; nothing otherwise.

    What a main loop raises stands at its place; what a handler raises, at an operation of it.
    """
    error = ""
    for _, kind, actor, operation, _, _, _, data in history.raw:
        if actor.startswith("client"):
            continue
        if kind == "raised" and operation and "/" not in operation:
            line = f" (at {data['line']})" if data and data.get("line") else ""
            error = error or f"{operation} raised {data['error'] if data else 'an error'}{line}"
        elif kind in _DONE and actor:
            return ""
    if not error:
        return ""
    return f"no loop did anything with a message, even without any fault: {error}. Mend that first"


def led_nowhere(history: History) -> str:
    """Say that no item of the workload led to anything; nothing otherwise.

    A system that works of itself (a job, a main loop) needs no items; one that waits for
    messages, and is handed none, does.
    """
    waits = handed = worked = False
    for _, kind, _, _, entity, _, _, _ in history.raw:
        if kind in _SIGNS:
            if entity:
                return ""
            worked = True
            handed = handed or kind in ("deliver", "poll")
        waits = waits or kind == "rebalance"
    if worked and (handed or not waits):
        return ""
    return (
        "no item of the workload led to anything: nothing was published, stored, called or "
        "noted on behalf of any of them. Does the entry send its item to where a service waits?"
    )


def turned_away(history: History) -> str:
    """Say that an application refused all that the entry asked for, at its door; nothing otherwise.

    A path that it does not have, a field or a header that is missing (404, 422, 401): whoever has
    looked into a store before is taken for code that meant its answer.
    """
    asked: list[str] = []
    refused = ""
    for event in history:
        mine = (event.operation or "").startswith(_CLIENT)
        if mine and event.kind == "call" and event.data.get("path"):
            asked.append(f"{event.data.get('method', 'GET')} {event.data['path']}")
        elif mine and event.kind == "reply":
            error = str((event.data or {}).get("error", ""))
            if not error.startswith(_REFUSED):
                return ""
            refused = refused or error
        elif event.entity and event.kind in _LOOKED:
            return ""
    if not asked or not refused:
        return ""
    first, *others = dict.fromkeys(asked)
    more = f" (and {len(others)} more)" if others else ""
    return (
        f"all that the entry asks for is refused, even without any fault: {first}{more} is "
        f"answered {refused}, and nothing is done. Does it ask for the path, and with the fields "
        "and headers, that the application takes?"
    )


def sent_amiss(history: History) -> str:
    """Say that a third party could read nothing that it was asked; nothing otherwise.

    A field is missing, or is no number. What it has read, and then refuses with the same status
    (`errors={Declined: 422}`), says nothing of that.
    """
    why: dict[str, str] = {}
    read = set()
    for event in history.of("call"):
        operation = event.operation or ""
        if "unread" in event.data:
            why.setdefault(operation, event.data["unread"])
        else:
            read.add(operation)
    for operation in sorted(why.keys() - read):
        return (
            f"{operation.replace('/', ' asks ', 1)} for nothing that it can read, even without any "
            f"fault: {why[operation]}"
        )
    return ""


def kept_in_hand(history: History) -> str:
    """Say that messages were handed out, and nothing ever came of any; nothing otherwise.

    A batch, for instance, that is written when it is full or old enough, in a loop that never
    wakes to look. Such a run is no measure for others, in which something does come of it.
    """
    handed: dict[str, None] = {}
    for _, kind, actor, _, _, _, _, data in history.raw:
        if kind == "deliver":
            handed[str(data.get("topic") or data.get("group"))] = None
        elif kind in _DONE and actor and not actor.startswith("client"):
            return ""
    if not handed:
        return ""
    first, *others = handed
    where = f"{first!r}" + (f" and {len(others)} more" if others else "")
    return (
        f"nothing came of any message that was handed out from {where}, even without any fault: "
        "no service stored, sent, called, noted, settled or refused anything. Does the loop wake "
        "when nothing more comes (poll(..., timeout_s=1)), and does its work pass a port?"
    )


def did_nothing(history: History) -> str:
    """Say that handlers came to their end and did nothing at all; nothing otherwise.

    A handler that looks at the wrong field and returns, for instance. Only where nobody claims
    anything: what is claimed may be about what code does by itself.
    """
    handlers: dict[str, None] = {}
    for _, kind, actor, operation, _, _, _, data in history.raw:
        of_service = bool(actor) and not actor.startswith("client")
        if kind == "handled":
            handlers[operation.partition("/")[0]] = None
        elif kind == "call":
            return ""  # also a client's: what it is answered counts
        elif of_service and kind in _SIGNS - {"deliver", "poll"}:
            if kind != "commit" or not data or data.get("store"):
                return ""
        elif kind in ("effect", "state") and data and _holds_something(data):
            return ""
    if not handlers:
        return ""
    first, *others = handlers
    name = first + (f" and {len(others)} more" if others else "")
    return (
        f"{name} came to the end and did nothing, even without any fault: no service read, stored, "
        "sent, called or noted anything, so there is nothing that a fault could change. Does the "
        "handler take these messages for its own, and does its work pass a port?"
    )


def _holds_something(data: Any) -> bool:
    tables = data.get("tables")
    held = tables.values() if isinstance(tables, dict) else (data.get("items", data),)
    return any(held)


def _services_worked(history: History) -> bool:
    """Say whether a handler came to its end, or a service did something about an item.

    What it does while it is built, and what it does of itself, says nothing about the items.
    """
    for _, kind, _, operation, entity, _, _, _ in history.raw:
        if kind == "handled":
            return True
        if kind in _WORK and entity and operation and not operation.startswith(_CLIENT):
            place = operation.partition("/")[0]
            if not place.endswith(".start"):
                return True
    return False
