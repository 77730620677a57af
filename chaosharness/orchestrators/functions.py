"""Functions of Lambda that an engine runs: by whom, and when a sandbox that died comes back.

An execution environment runs one call at a time: what a module holds is never seen by two calls
at once. Where a function is asked for while its environment is at work, there is one more.

*Source*: AWS Lambda Developer Guide, "Understanding Lambda function scaling": for each concurrent
request a separate instance of the execution environment.
*Not modelled*: environments that AWS takes down when it likes (a `Crash` is the same to the code);
a limit of concurrency (`Lambda.TooManyRequestsException`); the time that one more needs to begin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
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


Begin = Callable[[Function], None]
Spare = Callable[[Incarnation, int, Callable[[BaseException | None, Incarnation], None]], None]
"""Builds a service anew beside an incarnation of it, in an environment that lives by itself."""


class Environments:
    """The environments in which an engine's functions run: for each replica, and beside it."""

    def __init__(self) -> None:
        self._spares: dict[Incarnation, Spare] = {}
        self._busy: set[Incarnation] = set()
        self._idle: dict[Incarnation, list[Incarnation]] = {}
        self._replica: dict[Incarnation, Incarnation] = {}  # beside which a spare one was begun
        self._shared: set[Incarnation] = set()  # replicas that do other things besides
        self._made: dict[tuple[Incarnation, str], Function] = {}

    def add(self, name: str, function: Function, spare: Spare | None) -> bool:
        """Take note of a function; say whether it is a replica's, and not of a spare environment.

        Args:
            name: What it is asked for by.
            function: The function.
            spare: Begins another environment of its service; None in one that is such.
        """
        if spare is None:
            self._made[function.incarnation, name] = function
            return False
        self._spares[function.incarnation] = spare
        return True

    def run(
        self, name: str, function: Function, cause: int, begin: Begin, lost: Callable[[], None]
    ) -> None:
        """Have a call begin where no other is at work.

        Args:
            name: The function's name.
            function: That of the replica which is asked first.
            cause: The event that asks for it.
            begin: Begins the call, with the function of the environment that runs it.
            lost: Told that there was to be another environment, and it never came to run anything.
        """
        replica = function.incarnation
        if replica not in self._busy or replica in self._shared:
            self._busy.add(replica)
            begin(function)
            return
        idle = self._idle.setdefault(replica, [])
        while idle:
            one = idle.pop(0)
            if one.alive:
                self._busy.add(one)
                begin(self._made[one, name])
                return

        def begun(error: BaseException | None, one: Incarnation) -> None:
            made = self._made.get((one, name))
            if isinstance(error, InvalidDefinition) and replica.alive:
                self._shared.add(replica)  # it consumes or serves besides: there is but one of it
                begin(function)
                return
            if error is not None or made is None:
                lost()
                return
            self._replica[one] = replica
            self._busy.add(one)
            begin(made)

        self._spares[replica](replica, cause, begun)

    def free(self, incarnation: Incarnation) -> None:
        """A call has ended: its environment may have the next."""
        self._busy.discard(incarnation)
        replica = self._replica.get(incarnation)
        if replica is not None and replica.alive and incarnation.alive:
            self._idle.setdefault(replica, []).append(incarnation)

    def close(self) -> None:
        """Let go of everything, at the end of a run."""
        for held in (self._spares, self._idle, self._replica, self._made):
            held.clear()
        self._busy.clear()
        self._shared.clear()
