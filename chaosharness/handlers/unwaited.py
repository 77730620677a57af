"""What a client does in a thread of its own, while the code that asked for it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import SCOPE, Scope

Done = Callable[[Any, BaseException | None], None]


class Unwaited:
    """The colour of work that nobody waits for: its outcome is handed to `done`."""

    name = "client"
    is_async = False
    checkpoint = None

    def __init__(self, done: Done) -> None:
        self._done = done
        self.driven = False

    def drive(self, script: Script[Any], scope: Scope) -> None:
        """Let it go its way."""
        self.driven = True
        drive_in_kernel(self._heard(script), scope.world)

    block = drive

    def _heard(self, script: Script[Any]) -> Script[None]:
        try:
            found = yield from script
        except Exception as error:
            self._done(None, error)
        else:
            self._done(found, None)


def standing(scope: Scope, colour: Any) -> Scope:
    """Return a scope that stays where another one is now: that goes on to other items."""
    return Scope(
        scope.world,
        scope.incarnation,
        scope.place,
        scope.entity,
        scope.cause,
        colour,
        scope.hops,
        scope.message,
    )


def unwaited(
    scope: Scope,
    port: Callable[[], Any],
    done: Done,
    *,
    after_ms: int = 0,
    waits: Callable[[Callable[[Any], None]], bool] | None = None,
) -> Scope:
    """Pass a port on behalf of a scope, later and apart from its code.

    Args:
        scope: Who asked for it; the work has its place, its item and its cause.
        port: Passes it.
        done: Called with the result, or with the error.
        after_ms: When it begins.
        waits: Asked then whether it must wait for another; given what begins it, once it need not.

    Returns:
        The scope in which it is done.
    """
    colour = Unwaited(done)
    own = standing(scope, colour)

    def begin(_: Any) -> None:
        if not own.incarnation.alive:
            return
        if waits is not None and waits(begin):
            return
        token = SCOPE.set(own)
        try:
            found = port()
        except Exception as error:
            done(None, error)
            return
        finally:
            SCOPE.reset(token)
        if not colour.driven:
            done(found, None)

    scope.world.after(after_ms, begin)
    return own
