"""How a request of a client library passes the port of a call, whatever the library."""

from __future__ import annotations

from typing import Any

import attrs

from chaosharness.adapters.http.errors import GIVEN_UP_MS, NoAnswer
from chaosharness.adapters.http.message import FAILED, Answer, Request
from chaosharness.adapters.http.web import OpenWeb, Reached, Said
from chaosharness.adapters.spoken import note_spoken
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.request import call
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.handlers.trackers import is_lost
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World


@attrs.frozen
class Patience:
    """How long a client waits, in seconds; None for ever.

    Attributes:
        connect_s: For the connection.
        read_s: For the answer.
    """

    connect_s: float | None
    read_s: float | None


def ask(request: Request, patience: Patience, library: str) -> Answer:
    """Send a request and wait for its answer; in `async` code its event loop waits too.

    Raises:
        NoAnswer: There is none.
    """
    try:
        answer: Answer = blocking(_send)(request, patience, library)
    except Said as said:
        return said.answer
    return answer


async def ask_later(request: Request, patience: Patience, library: str) -> Answer:
    """Send a request and await its answer.

    Raises:
        NoAnswer: There is none.
    """
    try:
        answer: Any = _send(request, patience, library)
        if hasattr(answer, "__await__"):
            answer = await answer
    except Said as said:
        return said.answer
    return answer  # type: ignore[no-any-return]


def _send(request: Request, patience: Patience, library: str) -> Any:
    scope = current_scope(str(request))
    web = _at(scope, request)
    reached = web.reach(request)
    note_spoken(scope, library, reached.action)
    line = Line(scope, web, reached, patience)
    return call(reached.action, line, request, reached.words)


def _at(scope: Scope, request: Request) -> OpenWeb:
    """Return who answers for a host.

    Raises:
        NoAnswer: Nobody does, and a tracker of errors asks in a thread of its own.
        InvalidDefinition: Nobody does, which calls the run off.
    """
    found = web_of(scope.world, request.host)
    if found is not None:
        return found
    if is_lost(request.host):
        raise NoAnswer("refused", f"{request}: connection refused")
    hosts = [one.name for one in scope.world.states.values() if isinstance(one, OpenWeb)]
    known = ", ".join(hosts) or "nobody"
    call_off(
        InvalidDefinition(
            f"{scope.place} asks {request}{asked_at()}, and nobody answers for {request.host!r} in "
            f"this system, only for: {known}. Add what stands behind it: "
            f'Web("{request.host}", part, routes={{"{request.method} {request.path}": "..."}}), '
            f'or Web("{request.host}") where a service does'
        )
    )


def web_of(world: World, host: str) -> OpenWeb | None:
    """Return who answers for a host in a run."""
    for one in world.states.values():
        if isinstance(one, OpenWeb) and one.name == host:
            return one
    return None


class Line:
    """The other end of one request, as its client sees it: with the client's own time-outs."""

    def __init__(self, scope: Scope, web: OpenWeb, reached: Reached, patience: Patience) -> None:
        self._scope = scope
        self._web = web
        self._reached = reached
        self._patience = patience
        self.name = reached.peer
        self.latency_ms: int = reached.latency_ms

    @property
    def world(self) -> World:
        """The run that it belongs to."""
        return self._web.world

    @property
    def _is_cut(self) -> bool:
        return (self._scope.incarnation.service, self.name) in self.world.unreachable

    @property
    def timeout_ms(self) -> int:
        """How long the client waits now: for a connection, where there is no way to the host."""
        patience = self._patience
        seconds = patience.connect_s if self._is_cut else patience.read_s
        return GIVEN_UP_MS if seconds is None else max(round(seconds * 1000), 1)

    def lost(self, operation: str) -> BaseException:
        """Return that no answer came, and why not."""
        words = f"{operation}: no answer within {self.timeout_ms / 1000:g} s"
        patience = self._patience
        if self._is_cut:
            return NoAnswer("given up" if patience.connect_s is None else "connect timeout", words)
        return NoAnswer("given up" if patience.read_s is None else "read timeout", words)

    def refused(self, operation: str) -> BaseException:
        """Return what the host answers when it does nothing for now."""
        status = self._web.definition.refused
        if status == "connection":
            return NoAnswer("refused", f"{operation}: connection refused")
        return Said.of(Answer(status, {"error": "unavailable"}))

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: somebody else's problem."""

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Request, reply: Any
    ) -> None:
        """Have whoever stands behind the host answer."""

        def back(value: Any, error: BaseException | None, happened: bool = True) -> None:
            if error is None and value.status >= FAILED:
                value, error = None, Said.of(value)
            reply(value, error, happened)

        self._web.serve(self._reached, caller, operation, attempt, back)
