"""What a port gives to `async` code: something that happens when it is awaited, once.

It is a coroutine in all but its type: it can be awaited, handed to `create_task`, `gather`
or `nursery.start_soon`. A coroutine that is forgotten leaves a warning somewhere; this one
ends the run, because a missing `await` is a message that was never sent.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Generator, Iterable
from typing import Any

from chaosharness.errors import Abandoned
from chaosharness.handlers import unawaited
from chaosharness.handlers.amid import amid_calls
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

Steps = Generator[Any, Any, Any]
"""What an event loop steps: yields whatever that loop waits for."""


class Later:
    """The result of a port, for code that awaits it."""

    __slots__ = ("_at", "_events", "_steps", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._at = ""
        self._events = len(scope.world.raw)
        scope.incarnation.unawaited += 1
        self._steps: Steps | None = None
        if unawaited.keeps_origins:
            self._at = unawaited.here(sys._getframe(1))

    def __await__(self) -> Steps:
        if self._steps is not None:
            raise RuntimeError(f"{self.operation} was awaited already; call it again instead")
        self.scope.incarnation.unawaited -= 1
        self._steps = steps = self._run()
        return steps

    def _run(self) -> Steps:
        raise NotImplementedError

    @property
    def operation(self) -> str:
        """What was asked for, as sites name it."""
        raise NotImplementedError

    # ---- as a coroutine

    def send(self, value: Any) -> Any:
        """Go on, as coroutines do."""
        steps = self._steps or self.__await__()
        return steps.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an exception, as coroutines do."""
        steps = self._steps or self.__await__()
        return steps.throw(*error)

    def close(self) -> None:
        """Give it up, as coroutines do. Nothing happens that has not happened yet."""
        steps = self._steps or self.__await__()
        steps.close()

    # ---- forgotten

    def refuse(self) -> None:
        """Call the run off, where this is what code gave back for a value: nothing of it happened,
        and the error of whoever cannot use it would excuse that."""
        if self._steps is None:
            unawaited.refuse_port(self.scope, self.operation, self._at)

    def __getattr__(self, name: str) -> Any:
        # Event loops look for attributes that we do not have; users for those of a result.
        if not name.startswith(("_", "cr_", "gi_", "ag_")):
            unawaited.port_used(self.scope, self.operation, sys._getframe(1))
        raise AttributeError(f"{name!r}: {self.operation} has no result yet; await it first")

    def __getitem__(self, key: object) -> Any:
        unawaited.port_used(self.scope, self.operation, sys._getframe(1))
        raise TypeError(f"[{key!r}]: {self.operation} has no result yet; await it first")

    def __del__(self) -> None:
        if self._steps is None:
            self.scope.incarnation.unawaited -= 1
            unawaited.port_dropped(self.scope, self.operation, self._at, self._events)


def refuse_kept(world: World, incarnations: Iterable[Any]) -> None:
    """Call a run off that became quiet with calls of ports kept, and never awaited.

    Args:
        world: The run, at its end.
        incarnations: Whose calls are judged: those that live.
    """
    if world.ending is None or world.ending.verdict != "quiet":
        return
    if not any(one.alive and one.unawaited > 0 for one in incarnations):
        return
    kept = [
        one
        for one in gc.get_objects()
        if issubclass(type(one), Later) and one._steps is None and one.scope.world is world
    ]
    for one in sorted(kept, key=lambda one: (one._events, one.operation)):
        if one.scope.incarnation.alive:
            unawaited.port_kept(one.scope, one.operation, one._at, one._events)


class LaterEffect(Later):
    """An effect that takes no time, at a site where nothing is armed."""

    __slots__ = ("_argument", "_attempt", "_effect", "_entity", "_operation")

    def __init__(
        self,
        scope: Scope,
        entity: int,
        effect: Callable[[Scope, str, int, Any], Any],
        operation: str,
        attempt: int,
        argument: Any,
    ) -> None:
        self.scope = scope
        self._at = ""
        self._events = len(scope.world.raw)
        scope.incarnation.unawaited += 1
        self._steps = None
        if unawaited.keeps_origins:
            self._at = unawaited.here(sys._getframe(1))
        self._entity = entity
        self._effect = effect
        self._operation = operation
        self._attempt = attempt
        self._argument = argument

    @property
    def operation(self) -> str:
        """What was asked for, as sites name it."""
        return self._operation

    def _run(self) -> Steps:
        scope = self.scope
        if not scope.incarnation.alive or scope.world.ending is not None:
            raise Abandoned(scope.incarnation.label)
        checkpoint = scope.colour.checkpoint
        if checkpoint is not None:
            yield from checkpoint()
        amid_calls(scope, self._operation)
        own, scope.entity = scope.entity, self._entity
        try:
            return self._effect(scope, self._operation, self._attempt, self._argument)
        finally:
            scope.entity = own


class LaterScript(Later):
    """A script that has to wait, or may have to."""

    __slots__ = ("_script",)

    def __init__(self, script: Script[Any], scope: Scope) -> None:
        self.scope = scope
        self._at = ""
        self._events = len(scope.world.raw)
        scope.incarnation.unawaited += 1
        self._steps = None
        if unawaited.keeps_origins:
            self._at = unawaited.here(sys._getframe(1))
        self._script = script

    @property
    def operation(self) -> str:
        """What was asked for, as sites name it."""
        script: Any = self._script
        while (frame := getattr(script, "gi_frame", None)) is not None:
            found = frame.f_locals.get("operation")
            if found:
                return str(found)
            script = frame.f_locals.get("script")  # one that runs it on behalf of an item
        return f"a port of {self.scope.place}"

    def _run(self) -> Steps:
        scope = self.scope
        if not scope.incarnation.alive or scope.world.ending is not None:
            raise Abandoned(scope.incarnation.label)
        checkpoint = scope.colour.checkpoint
        if checkpoint is not None:
            yield from checkpoint()
        try:
            return (yield from scope.colour.steps(self._script, scope))
        finally:
            self._script.close()  # a task that is cancelled gives up what it waits for
