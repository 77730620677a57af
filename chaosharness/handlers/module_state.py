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
    What is not found by name: what the function that builds the service closes over, what objects
    of installed packages hold (a client, an engine, a cache of theirs) but those of `CONNECTED`,
    generators, files.
    Two runs of one schedule differ by those, which is found and said. What changes and changes
    back while other processes look at it, only under a fault, and after the first runs. Where a
    handler is the first to import a module, that is imported for all processes at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from operator import is_
from types import FunctionType, ModuleType
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers import late
from chaosharness.handlers.held import Held, Stand
from chaosharness.handlers.namespaces import Names
from chaosharness.handlers.overview import Look
from chaosharness.handlers.own_code import OWN, Survey
from chaosharness.kernel.allowed import refused
from chaosharness.kernel.world import World

LEARNING: Final = 6
"""Runs in which every change of the process is looked at."""

AGAIN_MAX: Final = 20
"""How often one run is made again, each time with more things exchanged."""

NOBODY: Final = "nobody"

Key = tuple[str, Hashable]
_KNOWN: Final[dict[Key, Held]] = {}
"""Things of all systems: two may have modules in common."""

_LEFT: Final[dict[Key, tuple[Held, Any, Any]]] = {}
"""Of each that is exchanged, how the last run left it, and what it held when that began."""


class ModuleState:
    """The state of one system's modules, over all its runs.

    Args:
        functions: What the system was given: they lead to the modules.
        shared: Names (`shop.settings`, `shop.settings.TABLE`) of what all processes and all runs
            share, since it never changes or is too dear to make anew.
        own: Installed packages whose modules are taken for the user's.
    """

    def __init__(
        self,
        functions: Callable[[], Iterable[Callable[..., Any]]],
        shared: Sequence[str] = (),
        own: Sequence[str] = (),
    ) -> None:
        self._functions = functions
        self.shared = tuple(shared)
        self._own = OWN.union(own)
        self.things: list[Held] = []
        self._look = Look(())
        self.live: dict[int, Held] = {}
        self._bound: tuple[list[dict[str, Any]], list[str], list[Any]] = [], [], []
        self._imported = -1
        self._modules: list[dict[str, Any]] = []
        self._packages: set[str] | None = None
        self._first: list[Any] = []  # of each thing, what it held when the run began
        self._seen: dict[int, Any] = {}  # what it would hold if all processes shared it
        self._loaded: dict[int, Any] = {}  # what it held when the present process went on
        self._contents: dict[Hashable, dict[int, Any]] = {}
        self._process: Hashable = NOBODY
        self._learning = LEARNING
        self._late: list[ModuleType] = []
        self._began: dict[Key, tuple[Held, Any]] = {}  # what imports in this run have left

    @property
    def names(self) -> tuple[str, ...]:
        """What was exchanged in the last run, by name."""
        return tuple(
            name
            for number, one in self.live.items()
            if number in self._seen
            for name in one.own(self._first[number], self._seen[number])
        )

    def holds(self, packages: Collection[str]) -> set[str]:
        """Return those of some packages that the user's modules have something of."""
        if self._packages is None:
            values = (value for names in self._modules for value in list(names.values()))
            self._packages = {package_of(value) for value in values}
        return self._packages & set(packages)

    # ---- a run

    def begin(self, world: World) -> None:
        """Put the modules in the state in which a run finds them, and follow its processes."""
        seen: dict[int, Any] = {}
        self._undo(seen)
        if self._refresh():
            self._undo(seen)
        late.install()
        late.BEGINS.append((self._own, self._importing))
        if not self.things:
            return
        self._first = self._look.take()
        self._seen = {
            number: seen.get(id(one), _copy(self._first[number]))
            for number, one in self.live.items()
        }
        self._loaded = {number: self._first[number] for number in self.live}
        if self.live or self._learning:
            world.on_turn = self._turn

    def settle(self) -> bool:
        """Say whether a run that is over has to be made again: something new changed in it."""
        if self._began:
            return True
        if not self.things:
            return False
        if self._learning:
            self._learning -= 1
            self._notice()
            return False
        changed = self._changed()
        for number in changed:
            self.live[number] = self.things[number]
        if changed:
            self._learning = 1
        return bool(changed)

    def leave(self, *, undo: bool = False) -> None:
        """Have the modules hold what they would if all processes shared it, for tests to see.

        Args:
            undo: Have them hold what they did when the run began instead.
        """
        late.BEGINS.pop()
        if not undo:
            self._stop()
        for number, thing in self.live.items():
            first = self._first[number]
            if undo:
                thing.put(first)
            else:
                thing.put(self._seen[number])
                _LEFT[_key(thing)] = thing, thing.take(), first
        for thing, first in self._began.values():
            thing.put(first)
            _LEFT.pop(_key(thing), None)
        self._began.clear()
        self._contents.clear()
        self._process = NOBODY

    def _undo(self, seen: dict[int, Any]) -> None:
        """Undo what the last run left, of this system or of another one of these modules, but not
        what was written since by others. Note what was left, by the identity of what held it."""
        for thing in self.live.values():
            found = _LEFT.pop(_key(thing), None)
            if found is not None and thing.is_as(found[1]):
                thing.put(found[2])
                seen[id(thing)] = found[1]

    # ---- while it lasts

    def _turn(self, process: Hashable) -> None:
        """Exchange the state: code of this process goes on now."""
        if process is self._process:
            return
        if self._learning:
            self._notice()
        if not self.live:  # so it is where services keep nothing in their modules
            self._process = process
            return
        self._contents[self._process] = left = self._stop()
        self._process = process
        own = self._contents.get(process, {})
        first = self._first
        self._loaded = {number: own.get(number, first[number]) for number in self.live}
        for number, thing in self.live.items():
            if self._loaded[number] is not left[number]:
                thing.put(self._loaded[number])

    def _stop(self) -> dict[int, Any]:
        """Return what the present process holds, and note what it has done since it went on."""
        contents = {}
        for number, thing in self.live.items():
            contents[number] = was = self._loaded[number]
            if not thing.is_as(was):
                contents[number] = now = thing.take()
                if not thing.is_lost:
                    self._seen[number] = thing.seen(self._seen[number], was, now)
        return contents

    def _notice(self) -> None:
        """Exchange from now on what the present process has changed."""
        for number in self._changed():
            self.live[number] = self.things[number]
            self._loaded[number] = self._first[number]
            self._seen[number] = _copy(self._first[number])

    # ---- modules that are imported now

    @property
    def is_late(self) -> bool:
        """Whether a module of the user's was imported in this run, before which nothing is known
        of its state: the run has to be made again."""
        return bool(self._began)

    def _importing(self) -> Callable[[list[ModuleType]], None]:
        """Note what there is before an import, and return what is called when it is over."""
        before = [(thing, thing.take()) for thing in self.things]

        def over(imported: list[ModuleType]) -> None:
            known_by_name = {one.__name__ for one in self._late}
            new = [one for one in imported if one.__name__ not in known_by_name]
            if not new:
                return  # it is imported in each run anew: code that takes it out of `sys.modules`
            self._late += new
            for number, (thing, was) in enumerate(before):
                if not thing.is_as(was):  # a table in which the module enters something
                    first = self._began.get(_key(thing), (thing, self._first[number]))[1]
                    now = thing.take()
                    self._began[_key(thing)] = thing, thing.seen(_copy(first), was, now)
            survey = Survey(self.shared, self._own)
            survey.look(self._functions(), self._late)
            known = {_key(thing) for thing, _ in before}
            for one in survey.found.values():
                if _key(one) not in known:
                    self._began.setdefault(_key(one), (one, one.take()))

        return over

    def _changed(self) -> list[int]:
        live = self.live
        return [number for number in self._look.changed(self._first) if number not in live]

    # ---- what there is

    def _refresh(self) -> bool:
        """Look for things anew if modules were imported, or names of them bound anew."""
        homes, names, things = self._bound
        same = self._imported == len(sys.modules)
        if same and all(map(is_, map(dict.get, homes, names), things)):
            return False
        self._imported = len(sys.modules)
        survey = Survey(self.shared, self._own)
        survey.look(self._functions(), self._late)
        bound = survey.bound
        self._bound = [at[0] for at in bound], [at[1] for at in bound], [at[2] for at in bound]
        self._modules, self._packages = survey.modules, None
        for one in survey.found.values():
            known = _KNOWN.setdefault(_key(one), one)
            if isinstance(known, Names) and isinstance(one, Names):
                known.agree(one)
            if isinstance(known, Stand) and known.now is not one.thing:  # bound anew by others
                _KNOWN[_key(one)] = one
        self.things = [_KNOWN[_key(one)] for one in survey.found.values()]
        self._look = Look(self.things)
        live = {id(one) for one in self.live.values()}
        self.live = {
            number: one
            for number, one in enumerate(self.things)
            if id(one) in live or _key(one) in _LEFT
        }
        return True


