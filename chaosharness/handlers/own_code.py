"""Which state lives in the modules of the user's code, outside of any service.

Found from the functions that a system was given: their modules, what these name, and so on, as far
as the code is the user's own (no installed package but those of `OWN`, nothing of Python's, nothing
of ours).
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context, ContextVar
from dis import opmap
from enum import Enum
from functools import lru_cache, partial
from pathlib import PurePath
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs

from chaosharness.handlers.held import (
    Cell,
    Held,
    Mapping,
    Stand,
    Variable,
    attributes,
    fields,
    held,
    stand,
)
from chaosharness.handlers.insides import dict_of
from chaosharness.handlers.kept import WEAK, kept
from chaosharness.handlers.namespaces import Members, Names, words_of_code

ENTRIES_MAX: Final = 2_000
"""A container with more entries is taken for a table that nobody writes to."""

THINGS_MAX: Final = 4_000
"""Things that are looked at in one system, at most."""

REACHED_MAX: Final = 10_000
"""Parts of libraries' objects in which functions of the user's are looked for, at most."""

LOCALS_DEPTH_MAX: Final = 2
"""How deep in an object of a library its state of this thread is looked for."""

_CODE: Final = (type, FunctionType, ModuleType, MethodType)

_STANDARD: Final = ("threading", "asyncio", "queue", "collections", "types", "_thread")
"""Modules of Python's whose objects have plain attributes that a process loses."""

