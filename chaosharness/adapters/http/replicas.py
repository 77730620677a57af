"""The replicas of a service that answers for a host name, and what stands in front of them.

A request goes to a living replica, always to the same for the same workload item. Where all are
starting up it waits; where there is none, its connection is refused. A replica that dies with a
request in hand closes the connection, and its client sees that at once.

Source:
    TCP (RFC 9293): a process that ends has its connections closed by its kernel, and nobody listens
    on its port any more. That nothing is sent to a replica before it is ready is what a load
    balancer's health check, or a readiness probe, sees to.

Not modelled:
    A whole machine that dies: its clients would hear nothing (`LostReply` does that).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness.adapters.http.errors import NoAnswer
from chaosharness.adapters.http.message import Answer, Request
from chaosharness.brokers.message import Message, Reader
from chaosharness.calls import Endpoint, pick_up
from chaosharness.handlers.stopping import Unknown
from chaosharness.kernel.scope import Incarnation, Scope

FAILED: Final = Answer(500, "Internal Server Error")
"""What a server says for an application that raised."""

Reply = Callable[..., None]


class Replica:
    """One incarnation that answers."""

    def __init__(self, incarnation: Incarnation, service: str, runner: Any, colour: Any) -> None:
        self.incarnation = incarnation
        self.service = service
        self.runner = runner
        self.colour = colour
        self.is_ready = not runner.is_async
        self._waiting: list[Callable[[], None]] = []
        self._in_hand: dict[int, Reply] = {}

    def ready(self) -> None:
        """Take requests from now on, first those that wait."""
        if self.is_ready:
            return
        self.is_ready = True
        waiting, self._waiting = self._waiting, []
        for take in waiting:
            take()

    def die(self) -> None:
        """Close the connections of whoever waits for an answer."""
        in_hand, self._in_hand = self._in_hand, {}
        for reply in in_hand.values():
            reply(None, NoAnswer("disconnected", f"{self.service} died"))

    def handle(self, caller: Scope, place: str, request: Request, reply: Reply) -> None:
        """Answer a request, now or once it is ready."""
        number = len(self._in_hand) and max(self._in_hand) + 1
        self._in_hand[number] = reply

        def answered(answer: Answer) -> None:
            once = self._in_hand.pop(number, None)
            if once is not None:
                once(answer, None)

        if self.is_ready:
            self._take(caller, place, request, answered)
        else:
            self._waiting.append(lambda: self._take(caller, place, request, answered))

    def _take(
        self, caller: Scope, place: str, request: Request, answered: Callable[[Answer], None]
    ) -> None:
        reader = Reader(lambda _: (request, answered))
        endpoint = Endpoint(self.incarnation, place, self.runner.answer, reader, self.colour)
        scope = Scope(
            caller.world,
            self.incarnation,
            place,
            caller.entity,
            caller.cause,
            self.colour,
            caller.hops + 1,
            caller.message,
        )
        message = Message(place, None, {}, request.body, scope.entity, 0)
        pick_up(endpoint, scope, message, _outcome, lambda answer, _: answered(answer))


def _outcome(scope: Scope, operation: str, result: Any, error: Any) -> tuple[Answer, None]:
    """Return what a server says for an application that did not answer."""
    return FAILED, None


class Front:
    """What stands in front of the replicas of one service."""

    def __init__(self) -> None:
        self.replicas: list[Replica] = []
        self.service = ""
        self.application: Any = None

    def add(self, replica: Replica, application: Any) -> None:
        """Have a replica answer, as long as it lives."""
        self.service = replica.service
        self.application = application
        self.replicas.append(replica)

        def gone() -> None:
            self.replicas.remove(replica)
            replica.die()

        replica.incarnation.on_death.append(gone)
        replica.incarnation.takers.append(Unknown("a web server"))

    def choose(self, entity: int) -> Replica | None:
        """Return the replica that a request for a workload item goes to now, if there is one."""
        able = [one for one in self.replicas if one.is_ready] or self.replicas
        return able[entity % len(able)] if able else None

    def handle(self, caller: Scope, place: str, request: Request, reply: Reply) -> None:
        """Hand a request to a replica."""
        replica = self.choose(caller.entity)
        if replica is None:
            words = f"nobody listens for {self.service}"
            reply(None, NoAnswer("refused", words), happened=False)
        else:
            replica.handle(caller, place, request, reply)
