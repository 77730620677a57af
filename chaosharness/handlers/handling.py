"""Code that the kernel runs on somebody's behalf, and the sites around it: reached, struck, ended.

For calls, functions and workers; a broker's intake does the same by hand, on its hot path.
"""

from __future__ import annotations

from chaosharness.handlers.places import told
from chaosharness.handlers.port import NOBODY, Surface, strikes, trouble
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.site import Phase
from chaosharness.kernel.world import RESTART_MS


def reach(scope: Scope, operation: str, surface: Surface) -> int:
    """Count that a scope reaches an operation; return which attempt this is."""
    world = scope.world
    attempt = world.reach(operation, scope.entity, scope.message)
    if operation not in world.surfaces:
        world.meet(operation, surface)
    return attempt


def suffer(scope: Scope, operation: str, phase: Phase, attempt: int) -> Script[None]:
    """Suffer what strikes at a site where all faults are of the process itself."""
    if operation in scope.world.armed:
        for fault in strikes(scope, operation, phase, attempt):
            yield from trouble(scope, fault, NOBODY)


def ended(scope: Scope, operation: str, attempt: int, error: BaseException | None) -> bool:
    """Record how a handler has ended; say whether anybody gets an answer of it.

    Nobody does where the error is a mistake of the user's, which calls the run off, and where
    the code has ended its process, which is started again.
    """
    world = scope.world
    world.in_flight.pop(scope, None)
    if error is None:
        scope.record("handled", operation, attempt, None)
        return True
    scope.record("raised", operation, attempt, told(error))
    if world.is_mistake(error):
        world.refuse(error)
        return False
    if isinstance(error, SystemExit):
        world.crash(scope.incarnation, RESTART_MS, cause=scope.cause)
        return False
    return True
