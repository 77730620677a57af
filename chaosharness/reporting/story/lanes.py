"""Who takes part in a story, and what each was doing at a time: up, busy or down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import attrs

from chaosharness.kernel.history import History

Role = Literal["client", "broker", "service", "store", "third party", "world"]

_ORDER: Final[dict[str, int]] = {
    role: place
    for place, role in enumerate(("client", "broker", "service", "store", "third party", "world"))
}
_STORE_KINDS: Final = frozenset({"read", "write", "commit", "rollback"})


@attrs.frozen
class Lane:
    """One part of the system, drawn as a line downwards.

    Attributes:
        key: How the history calls it, without the number of its incarnation: `payments#2`.
        name: What a report calls it: `payments` where there is one replica only.
        role: What it is.
    """

    key: str
    name: str
    role: Role


def lane_of(label: str) -> str:
    """Return the lane of an actor: `payments#2/3`, the third life of replica 2 → `payments#2`."""
    return label.partition("/")[0] if "#" in label else label


def life_of(label: str) -> int:
    """Return the number of an incarnation, from 1."""
    number = label.rpartition("/")[2] if "#" in label and "/" in label else "1"
    return int(number) if number.isdecimal() else 1


def service_of(label: str) -> str:
    """Return the service of an incarnation, or the name of any other actor."""
    return label.partition("#")[0]


def action_of(operation: str) -> str:
    """Return what is done: `payments.on_order/bank.charge` → `bank.charge`."""
    return operation.partition("/")[2] or operation


class Cast:
    """The parts of a system, read from a history.

    Attributes:
        lanes: By key, in the order they first appear.
    """

    def __init__(self, *histories: History) -> None:
        self.roles: dict[str, Role] = {}
        self.replicas: dict[str, dict[str, None]] = {}
        self.calls: dict[int, str] = {}
        self._certain: set[str] = set()
        for history in histories:
            for index, raw in enumerate(history.raw):
                self._see(index, raw, history)
        self.lanes = {key: Lane(key, self._name(key), role) for key, role in self.roles.items()}

    def _see(self, index: int, raw: tuple[Any, ...], history: History) -> None:
        _, kind, actor, operation, _, _, cause, data = raw
        if "#" in actor:
            service = service_of(actor)
            self.replicas.setdefault(service, {})[lane_of(actor)] = None
            self._add(lane_of(actor), "service")
            if cause >= 0 and _picked_up(history.raw[cause], service):
                self.calls.setdefault(cause, lane_of(actor))
        elif actor in ("client", "world"):
            self._add(actor, actor)
        elif kind in ("deliver", "rebalance", "dead"):
            self._add(actor, "broker", sure=True)
        elif kind == "effect":
            self._add(actor, "third party", sure=True)
        elif kind == "state":
            self._add(actor, "store")
        self._see_peer(kind, operation, data or {})

    def _see_peer(self, kind: str, operation: str, data: Mapping[str, Any]) -> None:
        if kind == "publish" and data.get("broker"):
            self._add(str(data["broker"]), "broker", sure=True)
        elif kind == "call" and "service" not in data:
            asked = action_of(operation).rpartition(".")[0]
            if asked not in self._certain:  # a library's calls to a queue or a table are calls, too
                self._add(asked, "third party", sure=True)
        elif kind in _STORE_KINDS and data.get("store"):
            self._add(str(data["store"]), "store", sure=True)
        elif kind in _STORE_KINDS and "." in action_of(operation):
            self._add(action_of(operation).partition(".")[0], "store")

    def _add(self, key: str, role: Role, *, sure: bool = False) -> None:
        if key and (sure or key not in self.roles):
            self.roles[key] = role
        if sure and role in ("broker", "store"):
            self._certain.add(key)

    def _name(self, key: str) -> str:
        service = service_of(key)
        return service if len(self.replicas.get(service, ())) == 1 else key

    def name(self, label: str) -> str:
        """Return what a report calls an actor."""
        lane = self.lanes.get(lane_of(label))
        return lane.name if lane is not None else label

    def peer(self, operation: str, *, call: int = -1) -> str:
        """Return the lane at the other end of an operation, or nothing.

        Args:
            operation: As in the history.
            call: Index of the `call` event, where there is one: it tells which replica of
                another service picked up.
        """
        if call in self.calls:
            return self.calls[call]
        action = action_of(operation)
        fitting = [key for key in self.roles if action.startswith(f"{key}.")]
        if fitting:
            return max(fitting, key=len)
        service = action.partition(".")[0]
        return next(iter(self.replicas.get(service, ())), "")

    def in_order(self, keys: Iterable[str], *, first: Iterable[str] = ()) -> tuple[Lane, ...]:
        """Return lanes from left to right: those named first, then the client, brokers,
        services, stores and third parties, each as they were given.
        """
        wanted = list(dict.fromkeys(key for key in keys if key in self.lanes))
        named = list(first)
        found = [self.lanes[key] for key in wanted]

        def place(lane: Lane) -> tuple[int, int, int]:
            if lane.key in named or lane.name in named:
                at = named.index(lane.key if lane.key in named else lane.name)
                return (0, at, 0)
            return (1, _ORDER[lane.role], wanted.index(lane.key))

        return tuple(sorted(found, key=place))


def _picked_up(raw: tuple[Any, ...], service: str) -> bool:
    """Say whether an event is a call to this service."""
    return raw[1] == "call" and (raw[7] or {}).get("service") == service


@attrs.frozen
class Span:
    """A stretch of a history in which a lane was busy with a message, or down.

    `until` is the index of the first event that is not in it any more.
    """

    lane: str
    since: int
    until: int


_ENDS_WORK: Final = frozenset({"handled", "raised", "ack", "nack"})


def spans(history: History) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Return when lanes were busy with a delivery, and when they were down."""
    busy: list[Span] = []
    down: list[Span] = []
    working: dict[str, int] = {}
    dead: dict[str, int] = {}
    for index, (_, kind, actor, _, _, _, _, data) in enumerate(history.raw):
        lane = lane_of(actor)
        if kind == "deliver":
            working.setdefault(lane_of(str((data or {}).get("to", ""))), index)
        elif kind in _ENDS_WORK and lane in working:
            busy.append(Span(lane, working.pop(lane), index + 1))
        elif kind == "crash":
            if lane in working:
                busy.append(Span(lane, working.pop(lane), index))
            dead.setdefault(lane, index)
        elif kind == "start" and lane in dead:
            down.append(Span(lane, dead.pop(lane), index))
    end = len(history)
    busy += [Span(lane, since, end) for lane, since in working.items()]
    down += [Span(lane, since, end) for lane, since in dead.items()]
    return tuple(busy), tuple(down)


def within(found: Iterable[Span], index: int) -> frozenset[str]:
    """Return the lanes that are in one of these spans at an event."""
    return frozenset(span.lane for span in found if span.since <= index < span.until)
