"""How what bytes ask for passes the port of a call, and what its client gets back: bytes again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from chaosharness.adapters.network.wire import Wire
from chaosharness.adapters.spoken import note_spoken
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.external import OpenExternal
from chaosharness.externals.request import call
from chaosharness.handlers.places import at_line, words_of
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

Ended = Literal["silent", "reset"]
"""What a connection has come to: nothing arrives any more, or it was reset."""


class Listener(Protocol):
    """Who listens at an address in a run."""

    @property
    def name(self) -> str:
        """The address."""

    @property
    def at(self) -> tuple[str, int]:
        """Name and port."""

    @property
    def world(self) -> World:
        """The run."""

    @property
    def part(self) -> OpenExternal:
        """The third party that answers."""

    def wire(self) -> Wire:
        """Return the server's end of a new connection."""


class Broken(Exception):
    """A request that got no answer: its connection is of no use any more."""

    def __init__(self, ended: Ended, words: str) -> None:
        super().__init__(words)
        self.ended: Ended = ended


class Told(Exception):
    """An answer that says no: its client gets it as bytes, the history as a failure."""

    def __init__(self, data: bytes, words: str) -> None:
        super().__init__(words)
        self.data = data


def ask(
    host: Listener, wire: Wire, method: str, fields: Mapping[str, Any], timeout_s: float | None
) -> Any:
    """Have the third party do what was asked for; return what it returned, or an awaitable of it.

    Raises:
        Broken: No answer came.
        Told: The answer is no.
    """
    scope = current_scope(f"{host.name} {method}")
    part = host.part
    takes = part.signature(method)
    try:
        takes.bind(**fields)
    except TypeError as error:
        call_off(
            InvalidDefinition(
                f"Host({host.name!r}): its wire asks for {part.name}.{method} with "
                f"{', '.join(fields) or 'nothing'}, and that takes {takes}: {error}"
            )
        )
    request, words = part.asked(method, dict(fields))
    action = f"{part.name}.{method}"
    note_spoken(scope, "socket", action)
    return call(action, Line(host, wire, method, timeout_s), request, words)


class Line:
    """The other end of one request, with the patience of its client."""

    def __init__(self, host: Listener, wire: Wire, method: str, timeout_s: float | None) -> None:
        part = host.part
        self._part = part
        self._host = host
        self._wire = wire
        self._method = method
        self._ended: Ended = "reset" if timeout_s is None else "silent"
        self.name = part.name
        self.latency_ms = part.latency_ms
        self.timeout_ms: int = (
            part.timeout_ms if timeout_s is None else max(round(timeout_s * 1000), 1)
        )

    @property
    def world(self) -> World:
        """The run that it belongs to."""
        return self._host.world

    def lost(self, operation: str) -> BaseException:
        """Return that no answer came."""
        words = f"{operation}: no answer within {self.timeout_ms / 1000:g} s"
        return Broken(self._ended, words)

    def refused(self, operation: str) -> BaseException:
        """Return what the server sends when it does nothing for now."""
        refused = getattr(self._wire, "refused", None)
        if refused is None:
            return Broken("reset", f"{operation}: connection reset")
        return Told(refused(self._method), "refused")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: somebody else's problem."""

    def serve(self, caller: Scope, operation: str, attempt: int, request: Any, reply: Any) -> None:
        """Have the third party answer."""

        def back(value: Any, error: BaseException | None, happened: bool = True) -> None:
            if error is not None:
                error = self._failed(error)
            reply(value, error, happened)

        self._part.serve(caller, operation, attempt, request, back)

    def _failed(self, error: BaseException) -> BaseException:
        """Return an error of the model as its client sees it."""
        failed = getattr(self._wire, "failed", None)
        if failed is not None:
            return Told(failed(self._method, error), words_of(error))
        mistake = InvalidDefinition(
            f"the model behind Host({self._host.name!r}) raised {words_of(error)}{at_line(error)}, "
            "and its wire has no failed(method, error), which says how the protocol tells that: "
            "give it one, or the model is wrong"
        )
        self.world.refuse(mistake)
        return mistake
