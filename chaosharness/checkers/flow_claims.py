"""Claims about the flow that stands nowhere in the code: its events, and its chains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from chaosharness.checkers.callbacks import calls_back, name_of_event
from chaosharness.checkers.effects import names_of
from chaosharness.checkers.flow import EventGraph, Node
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reactions import event_graph
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.kernel.allowed import is_whole
from chaosharness.kernel.history import Event, History


def every_event_is_heard(*, ignore: Iterable[str] = ()) -> Property:
    """Claim that somebody consumes every sort of event.

    Judged without faults: where a fault kept a consumer away, nobody is to blame.

    Args:
        ignore: Events that leave the system, by topic: somebody outside consumes them.

    >>> every_event_is_heard(ignore=["invoices"])

    Not modelled:
        Consumers outside the system; a log that is read later.
    """
    outside = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        if evidence.faults:
            return []
        history = evidence.history
        found = _graph(history).unheard()
        return [
            _finding(history, node, f"nobody consumes {node}", "unheard")
            for node in found
            if not outside & {node.name, node.name.partition("/")[0], node.name.partition(":")[0]}
        ]

    return Property("every event is heard", judge, "always", tested=_calm_with_events)


def every_event_carries_an_id(*, ignore: Iterable[str] = ()) -> Property:
    """Claim that each event has something in common with the one that it follows from.

    A text or a number in its key, its headers or its payload: without any, nobody can tell which
    order a mail, a join or a trace belongs to.

    Args:
        ignore: Events that begin something new, by topic.

    >>> every_event_carries_an_id(ignore=["daily-report"])

    Not modelled:
        Events that a relay publishes, which follow from a row; ids that are equal by chance.
    """
    new = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        history = evidence.history
        return [
            _finding(
                history,
                node,
                f"{node} carries no id of the message it follows from: nobody can tell which one "
                "it belongs to",
                "forgetful",
            )
            for node in _graph(history).forgetful()
            if not new & {node.name, node.name.partition("/")[0], node.name.partition(":")[0]}
        ]

    def tested(evidence: Evidence) -> bool:
        return any(True for _ in _answers(evidence.history))

    return Property("every event carries an id", judge, "always", tested=tested)


def events_say_enough(*, ignore: Iterable[str] = ()) -> Property:
    """Claim that no handler calls the service back that its event came from, to understand it.

    Such a call makes the two depend on each other again: the handler works only while the sender
    does, and it is told how things are *now*, which may be later than the event. A call that
    changes something there is a command, and fine. Judged without faults.

    Args:
        ignore: Handlers that may (`payments.on_placed`), events, or calls (`orders.get`).

    >>> events_say_enough(ignore=["search.on_changed"])

    Not modelled:
        Calls by HTTP; a look into the sender's database.
    """
    fine = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        if evidence.faults:
            return []
        found: dict[tuple[Node, ...], Finding] = {}
        for nodes, call in calls_back(evidence.history):
            handler, asked, event = nodes
            if fine & {*map(str, nodes), event.name.partition(":")[0]}:
                continue
            words = f"{handler} asks {asked} back to understand {event}: it does not say enough"
            data = {"handler": str(handler), "call": str(asked), "event": str(event)}
            finding = Finding(words, (call.index,), call.entity, data, kind="asks back")
            found.setdefault(nodes, attrs.evolve(finding, place=str(handler)))
        return [*found.values()]

    return Property("events say enough", judge, "always", tested=_calm_with_events)


def no_call_chain(*, services_max: int = 3) -> Property:
    """Claim that no chain of handlers waits for one another as calls would.

    Handlers in a row, each with one event in and one out, are a call chain in disguise: it is as
    slow as the sum of them, and nobody sees the whole.

    Args:
        services_max: How many handlers in a row are fine.

    >>> no_call_chain(services_max=4)
    """
    if not is_whole(services_max, 1):
        raise InvalidDefinition(
            f"no_call_chain needs services_max, a whole number from 1, not {services_max!r}"
            f"{asked_at()}"
        )

    def judge(evidence: Evidence) -> list[Finding]:
        if evidence.faults:
            return []
        history = evidence.history
        return [
            Finding(
                f"{len(chain)} handlers in a row wait for one another: "
                f"{' → '.join(map(str, chain))}",
                tuple(_first_of(history, chain)),
                kind="chain",
                place=str(chain[0]),
            )
            for chain in _graph(history).chains(longer_than=services_max)
        ]

    return Property("no call chain in disguise", judge, "always", tested=_calm_with_events)


def _graph(history: History) -> EventGraph:
    return event_graph(history)


def _calm_with_events(evidence: Evidence) -> bool:
    return not evidence.faults and any(True for _ in evidence.history.of("publish"))


def _answers(history: History) -> Iterator[Event]:
    """Yield the messages that follow from another one."""
    for event in history.of("publish"):
        if any(one.kind == "deliver" for one in history.causes(event.index)):
            yield event


def _finding(history: History, node: Node, words: str, kind: str) -> Finding:
    events = [one for one in history.of("publish") if name_of_event(one) == node]
    first = events[0] if events else None
    return Finding(
        words,
        () if first is None else (first.index,),
        0 if first is None else first.entity,
        {"event": node.name, "times": len(events)},
        kind=kind,
        place=node.name,
    )


def _first_of(history: History, chain: tuple[Node, ...]) -> Iterator[int]:
    """Yield the first thing that each handler of a chain says."""
    for handler in chain:
        said = (e for e in history.of("publish") if e.operation.startswith(f"{handler}/"))
        first = next(said, None)
        if first is not None:
            yield first.index
