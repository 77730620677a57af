"""Webhooks: a third party tells of what happened at it, at least once, late and in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from chaosharness.adapters.http.asking import Line, Patience, web_of
from chaosharness.adapters.http.errors import NoAnswer
from chaosharness.adapters.http.message import FAILED, Request
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.message import Message, encode_json
from chaosharness.errors import InvalidDefinition
from chaosharness.externals.external import OpenExternal
from chaosharness.externals.request import NO_ANSWER, Journey
from chaosharness.faults import Delay, Duplicate, LostReply, LostRequest
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import strikes, surface
from chaosharness.handlers.script import Resume, Script, drive_in_kernel
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Buried, CameBack, HandedOut, Settled, Stored

DELIVER: Final = surface(before=(Delay, LostRequest, Duplicate), after=(LostReply,))
RETRIES_S: Final = (5, 60, 600, 3_600)
TOPIC: Final = "webhook"


def _address(hooks: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        right = 'an address: "https://shop.example/webhooks"'
        raise allowed.refused("Webhooks", attribute.name, right, value)


def _several(value: Iterable[float]) -> tuple[float, ...]:
    return tuple(value)


def _seconds(hooks: Any, attribute: Any, value: Any) -> None:
    if not all(isinstance(one, int | float) and one > 0 for one in value):
        right = "how long it waits before each further attempt, in seconds: [5, 60]"
        raise allowed.refused("Webhooks", attribute.name, right, value)


@attrs.frozen
class Webhooks:
    """What a third party sends to an address when something has happened at it.

    Each effect of the third party (an entry in its ledger) is an event, which is posted as JSON
    until the answer has a status from 200 to 299: at least once, late, and in any order. A search
    tries that an event is late (`Delay`), comes twice (`Duplicate`), and that a delivery or its
    answer is lost (`LostRequest`, `LostReply`) and so comes again.

    Args:
        name: What reports call it.
        of: The third party, an `External` or a `Gateway`.
        to: The address, behind a host name of this system (`Web`).
        event: `event(entry)` returns what is posted, or None for nothing. The entry is what the
            ledger has: `method`, its arguments, and as `answer` what the caller gets. By default
            `{"id": "evt_1", "type": method, "data": entry}`.
        headers: Sent with each; or `headers(body)`, for signatures.
        delay_ms: How long after the effect it sets out.
        timeout_s: How long it waits for an answer.
        retries_s: How long it waits before each further attempt; then it gives up.

    Source:
        Stripe documentation, "Webhooks": retried with an exponential backoff, not in the order in
        which events were made, and more than once now and then; any status from 200 to 299 is taken
        for received. GitHub and Adyen promise no more than that.

    Not modelled:
        The providers' own timetables (Stripe: up to three days). Trouble that outlasts their
        patience: while faults last, nobody gives up. An endpoint that is switched off because it
        fails too often; redirects.
    """

    name: str = attrs.field(validator=allowed.text())
    of: Any
    to: str = attrs.field(validator=_address, kw_only=True)
    event: Callable[[dict[str, Any]], Any] | None = attrs.field(
        default=None, validator=allowed.function_or_none(), kw_only=True
    )
    headers: Mapping[str, str] | Callable[[bytes], Mapping[str, str]] = attrs.field(
        factory=dict, kw_only=True
    )
    delay_ms: int = attrs.field(default=50, validator=allowed.whole(0), kw_only=True)
    timeout_s: float = attrs.field(default=10.0, kw_only=True)
    retries_s: tuple[float, ...] = attrs.field(
        default=RETRIES_S, converter=_several, validator=_seconds, kw_only=True
    )

    def open(self, world: World) -> OpenWebhooks:
        """Return it for one run.

        Raises:
            InvalidDefinition: The third party is no part of the system.
        """
        state = world.states.get(getattr(self.of, "name", ""))
        if not isinstance(state, OpenExternal) or state.definition is not self.of:
            raise InvalidDefinition(
                f"Webhooks({self.name!r}) tells of {self.of!r}, which is no third party of this "
                "system: add(...) that first, an External or a Gateway"
            )
        opened = OpenWebhooks(self, world)
        state.on_effect.append(opened.happened)
        return opened


class OpenWebhooks:
    """A sender of webhooks during one run."""

    def __init__(self, definition: Webhooks, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.world = world
        self._journal = Journal(world, definition.name)
        self._sender = Incarnation(world, self.name, 1, 1, self.name)
        self._number = 0
        for seconds in (definition.timeout_s, *definition.retries_s):
            world.know_duration(round(seconds * 1000))

    def happened(self, caller: Scope, cause: int, entry: dict[str, Any]) -> None:
        """Take an effect for an event, and set out to tell of it."""
        payload = self._payload(entry)
        if payload is None:
            return
        world = self.world
        body = encode_json(payload, self.name)
        message = Message(TOPIC, None, {}, body, caller.entity, caller.hops + 1, cause)
        name = world.publications.name(f"{self.name}.send", caller.entity, caller.message, body)
        message.name = name
        self._journal.write(Stored(message, self.definition.to))
        drive_in_kernel(self._tell(message), world)

    def _payload(self, entry: dict[str, Any]) -> Any:
        self._number += 1
        if self.definition.event is not None:
            return self.definition.event(entry)
        return {"id": f"evt_{self._number}", "type": entry["method"], "data": entry}

    def _tell(self, message: Message) -> Script[None]:
        """Deliver an event until it is received, or nobody tries any more."""
        yield self.definition.delay_ms
        times = 0
        while True:
            for wait_s in (*self.definition.retries_s, None):
                times += 1
                why = yield from self._deliver(message, times)
                if not why:
                    return
                if wait_s is not None:
                    yield round(wait_s * 1000)
            if not self.world.chaos:
                break
            yield self._calm
        self._journal.write(Buried(message, self.definition.to, None, why))

    def _calm(self, resume: Resume) -> None:
        def go_on() -> None:
            self.world.after(0, resume)

        self.world.at_calm(go_on)

    def _deliver(self, message: Message, times: int) -> Script[str]:
        """Deliver once, at a site where faults may strike; return why it was not received."""
        world, request = self.world, self._request(message)
        web = web_of(world, request.host)
        if web is None:
            world.refuse(self._nowhere(request))
            return "nobody"
        reached = web.reach(request)
        operation = f"{self.name}.{TOPIC}/deliver to {reached.action}"
        scope = Scope(
            *(world, self._sender, self.name, message.entity, message.published, PLAIN),
            *(message.hops, message.name),
        )
        attempt = world.reach(operation, message.entity, message.name)
        if operation not in world.surfaces:
            world.meet(operation, DELIVER)
        delay_ms, lost = 0, False
        for fault in strikes(scope, operation, "before", attempt):
            match fault:
                case Delay():
                    delay_ms = max(delay_ms, world.due(fault.lasting) - world.now)
                case LostRequest():
                    lost = True
                case Duplicate():
                    drive_in_kernel(self._again(message), world)
        yield from self._until(world.now + delay_ms)
        holder = _Holder(web.receiver(reached, message.entity), operation)
        place = self.definition.to
        fact = HandedOut(message, place, holder, times, False, None)
        scope.cause = self._journal.write(fact, None, operation, attempt)
        patience = Patience(self.definition.timeout_s, self.definition.timeout_s)
        line = Line(scope, web, reached, patience)
        journey = Journey(scope, operation, attempt, line, request)
        journey.lost = lost
        answer = yield journey.send(0)
        why = _why(answer)
        if why:
            self._journal.write(CameBack(message, place, holder, why))
        else:
            self._journal.write(Settled(message, place, holder))
        return why

    def _until(self, due_ms: int) -> Script[None]:
        """Wait for a moment, or for the calm, whichever comes first."""
        world = self.world
        if world.chaos and due_ms > world.now:
            yield lambda resume: world.until(due_ms, resume)

    def _again(self, message: Message) -> Script[None]:
        """Deliver a second copy, at the same time as the first."""
        yield 0
        yield from self._deliver(message, 1)

    def _request(self, message: Message) -> Request:
        body = message.body or b""
        given = self.definition.headers
        own = given(body) if callable(given) else given
        headers = {"content-type": "application/json"}
        headers |= {name.lower(): value for name, value in own.items()}
        return Request("POST", self.definition.to, headers, body)

    def _nowhere(self, request: Request) -> InvalidDefinition:
        return InvalidDefinition(
            f"Webhooks({self.name!r}) sends to {self.definition.to}, and nobody answers for "
            f"{request.host!r} in this system: add Web({request.host!r}), and a service that "
            f"answers with env.app{asked_at()}"
        )


@attrs.frozen
class _Holder:
    """Who is told."""

    label: str
    operation: str


def _why(answer: Any) -> str:
    """Return why an event was not received; nothing if it was."""
    if answer is NO_ANSWER:
        return "no answer in time"
    value, error = answer
    if error is None:
        return "" if value.status < FAILED and value.status // 100 == 2 else str(value.status)
    if isinstance(error, NoAnswer):
        return str(error.ended)
    return f"{error.answer.status} {error}".strip()
