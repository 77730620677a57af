"""Requests that a walk through states makes of its execution, and the walk's own small state."""

from collections.abc import Callable, Generator
from typing import Any

import attrs

from chaosharness.orchestrators.stepfunctions.definition import Graph
from chaosharness.orchestrators.stepfunctions.errors import StateError

__all__ = ["Answer", "Branch", "Child", "Fork", "Turn", "Until", "Work"]


@attrs.frozen
class Turn:
    """Let other branches go on; come back at once."""


@attrs.frozen
class Until:
    """Come back at a time, in milliseconds of virtual time."""

    at_ms: int


@attrs.frozen
class Work:
    """Work for somebody outside: a function, an activity, a service.

    `kind` is "function", "activity" or "service"; `resource` names what is asked (a function's or
    activity's name, else `service:action`). With `callback` the answer comes by the token.
    `timeout_ms` and `heartbeat_ms` are None where the state waits for ever.
    """

    kind: str
    service: str
    resource: str
    arguments: Any
    callback: bool = False
    timeout_ms: int | None = None
    heartbeat_ms: int | None = None
    token: str = ""


@attrs.frozen
class Child:
    """One branch of a Parallel, or one item of a Map: its graph, input and what `$$.Map` is."""

    graph: Graph
    data: Any
    item: dict[str, Any] | None = None
    quiet: bool = False  # a distributed map's items write no events here


@attrs.frozen
class Fork:
    """Run children, at most `most` at once (0: all); `tolerated` of them may fail."""

    children: tuple[Child, ...]
    most: int
    tolerated: int
    started: Callable[["Branch", int], None] | None = None
    ended: Callable[["Branch", int, bool], int] | None = None
    aborted: Callable[["Branch", int], None] | None = None


Answer = Any  # what a request is answered with; a StateError is raised in its place
Request = Turn | Until | Work | Fork
Walk = Generator[Request, Answer, Any]


@attrs.define(eq=False)
class Branch:
    """One walk through the states of a graph: an execution has one, a Parallel adds some."""

    graph: Graph
    data: Any
    variables: dict[str, Any]
    parent: "Branch | None" = None
    index: int = 0
    item: dict[str, Any] | None = None
    quiet: bool = False
    last_event: int = 0
    state: str = ""
    raw: Any = None  # the input of that state
    resumes: str = ""  # the state that it begins at, where that is not its graph's first
    last: "Running | None" = None  # the fork that it had last: a redrive takes its results over
    kind: str = ""
    entered_ms: int = 0
    walk: Walk | None = None
    fork: "Running | None" = None
    begun: bool = False  # the Map or Parallel it is in has begun
    ended: bool = False


@attrs.define(eq=False)
class Running:
    """A fork that has begun: who still runs, what came back."""

    request: Fork
    left: list[int]  # children that have not begun, the next one first
    branches: dict[int, Branch] = attrs.field(factory=dict)
    outputs: dict[int, Any] = attrs.field(factory=dict)
    failures: dict[int, StateError] = attrs.field(factory=dict)
    before: dict[int, Branch] = attrs.field(factory=dict)  # those that a redrive goes on from
    mark: int = 0  # the event that what follows the fork points back to
