"""The replicas of a service that answers for a host name, and what stands in front of them.

A request goes to a living replica, always to the same for the same workload item. Where all are
starting up it waits; where there is none, its connection is refused. A replica that dies with a
request in hand closes the connection, and its client sees that at once.

One that is told to stop takes no request any more (its clients go to another, or are refused),
comes to the end of those in hand, background tasks included, has its application shut down, and
ends.

Source:
    TCP (RFC 9293): a process that ends has its connections closed by its kernel, and nobody listens
    on its port any more. That nothing is sent to a replica before it is ready is what a load
    balancer's health check, or a readiness probe, sees to. SIGTERM: uvicorn 0.54, `server.py`,
    `shutdown` and `capture_signals`; gunicorn 27, `workers/gthread.py`, `run`, and
    `workers/base.py`, `init_signals` (who installs a handler of the signal last, has it).

Not modelled:
    A whole machine that dies: its clients would hear nothing (`LostReply` does that). At the end:
    `timeout_graceful_shutdown` (uvicorn) and `graceful_timeout` (gunicorn) beside the grace of
    the fault; the tenths of a second after which servers look; connections that are kept alive;
    gunicorn's hooks; a load balancer that learns of the end too late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness.adapters.http.errors import Ended, NoAnswer
from chaosharness.adapters.http.message import Answer, Request
from chaosharness.brokers.message import Message, Reader
from chaosharness.calls import Endpoint, pick_up
from chaosharness.handlers.amid import note_answer
from chaosharness.handlers.stopping import SIGNAL
from chaosharness.kernel.scope import Incarnation, Scope

FAILED: Final = Answer(500, "Internal Server Error")
"""What a server says for an application that raised."""

Reply = Callable[..., None]


class Replica:
    """One incarnation that answers, until it dies or is told to stop."""

    def __init__(self, incarnation: Incarnation, service: str, runner: Any, colour: Any) -> None:
        self.incarnation = incarnation
        self.service = service
        self.runner = runner
        self.colour = colour
        self.is_ready = not runner.is_async
        self.is_closed = False
        self._over = False
        self._running = 0
        self._waiting: list[Callable[[], None]] = []
        self._in_hand: dict[int, Reply] = {}
        self._signal = (incarnation.signals or {}).get(SIGNAL)

    def ready(self) -> None:
        """Take requests from now on, first those that wait."""
        if self.is_ready:
            return
        self.is_ready = True
        waiting, self._waiting = self._waiting, []
        for take in waiting:
            take()
        if self.is_closed:
            self._close()

    def cease(self) -> None:
        """Take no request any more: the process is told to stop.

        Where the application has a handler of the signal of its own, it has taken the place of the
        server's, which goes on.
        """
        if (self.incarnation.signals or {}).get(SIGNAL) is not self._signal:
            return
        self.is_closed = True
        if self._waiting:
            self._waiting.clear()
            self._part("refused", f"{self.service} stops, and has not begun to listen")
        self._close()

    def is_busy(self) -> bool:
        """Say whether the server has not come to its end."""
        return not self._over

    def _close(self) -> None:
        """Have the application shut down, once nothing is in hand."""
        if self._running or not self.is_ready or self._over:
            return
        if self.runner.is_async:
            self.runner.close(self._closed)
        else:
            self._over = True

    def _closed(self) -> None:
        self._over = True
        self.incarnation.stopping.look()

    def die(self) -> None:
        """Close the connections of whoever waits for an answer."""
        self._part("disconnected", f"{self.service} died")

    def _part(self, how: Ended, words: str) -> None:
        in_hand, self._in_hand = self._in_hand, {}
        for reply in in_hand.values():
            reply(None, NoAnswer(how, words), happened=how != "refused")

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
        reader = Reader(lambda _: (request, told))
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
        asked = scope.cause

        def told(answer: Answer) -> None:
            note_answer(scope, asked)
            answered(answer)

        def done(answer: Answer, _: Any) -> None:
            self._running -= 1
            answered(answer)
            if self.is_closed:
                self._close()

        self._running += 1
        pick_up(endpoint, scope, message, _outcome, done)


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
        replica.incarnation.takers.append(replica)

    def choose(self, entity: int) -> Replica | None:
        """Return the replica that a request for a workload item goes to now, if there is one."""
        listening = [one for one in self.replicas if not one.is_closed]
        able = [one for one in listening if one.is_ready] or listening
        return able[entity % len(able)] if able else None

    def handle(self, caller: Scope, place: str, request: Request, reply: Reply) -> None:
        """Hand a request to a replica."""
        replica = self.choose(caller.entity)
        if replica is None:
            words = f"nobody listens for {self.service}"
            reply(None, NoAnswer("refused", words), happened=False)
        else:
            replica.handle(caller, place, request, reply)