def package_of(value: Any) -> str:
    """Return the package that a module, a class, a function or an object's class comes from."""
    kind = type(value)  # not as a proxy says: what that stands for may not be there yet
    if issubclass(kind, ModuleType):
        return str(value.__name__).partition(".")[0]
    kind = value if issubclass(kind, type | FunctionType) else kind
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def named(given: Any, argument: str = "shared", example: str = "shop.settings") -> tuple[str, ...]:
    """Return names of modules, or of what is in them, seen to be names.

    Args:
        given: What stands for `argument` of a system.
        argument: Its name, and in `example` one of its values.

    Raises:
        InvalidDefinition: They are not.
    """
    if isinstance(given, str):
        given = (given,)
    elif not isinstance(given, list | tuple | set | frozenset):
        raise refused("System", argument, f"a list of names: ['{example}']", given)
    names = tuple(given)
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise InvalidDefinition(
                f"{argument}={given!r}: {name!r} is no name; write the module, and what is in it: "
                f"'{example}' or '{example}.load'"
            )
    return names


def _copy(held: Any) -> Any:
    """Return a copy of what a thing held, which `Held.seen` may change."""
    return held.copy() if isinstance(held, list | set) else held


def _key(one: Held) -> Key:
    """Return what tells a thing from others; of what is replaced, its name alone."""
    if isinstance(one, Names):
        return one.name, (id(one.thing), one.apart)
    return one.name, 0 if isinstance(one, Stand) else id(one.thing)
