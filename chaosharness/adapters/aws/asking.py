"""How a request of the SDK passes the port of a call: every operation of AWS is a site."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Protocol

import attrs

from chaosharness.adapters.aws.answers import Said, Unheard
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.request import call
from chaosharness.handlers.places import asked_or_awaited_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.history import plain
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

LATENCY_MS: Final = 10
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
SHOWN_MAX: Final = 200


@attrs.frozen
class Request:
    """One request of the SDK.

    Attributes:
        service: As boto3 names it: `sqs`.
        action: As AWS names it: `SendMessage`.
        given: Its parameters.
        connect_s: How long its client waits for a connection.
        read_s: How long for an answer.
        address: Of the service.
    """

    service: str
    action: str
    given: Mapping[str, Any]
    connect_s: float
    read_s: float
    address: str

    @property
    def method(self) -> str:
        """What boto3 calls the action: `send_message`."""
        return _HUMP.sub("_", self.action).lower()


class Speaker(Protocol):
    """A service of AWS in a run."""

    @property
    def name(self) -> str:
        """Of the part behind it, as reports call it."""

    def about(self, request: Request) -> str:
        """Return what a request is about: the name of a queue, a topic, a table; or nothing."""

    def knows(self, action: str) -> bool:
        """Say whether an action is modelled."""

    def waits(self, request: Request) -> Callable[[Scope, Line], Any] | None:
        """Return what takes part of the waiting on itself: a long poll; None for a plain call."""

    def do(self, request: Request, scope: Scope, operation: str, attempt: int) -> dict[str, Any]:
        """Do what is asked for, and return the answer.

        Raises:
            Said: It is refused.
        """

    def refused(self, request: Request) -> Said:
        """Return what it says to a request where it does nothing for now."""


class Line:
    """The other end of one request, as the SDK sees it: with the time-outs of its client."""

    latency_ms: Final = LATENCY_MS

    def __init__(self, scope: Scope, speaker: Speaker, request: Request) -> None:
        self._scope = scope
        self._speaker = speaker
        self._request = request
        self.name = speaker.name

    @property
    def world(self) -> World:
        """The run that it belongs to."""
        return self._scope.world

    @property
    def _is_cut(self) -> bool:
        return (self._scope.incarnation.service, self.name) in self.world.unreachable

    @property
    def timeout_ms(self) -> int:
        """How long the client waits now: for a connection, where there is no way to AWS."""
        request = self._request
        return max(round((request.connect_s if self._is_cut else request.read_s) * 1000), 1)

    def lost(self, operation: str) -> BaseException:
        """Return that no answer came."""
        words = f"{operation}: no answer within {self.timeout_ms / 1000:g} s"
        return Unheard(words, connected=not self._is_cut)

    def refused(self, operation: str) -> BaseException:
        """Return what the service says where it does nothing for now."""
        return self._speaker.refused(self._request)

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: AWS keeps several copies before it answers."""

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Request, reply: Any
    ) -> None:
        """Have the service answer."""
        try:
            answer = self._speaker.do(request, caller, operation, attempt)
        except Said as said:
            if said.is_answer:
                reply(said, None)
            else:
                reply(None, said, happened=False)
        except InvalidDefinition as error:
            self.world.refuse(error)
        else:
            reply(answer, None)


def ask(speaker: Speaker, request: Request, library: str) -> Any:
    """Send a request; return its answer, in `async` code an awaitable of it.

    An answer may be a `Said` too: that a condition does not hold is no trouble.

    Raises:
        Said: The service says no.
        Unheard: No answer came.
    """
    scope = current_scope(f"{request.service}.{request.method}")
    if not speaker.knows(request.action):
        not_known(request)
    about = speaker.about(request)
    action = f"{speaker.name}.{request.method}{about and f' {about}'}"
    note_spoken(scope, library, action)
    line = Line(scope, speaker, request)
    waits = speaker.waits(request)
    if waits is not None:
        return waits(scope, line)
    return call(action, line, request, {"method": request.method, **_shown(request.given)})


def note_spoken(scope: Scope, library: str, action: str) -> None:
    """Take note that the SDK has passed an operation: botocore below, and what is on it."""
    spoken = scope.world.spoken
    spoken.setdefault("botocore", set())
    name = "boto3" if library == "botocore" and "boto3" in sys.modules else library
    spoken.setdefault(name, set()).add(f"{scope.place}/{action}")


def not_known(request: Request, what: str = "") -> NoReturn:
    """Say that an action is not modelled, or that something in it is not, and end the run.

    Raises:
        InvalidDefinition: Always.
    """
    beside = f" with {what}" if what else ""
    call_off(
        InvalidDefinition(
            f"boto3: {request.service}.{request.method}{beside} is not modelled"
            f"{asked_or_awaited_at()}. Leave it out of the code under test, or pass a double for "
            "it; what is modelled, docs/how-to/boto3.md says"
        )
    )


def _shown(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the history shows of a request: its plain values, by name."""
    return {
        name: plain(value)
        for name, value in given.items()
        if name != "method" and isinstance(value, int | float | str) and len(str(value)) < SHOWN_MAX
    }
