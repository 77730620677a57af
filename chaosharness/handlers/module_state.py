"""State of modules: each process of a run has its own, as in production, and a crash loses it.

A set, a cache, a counter or a lock in a module belongs to the process that imported it. Here all
replicas of all services run in one process, so what they hold is exchanged whenever the code of
another one goes on: the objects stay, their contents move. Each incarnation begins with what the
modules held when the run began.

Most systems keep nothing there, and few of those that do have more than a thing or two that
change. So only things that were seen to change are exchanged. In the first runs all are looked
at each time another process goes on; after that once, at the end of a run, and a run that changed
something new is made again with that thing exchanged.

Not modelled:
    What is not found by name: what the function that builds the service closes over, objects of
    installed packages (a client, an engine, a cache of theirs), generators, files, the environment.
    Two runs of one schedule differ by those, which is found and said. Modules that are imported for
    the first time by a handler. What changes and changes back while other processes look at it,
    only under a fault, and after the first runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

from chaosharness.handlers.held import Held, Stand
from chaosharness.handlers.own_code import Survey
from chaosharness.kernel.world import World

LEARNING: Final = 6
"""Runs in which every change of the process is looked at."""

AGAIN_MAX: Final = 20
"""How often one run is made again, each time with more things exchanged."""

NOBODY: Final = "nobody"


class ModuleState:
    """The state of one system's modules, over all its runs.

    Args:
        functions: What the system was given: they lead to the modules.
        shared: Names (`shop.settings`, `shop.settings.TABLE`) of what all processes and all runs
            share, since it never changes or is too dear to make anew.
    """

    def __init__(
        self, functions: Callable[[], Iterable[Callable[..., Any]]], shared: Sequence[str] = ()
    ) -> None:
        self._functions = functions
        self.shared = tuple(shared)
        self.things: list[Held] = []
        self.live: dict[int, Held] = {}
        self._bound: list[tuple[dict[str, Any], str, Any]] = []
        self._imported = -1
        self._before: list[Any] = []
        self._first: dict[int, Any] = {}
        self._left: dict[int, Any] = {}
        self._contents: dict[Hashable, dict[int, Any]] = {}
        self._process: Hashable = NOBODY
        self._learning = LEARNING

    @property
    def names(self) -> tuple[str, ...]:
        """What has been seen to change, by name."""
        return tuple(one.name for one in self.live.values())

    # ---- a run

    def begin(self, world: World) -> None:
        """Put the modules in the state in which a run finds them, and follow its processes."""
        for number, thing in self.live.items():
            # Whatever the last run left is undone, but not what was written since by others.
            if number in self._left and thing.is_as(self._left[number]):
                thing.put(self._first[number])
        self._left.clear()
        self._refresh()
        if not self.things:
            return
        self._before = [one.take() for one in self.things]
        self._first = {number: self._before[number] for number in self.live}
        self._contents.clear()
        self._process = NOBODY
        if self.live or self._learning:
            world.on_turn = self._turn

    def settle(self) -> bool:
        """Say whether a run that is over has to be made again: something new changed in it."""
        if not self.things:
            return False
        if self._learning:
            self._learning -= 1
            self._notice()
            return False
        changed = self._changed()
        if not changed:
            return False
        self._learning = 1
        for number in changed:
            self.live[number] = self.things[number]
        return True

    def leave(self, *, undo: bool = False) -> None:
        """Note in which state a run leaves the modules; or undo what it changed."""
        if undo:
            for number, thing in self.live.items():
                thing.put(self._before[number])
            self._left.clear()
        else:
            self._left = {number: thing.take() for number, thing in self.live.items()}
        self._contents.clear()
        self._process = NOBODY

    # ---- while it lasts

    def _turn(self, process: Hashable) -> None:
        """Exchange the state: code of this process goes on now."""
        if process is self._process:
            return
        if self._learning:
            self._notice()
        live = self.live
        self._contents[self._process] = {number: one.take() for number, one in live.items()}
        self._process = process
        own = self._contents.get(process, self._first)
        for number, thing in live.items():
            thing.put(own[number] if number in own else self._first[number])

    def _notice(self) -> None:
        """Exchange from now on what the present process has changed."""
        for number in self._changed():
            self.live[number] = self.things[number]
            self._first[number] = self._before[number]

    def _changed(self) -> list[int]:
        live = self.live
        return [
            number
            for number, (thing, before) in enumerate(zip(self.things, self._before, strict=True))
            if number not in live and not thing.is_as(before)
        ]

    # ---- what there is

    def _refresh(self) -> None:
        """Look for things anew if modules were imported, or names of them bound anew."""
        if self._imported == len(sys.modules) and all(
            names.get(name) is thing for names, name, thing in self._bound
        ):
            return
        self._imported = len(sys.modules)
        survey = Survey(self.shared)
        survey.look(self._functions())
        self._bound = survey.bound
        live = {_key(one): one for one in self.live.values()}
        self.things = [live.get(_key(one), one) for one in survey.found.values()]
        self.live = {
            number: one for number, one in enumerate(self.things) if live.get(_key(one)) is one
        }


def _key(one: Held) -> tuple[str, int]:
    """Return what tells a thing from others; of what is replaced, its name alone."""
    return one.name, 0 if isinstance(one, Stand) else id(one.thing)