_PYTHON: Final = tuple(
    {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_GLOBAL: Final = frozenset({opmap["STORE_GLOBAL"], opmap["DELETE_GLOBAL"]})
_ATTRIBUTE: Final = frozenset({opmap["STORE_ATTR"], opmap["DELETE_ATTR"]})
_IMPORT: Final = opmap["IMPORT_NAME"]
_EXTENDED: Final = opmap["EXTENDED_ARG"]


OWN: Final = frozenset(
    (
        *("cuid", "cuid2", "flake", "ksuid", "snowflake", "ulid", "uuid6", "uuid_extensions"),
        *("aiocache", "cachetools", "dogpile", "tortoise"),
    )
)
"""Installed packages whose modules hold state as the user's own do: those that make names remember
the last one, so that the next is above it. A system may call more its own."""


CONNECTED: Final = frozenset(("faststream",))
"""Installed packages whose objects stand in modules of the user's and hold connections once they
run (a broker that the lifespan of a web application starts): what they hold is a process's own."""


LIFESPAN: Final = "lifespan_context"
"""Where a router of Starlette's keeps what it starts and stops."""


def is_own(names: dict[str, Any], more: frozenset[str] = OWN) -> bool:
    """Say whether a module, given as its dict, is the user's own, or of one of these packages."""
    name = str(names.get("__name__", ""))
    return name.partition(".")[0] in more or _is_own(name, names.get("__file__"))


@lru_cache(maxsize=4_096)
def _is_own(name: str, file: str | None) -> bool:
    package = name.partition(".")[0]
    if package in ("chaosharness", "", "builtins"):
        return False
    if file is None:
        return package not in sys.stdlib_module_names or name == "__main__"
    if _INSTALLED & set(PurePath(file).parts):
        return False
    return name == "__main__" or not file.startswith(_PYTHON)


def home(value: Any, more: frozenset[str] = OWN) -> dict[str, Any] | None:
    """Return the module of a class or an object's class, as its dict, if it is the user's own."""
    kind = value if isinstance(value, type) else type(value)
    module = sys.modules.get(getattr(kind, "__module__", None) or "")
    names = getattr(module, "__dict__", None)
    return names if names is not None and is_own(names, more) else None


@attrs.define
class Survey:
    """Looks for things that hold state, beginning at functions.

    Attributes:
        shared: Names that are left alone, and all below them.
        own: Installed packages that are looked through as the user's own modules are.
        found: What holds state, by the identity of the thing and the name in it.
        bound: Names of modules at which a thing was found: name's module, name, thing.
    """

    shared: tuple[str, ...] = ()
    own: frozenset[str] = OWN
    found: dict[tuple[int, str], Held] = attrs.field(factory=dict, init=False)
    bound: list[tuple[dict[str, Any], str, Any]] = attrs.field(factory=list, init=False)
    _seen: dict[int, Any] = attrs.field(factory=dict, init=False)
    _modules: deque[dict[str, Any]] = attrs.field(factory=deque, init=False)
    _known: list[dict[str, Any]] = attrs.field(factory=list, init=False)
    _classes: list[type] = attrs.field(factory=list, init=False)
    _stands: dict[int, Stand] = attrs.field(factory=dict, init=False)
    _codes: set[CodeType] = attrs.field(factory=set, init=False)
    _assigned: dict[int, set[str]] = attrs.field(factory=dict, init=False)
    _set: set[str] = attrs.field(factory=set, init=False)
    _words: set[str] = attrs.field(factory=set, init=False)
    _functions: list[tuple[FunctionType, str]] = attrs.field(factory=list, init=False)
    _foreign: list[tuple[Any, str]] = attrs.field(factory=list, init=False)
    _reached: dict[int, Any] = attrs.field(factory=dict, init=False)
    _lost: bool = attrs.field(default=False, init=False)

    @property
    def modules(self) -> list[dict[str, Any]]:
        """The modules that were looked through, as their dicts."""
        return self._known

    def look(
        self, functions: Iterable[Callable[..., Any]], modules: Iterable[ModuleType] = ()
    ) -> None:
        """Look through these modules, and those that the functions lead to."""
        for function in functions:
            self._lead(function)
        for module in modules:
            self._module(vars(module))
        while self._modules:
            names = self._modules.popleft()
            module = names.get("__name__", "")
            for name, value in list(names.items()):
                if not name.startswith("__"):
                    self._enter(value, f"{module}.{name}", names, name)
        if "environ" in self._words:
            self._add(kept("os.environ", os.environ))
        self._variables()
        self._namespaces()

    def _variables(self) -> None:
        """Note the names that code assigns to."""
        for names in self._known:
            given = self._assigned.get(id(names), set()) | (self._set & names.keys())
            for name in sorted(given):
                value = names.get(name)
                if not isinstance(value, ModuleType) and id(value) not in self._stands:
                    self._add(Variable(f"{names.get('__name__', '')}.{name}", names, name), name)
        for kind in self._classes:
            for name in sorted(self._set & vars(kind).keys()):
                where = f"{kind.__module__}.{kind.__qualname__}.{name}"
                if not name.startswith("__") and not hasattr(vars(kind)[name], "__get__"):
                    self._add(Variable(where, kind, name), name)

    def _namespaces(self) -> None:
        """Note where names may appear: in modules, classes, functions, objects of libraries."""
        taken: dict[int, set[str]] = {}
        for one in self.found.values():
            if isinstance(one, Variable):
                taken.setdefault(id(one.thing), set()).add(one.attribute)
        for one in self._stands.values():
            for where, key in one.places:
                taken.setdefault(id(where), set()).add(key)
        whole = not _BY_NAME.isdisjoint(self._words)
        for names in self._known:
            self._names(str(names.get("__name__", "")), names, taken)
        for kind in self._classes:
            name = f"{kind.__module__}.{kind.__qualname__}"
            self._names(name, kind, taken, own=self._set, whole=whole)
        for function, name in self._functions:
            if function.__name__ in self._words and not function.__dict__:
                self._add(Mapping(name, function.__dict__))
        for thing, name in self._foreign:
            words = words_of_code(thing.__class__)
            for key, value in list(vars(thing).items()):
                if key not in words:
                    self._enter(value, f"{name}.{key}")
            if not self._set <= words:
                self._names(name, vars(thing), taken, but=words)

    def _names(
        self, name: str, thing: Any, taken: dict[int, set[str]], *, but: Any = (), **words: Any
    ) -> None:
        apart = [one.removeprefix(f"{name}.") for one in self.shared if one.startswith(f"{name}.")]
        but = {*but, *taken.get(id(thing), ())}
        self._add(Names(name, thing, but=but, apart=apart, **words), "*")

    def _lead(self, function: Any, depth: int = 0) -> None:
        """Note the modules that a function of a system leads to; what it closes over is not state
        of a module."""
        while isinstance(function, partial | MethodType):
            function = function.func if isinstance(function, partial) else function.__self__
        if isinstance(function, ModuleType):
            self._module(vars(function))
        elif isinstance(function, FunctionType):
            self._module(function.__globals__)
            self._read(function.__code__, function.__globals__)
            for cell in function.__closure__ or ():
                if depth < 3 and (inner := Cell("", cell).take()) is not function:
                    self._lead(inner, depth + 1)
        elif (names := home(function, self.own)) is not None:
            self._module(names)

    def _module(self, names: dict[str, Any]) -> None:
        if id(names) not in self._seen and is_own(names, self.own):
            self._seen[id(names)] = names
            self._modules.append(names)
            self._known.append(names)

    def _add(self, one: Held | None, key: str = "") -> None:
        if one is not None and not self._is_shared(one.name) and len(self.found) < THINGS_MAX:
            one.is_lost = self._lost
            self.found.setdefault((id(one.thing), key), one)

    def _is_shared(self, name: str) -> bool:
        return any(name == one or name.startswith((f"{one}.", f"{one}[")) for one in self.shared)

    # ---- what a value is

    def _enter(self, value: Any, name: str, where: Any = None, key: str = "") -> None:
        """Note a value, and what it holds; `where` it is found by which name, if by one."""
        kind = type(value)
        if kind in _PLAIN or self._is_shared(name) or is_unready(value):
            return
        if where is not None and (one := self._stand(value, name)) is not None:
            one.places.append((where, key))
            value = getattr(value, "__wrapped__", None)
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        was, self._lost = self._lost, self._lost and not isinstance(value, _CODE)
        self._look_into(value, name, where, key)
        self._lost = was

    def _look_into(self, value: Any, name: str, where: Any, key: str) -> None:
        if isinstance(value, FunctionType):
            self._function(value, name)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, ModuleType):
            self._module(vars(value))
        elif isinstance(value, dict | list | deque | set | tuple | frozenset):
            self._container(value, name, where, key)
        elif isinstance(value, partial):
            for part in (value.func, *value.args, *value.keywords.values()):
                self._enter(part, name)
        elif isinstance(value, MethodType | BuiltinMethodType | MethodWrapperType):
            self._enter(value.__self__, name)
        elif isinstance(value, staticmethod | classmethod):
            inner: Any = value.__func__
            if where is not None and (one := self._stand(inner, name)) is not None:
                one.places.append((where, key))
                one.wrapped[id(where), key] = type(value)
                inner = getattr(inner, "__wrapped__", None)
            self._enter(inner, name)
        elif isinstance(value, property):
            self._enter(value.fget, name)
        else:
            self._object(value, name)

    def _stand(self, value: Any, name: str) -> Stand | None:
        found = self._stands.get(id(value))
        if found is None and (found := stand(name, value)) is not None:
            self._stands[id(value)] = found
            self._add(found)
        return found

    def _container(self, value: Any, name: str, where: Any, key: str) -> None:
        kind = type(value)
        if len(value) > ENTRIES_MAX or (
            kind.__module__ not in _BUILT_IN and home(kind, self.own) is None
        ):
            return  # a table; or a library's own kind of dict, whose other half is elsewhere
        self._add(held(name, value))
        if isinstance(where, dict):
            self.bound.append((where, key, value))
        inside = value.values() if isinstance(value, dict) else value
        if not isinstance(value, set | frozenset):
            for number, one in enumerate(list(inside)):
                self._enter(one, f"{name}[{number}]")

    def _function(self, function: FunctionType, name: str) -> None:
        names = function.__globals__
        if not is_own(names, self.own):
            self._wrapper(function, name)
            return
        self._module(names)
        self._functions.append((function, name))
        self._read(function.__code__, names)
        for variable, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            one = Cell(f"{name} ({variable})", cell)
            self._add(one)
            self._enter(one.take(), one.name)
        defaults = (function.__defaults__ or (), (function.__kwdefaults__ or {}).values())
        for value in (value for values in defaults for value in values):
            self._enter(value, f"{name} (a default)")
        if function.__dict__:
            self._enter(function.__dict__, name)

    def _wrapper(self, function: FunctionType, name: str) -> None:
        """Note what a decorator of a library keeps beside a function, and the function."""
        for cell in function.__closure__ or ():
            inside = Cell(name, cell).take()
            if type(inside) in _WRAPPED or isinstance(inside, WEAK):
                self._enter(inside, name)

    def _class(self, kind: type) -> None:
        names = home(kind, self.own)
        if names is None:
            return
        self._module(names)
        self._classes.append(kind)
        if issubclass(kind, Enum):
            self._enum(kind)
            return
        for name, value in list(vars(kind).items()):
            code = isinstance(value, FunctionType | staticmethod | classmethod)
            if code or not name.startswith("__"):
                self._enter(value, f"{kind.__module__}.{kind.__qualname__}.{name}", kind, name)
        for base in kind.__bases__:
            self._enter(base, base.__qualname__)

    def _enum(self, kind: type[Enum]) -> None:
        members = list(kind.__members__.values())
        where = f"{kind.__module__}.{kind.__qualname__}"
        self._add(Members(where, kind))
        for one in members:
            for name, value in list(vars(one).items()):
                if not name.startswith("_"):
                    self._enter(value, f"{where}.{one.name}.{name}")
        for function in vars(kind).values():
            if isinstance(function, FunctionType):
                self._enter(function, where)

    def _object(self, value: Any, name: str) -> None:
        kind = type(value)
        one = held(name, value) or kept(name, value)
        if one is not None:
            self._add(one)
            if isinstance(value, WeakKeyDictionary):
                for part in list(value.values()):
                    self._enter(part, name)
            return
        if kind is ContextVar:
            try:
                default = Context().run(value.get)
            except LookupError:
                return
            self._enter(default, f"{name} (its default)")
            return
        package = kind.__module__.partition(".")[0]
        if home(kind, self.own) is None and package not in _LOOKED_INTO:
            self._locals(value, name)
            if isinstance(dict_of(value), dict) and not _is_ours(kind):
                self._foreign.append((value, name))
                self._routes(value, name)
                self._calls(value)
            return
        self._enter(kind, kind.__qualname__)
        if isinstance(value, Enum):
            return
        was, self._lost = self._lost, package in CONNECTED
        for one in attributes(name, value):
            if not _is_frozen(kind):
                self._add(one)
            inside = one.take()
            for part in inside[1] if isinstance(inside, tuple) else inside:
                self._enter(part, name)
        self._lost = was

    def _calls(self, thing: Any) -> None:
        """Note the modules of the functions that an object of a library calls: what answers a
        route, does a task, or hears of a message, where only the application was imported."""
        waiting: deque[Any] = deque([thing])
        while waiting and len(self._reached) < REACHED_MAX:
            one = waiting.popleft()
            if type(one) in _PLAIN or id(one) in self._reached or is_unready(one):
                continue
            self._reached[id(one)] = one
            if isinstance(one, FunctionType) and is_own(one.__globals__, self.own):
                self._lead(one)
            else:
                waiting.extend(_parts(one, self.own))

    def _routes(self, application: Any, name: str) -> None:
        """Note what the lifespan of an ASGI application may add to it: routes, and what they start
        and stop in turn, which would be one more level in each run."""
        names = dict_of(application)
        router = names.get("router", application) if isinstance(names, dict) else None
        inside = dict_of(router)
        if isinstance(inside, dict) and {"routes", LIFESPAN} <= inside.keys():
            was, self._lost = self._lost, True
            if type(inside["routes"]) is list:
                self._add(held(f"{name}.routes", inside["routes"]))
            self._add(Variable(f"{name}.{LIFESPAN}", inside, LIFESPAN), LIFESPAN)
            self._lost = was

    def _locals(self, thing: Any, name: str, depth: int = 0) -> None:
        """Note what an object of a library keeps for each thread (SQLAlchemy's `scoped_session`):
        all processes of a run are in one thread here. And what users put into it: `app.state`."""
        for key, value in fields(thing):
            where = f"{name}.{key}"
            if isinstance(value, threading.local):
                for one in attributes(where, value):
                    self._add(one)
                for name_inside, inside in fields(value):
                    self._enter(inside, f"{where}.{name_inside}")
            elif (put := bag(value)) is not None:
                self._enter(put, where)
            elif (
                depth < LOCALS_DEPTH_MAX
                and not isinstance(value, _CODE)
                and home(value, self.own) is None
            ):
                self._locals(value, where, depth + 1)

    # ---- what code assigns to

    def _read(self, code: CodeType, names: dict[str, Any]) -> None:
        """Note which names of its module, and which attributes of anything, code assigns to."""
        if code in self._codes:
            return
        self._codes.add(code)
        self._words.update(code.co_names)
        text = code.co_code
        high = 0
        for at in range(0, len(text), 2):
            operation, number = text[at], text[at + 1] | high
            high = number << 8 if operation == _EXTENDED else 0
            if operation in _GLOBAL:
                self._assigned.setdefault(id(names), set()).add(code.co_names[number])
            elif operation in _ATTRIBUTE:
                self._set.add(code.co_names[number])
            elif operation == _IMPORT:
                self._imports(code.co_names[number], str(names.get("__package__") or ""))
        for one in code.co_consts:
            if isinstance(one, CodeType):
                self._read(one, names)

    def _imports(self, name: str, package: str) -> None:
        """Note a module that a function imports when it is called, where it is imported by now."""
        while True:  # `from .state import SEEN` says `state`, and not of which package
            for full in (name, f"{package}.{name}".rstrip(".")):
                if isinstance(module := sys.modules.get(full), ModuleType):
                    self._module(vars(module))
            if not package:
                return
            package = package.rpartition(".")[0]


def _parts(thing: Any, own: frozenset[str]) -> Iterable[Any]:
    """Return what a container, a wrapper or an object of a library holds."""
    if isinstance(thing, dict):
        return list(dict.values(thing))
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return list(thing)
    if isinstance(thing, FunctionType):
        return [Cell("", cell).take() for cell in thing.__closure__ or ()]
    if isinstance(thing, MethodType):
        return (thing.__func__, thing.__self__)
    if isinstance(thing, partial):
        return (thing.func, *thing.args, *thing.keywords.values())
    kind = type(thing)
    if isinstance(thing, _CODE) or kind.__module__.partition(".")[0] in sys.stdlib_module_names:
        return ()
    inside = dict_of(thing)
    known = _is_ours(kind) or home(kind, own) is not None
    return list(inside.values()) if isinstance(inside, dict) and not known else ()


def bag(value: Any) -> dict[str, Any] | None:
    """Return what users put into an object that is made for it (Starlette's `State`), or None."""
    held = dict_of(value)
    kind = type(value)
    if not isinstance(held, dict) or held.keys() != {"_state"} or "__setattr__" not in vars(kind):
        return None
    inside = held["_state"]
    return inside if type(inside) is dict else None


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "chaosharness"


def _is_frozen(kind: type) -> bool:
    """Say whether objects of a class refuse to be changed: values, not state."""
    dataclass = getattr(kind, "__dataclass_params__", None)
    return getattr(dataclass, "frozen", False) or (
        getattr(kind.__setattr__, "__name__", "") == "_frozen_setattrs"
    )


_LOOKED_INTO: Final = CONNECTED.union(_STANDARD)

_BY_NAME: Final = frozenset(("setattr", "delattr", "__setattr__", "__dict__", "vars"))
"""What code says that assigns to an attribute whose name is not in it."""

_WRAPPED: Final = frozenset((FunctionType, dict, list, set, deque))
_BUILT_IN: Final = ("builtins", "collections")
_PLAIN: Final = frozenset((type(None), bool, int, float, complex, str, bytes))


def is_unready(value: Any) -> bool:
    """Say whether a value stands for another that is not there yet, as Django's settings may."""
    try:
        value.__class__  # noqa: B018  (a proxy asks the other)
    except Exception:
        return True
    return False
