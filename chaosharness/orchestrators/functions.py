"""Functions of Lambda that an engine runs: by whom, and when a sandbox that died comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from chaosharness.kernel.mortal import Once
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.world import World

COLD_START_MS: Final = 200
"""How long Lambda takes for another sandbox."""


@attrs.frozen
class Function:
    """A function of one incarnation: `handler(event, context)`."""

    incarnation: Incarnation
    place: str
    handler: Callable[..., Any]
    colour: Any


def replicate(world: World, replicas: list[Function], function: Function) -> None:
    """Have one more replica, until its process dies: Lambda starts another one soon then."""
    replicas.append(function)
    function.incarnation.on_death.append(lambda: _gone(world, replicas, function))


def _gone(world: World, replicas: list[Function], function: Function) -> None:
    if function in replicas:  # a run that is over has let go of all
        replicas.remove(function)
    incarnation = function.incarnation
    restart = incarnation.restart
    if restart is not None and not isinstance(restart, Once):
        incarnation.restart = once = Once(restart)
        world.after(COLD_START_MS, once)
