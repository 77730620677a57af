"""Intake: a consumer's side of a delivery, the same for every broker.

The broker hands a message over; the intake runs the handler in its colour and says how
it ended: `settle(message, scope, error)`. What that means (commit, acknowledge, give
back, dead-letter) is the broker's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from chaosharness.brokers.message import Message
from chaosharness.handlers.blame import has_handled, refuse_hopeless
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE, HANDLE_IN_EITHER, NOBODY, strikes, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import RESTART_MS

Settle = Callable[[Message, Scope, BaseException | None], None]


def check_options(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse an option that does not exist, and name those that do.

    Raises:
        ValueError: One is unknown. Its place is said by who asks.
    """
    for name in options:
        if name not in known:
            raise ValueError(f"there is no option {name!r}; there are: {', '.join(known)}")


TRIES_MIN: Final = 20
TRIED_MS_MIN: Final = 60_000
TRIES_MAX: Final = 100
"""A handler that never comes to its end is hopeless after so many tries for one message: after
the first number of them if it took that long, else after the second."""


class Intake(msgspec.Struct, eq=False):
    """One handler of one incarnation, ready for messages: `operation` is to handle one."""

    incarnation: Incarnation
    place: str
    handler: Callable[..., Any]
    read: Callable[..., Any]
    colour: Any
    operation: str

    def take(self, message: Message, cause: int, settle: Settle) -> None:
        """Run the handler for a message that was delivered by event `cause`."""
        incarnation = self.incarnation
        world = incarnation.world
        scope = Scope(
            world,
            incarnation,
            self.place,
            message.entity,
            cause,
            self.colour,
            message.hops,
            message.name,
        )
        world.in_flight[scope] = self.place
        operation = self.operation
        key = (operation, message.entity, message.name)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, HANDLE if incarnation.redeploy is None else HANDLE_IN_EITHER)
        if operation in world.armed:
            script = self._careful(scope, message, attempt, settle)
            drive_in_kernel(script, world)
        else:
            scope.run = (message, attempt, settle)
            self.colour.start(scope, self.handler, self.read, message, self._done)

    def _begin(self, scope: Scope, message: Message, attempt: int, settle: Settle) -> None:
        scope.run = (message, attempt, settle)
        self.colour.start(scope, self.handler, self.read, message, self._done)

    def _done(self, scope: Scope, _: Any, error: BaseException | None) -> None:
        message, attempt, settle = scope.run
        scope.world.in_flight.pop(scope, None)
        if error is None:
            scope.record("handled", self.operation, attempt, None)
        else:
            scope.record("raised", self.operation, attempt, told(error))
            if scope.world.is_mistake(error):
                scope.world.refuse(error)
                return
            if isinstance(error, SystemExit):  # the process is gone, and settles nothing
                scope.world.crash(scope.incarnation, RESTART_MS, cause=scope.cause)
                return
        if self.operation in scope.world.armed:
            drive_in_kernel(self._settle_carefully(scope, error), scope.world)
        else:
            settle(message, scope, error)

    def refuse_hopeless(self, scope: Scope, error: BaseException, tries: int) -> None:
        """Call the run off where a handler has failed at every delivery so far.

        For brokers that would give it the same message again, for ever: no dead letters, no
        limit, no policy says where it goes. A handler that reads a clock may wait for a time.
        """
        world = scope.world
        if tries < TRIES_MIN or scope.clock or world.struck():
            return
        if tries >= world.budget.deliveries_max:
            return  # the budget of the run is spent first, and says so
        raw, operation = world.raw, self.operation
        first = next(event for event in raw if event[1] == "raised" and event[3] == operation)
        if tries < TRIES_MAX and world.now - first[0] < TRIED_MS_MIN:
            return
        if not has_handled(raw, operation):
            cure = (
                "Nothing is declared for a message that it cannot handle, so it would get this one "
                "for ever: mend it, or say where such a message goes."
            )
            refuse_hopeless(world, f"{operation} raised {tries} times", error, cure)

    def _settle_carefully(self, scope: Scope, error: BaseException | None) -> Script[None]:
        message, attempt, settle = scope.run
        for fault in strikes(scope, self.operation, "after", attempt):
            yield from trouble(scope, fault, NOBODY)
        settle(message, scope, error)

    def _careful(
        self, scope: Scope, message: Message, attempt: int, settle: Settle
    ) -> Script[None]:
        for fault in strikes(scope, self.operation, "before", attempt):
            yield from trouble(scope, fault, NOBODY)
        self._begin(scope, message, attempt, settle)
