"""What is comparable of code that sleeps: where it stands, and what it knows.

Two fingerprints of one run are equal or not; nothing else is ever asked of them. They hold
no object of the user's, run none of the user's code, and no address, hash or `repr` goes in.
Where something cannot be compared, the fingerprint says that it is not sure.

Not modelled:
    State inside objects that are written in C, inside iterators that a `for` keeps on the
    stack, and inside third-party objects below their own attributes: never sure. State of
    modules that no code names which is on the stack or is called from there.
"""

from __future__ import annotations

import dis
import sys
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from operator import length_hint
from types import (
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final

from chaosharness.handlers.shapes import (
    ATOMS,
    ITERATORS,
    STATELESS,
    VALUES,
    Shape,
    attributes,
    shape_of,
)
from chaosharness.kernel.rest import State

NODES_MAX: Final = 400
"""Values that are looked at for one fingerprint; it is not sure of what lies beyond."""

ATOMS_A_NODE: Final = 16
"""Plain values of a container that count as much as one of its own."""

DEPTH_MAX: Final = 6

OURS: Final = "chaosharness."
LIBRARIES: Final = frozenset(
    {
        *("asyncio", "trio", "anyio", "outcome", "threading", "concurrent", "contextlib"),
        *("greenlet", "queue", "selectors", "select", "socket", "socketserver"),
        "subprocess",
    }
)
"""Whose frames are left out: their locals hold deadlines."""


class Look:
    """One look at sleeping code."""

    __slots__ = ("_left", "_met", "_read", "found", "sure")

    def __init__(self) -> None:
        self.found: list[Hashable] = []
        self.sure = True
        self._left = NODES_MAX
        self._read: set[CodeType] = set()
        self._met: dict[int, int] = {}  # circles, and what is held twice; within one look

    def state(self) -> State:
        """Return what was found."""
        return tuple(self.found), self.sure

    def frame(self, frame: FrameType) -> None:
        """Add one frame: its place in the code, its locals, and the globals that it uses."""
        self._left -= 1
        if self._left < 0:
            self.sure = False
            return
        code = frame.f_code
        known = known_of(code)
        at = known.place_of(frame.f_lasti)
        found = self.found
        found.append(code)
        found.append(at)
        if known.iterating and any(first < at < last for first, last in known.iterating):
            self.sure = False
        held = frame.f_locals
        for value in held.values():
            found.append(value if type(value) in ATOMS else self.value(value, DEPTH_MAX))
        self._code(code, frame.f_globals, held)

    def coroutine(self, coroutine: Any) -> None:
        """Add a coroutine that waits, and what it awaits."""
        while coroutine is not None:
            frame, inner = _of_awaitable(coroutine)
            if frame is not None:
                name = _name_of(frame)
                if not name.startswith(OURS) and name.partition(".")[0] not in LIBRARIES:
                    self.frame(frame)
            coroutine = inner

    def _code(self, code: CodeType, names: dict[str, Any], held: Any) -> None:
        """Add what a piece of code reaches by name: globals, and what it calls.

        Args:
            code: The code; read once in one look.
            names: Its globals.
            held: Its locals: methods that it calls on them are followed.
        """
        if code in self._read or self._left < 0:
            return
        self._read.add(code)
        known = known_of(code)
        for name in known.names:
            if name not in names:
                continue
            value = names[name]
            if type(value) is ModuleType:
                if is_own(value.__name__):
                    inside = vars(value)
                    for one in known.attributes:
                        if one in inside:
                            self._global(inside[one])
            else:
                self._global(value)
        if known.attributes:
            for value in held.values():
                kind = type(value)
                if kind not in ATOMS and (methods := methods_of(kind, known.attributes)):
                    for method in methods:
                        self._code(method.__code__, method.__globals__, {})

    def _global(self, value: Any) -> None:
        kind = type(value)
        if kind in ATOMS:
            self.found.append(value)
        elif kind not in STATELESS and not issubclass(kind, type):
            self.found.append(self.value(value, DEPTH_MAX))

    def value(self, value: Any, depth: int) -> Hashable:
        """Return what is comparable of a value."""
        kind = type(value)
        if kind in ATOMS:
            return value  # type: ignore[no-any-return]
        look, shape = _LOOKS.get(kind) or way_of(kind)
        if look is None:
            return None
        met = self._met
        if (known := id(value)) in met:
            return "met", met[known]
        met[known] = len(met)
        self._left -= 1
        if self._left < 0 or depth <= 0:
            self.sure = False
            return None
        return look(self, shape, value, depth - 1)

    def _moment(self, _: Shape, value: Any, __: int) -> Hashable:
        return value if getattr(value, "tzinfo", None) is None else str(value)

    def _contents(self, shape: Shape, value: Any, depth: int) -> Hashable:
        assert shape.read is not None
        found: list[Hashable] = [shape.name]
        inside = tuple(shape.read(value))
        self._left -= len(inside) // ATOMS_A_NODE
        if self._left < 0:
            self.sure = False
            found.append(len(inside))
        elif shape.unordered:
            atoms = frozenset(one for one in inside if type(one) in ATOMS)
            if len(atoms) < len(inside):
                self.sure = False
            found.append(atoms)
        elif shape.pairs:
            for key, one in inside:
                found.append(self.value(key, depth))
                found.append(self.value(one, depth))
        else:
            found += [self.value(one, depth) for one in inside]
        found += self._attributes(shape, value, depth)
        return tuple(found)

    def _plain(self, shape: Shape, value: Any, depth: int) -> Hashable:
        """Return what is comparable of an object that keeps all it knows in one dict."""
        found: list[Hashable] = [shape.name]
        held = shape.held(value)
        if type(held) is dict:
            look = self.value
            for name, one in [*held.items()]:
                found.append(name)
                found.append(one if type(one) in ATOMS else look(one, depth))
        return tuple(found)

    def _object(self, shape: Shape, value: Any, depth: int) -> Hashable:
        """Return what is comparable of an object that is no plain data."""
        if shape.hidden:
            self.sure = False
        return (shape.name, *self._attributes(shape, value, depth))

    def _gathered(self, shape: Shape, value: Any, depth: int) -> Hashable:
        """Return what an object of a library was given to keep."""
        assert shape.gathered is not None
        try:
            found = shape.gathered(value)
        except AttributeError:  # a release that keeps it elsewhere: nothing is known of it
            self.sure = False
            return shape.name
        return shape.name, self.value(found, depth + 1)

    def _cell(self, _: Shape, value: CellType, depth: int) -> Hashable:
        try:
            return self.value(value.cell_contents, depth + 1)
        except ValueError:
            return None

    def _method(self, _: Shape, value: MethodType, depth: int) -> Hashable:
        function, owner = value.__func__, value.__self__
        if is_port(function, type(owner)):
            self._left -= 1
            return None
        return self.value(function, depth), self.value(owner, depth)

    def _partial(self, _: Shape, value: partial[Any], depth: int) -> Hashable:
        function = self.value(value.func, depth)
        return function, self.value(value.args, depth), self.value(value.keywords, depth)

    def _iterator(self, _: Shape, value: Any, __: int) -> Hashable:
        return length_hint(value)

    def _function(self, _: Shape, function: FunctionType, depth: int) -> Hashable:
        """Return the closure of a function; add the globals that it uses."""
        if not is_own(function.__module__):
            return None
        closure = function.__closure__
        cells = [self.value(cell, depth) for cell in closure] if closure else ()
        self._code(function.__code__, function.__globals__, {})
        return tuple(cells)

    def _suspended(self, _: Shape, value: Any, depth: int) -> Hashable:
        frame, inner = _of_awaitable(value)
        if frame is None or _name_of(frame).startswith(OURS):
            return None
        known = known_of(frame.f_code)
        at = known.place_of(frame.f_lasti)
        if any(first < at < last for first, last in known.iterating):
            self.sure = False
        held = [self.value(one, depth) for one in frame.f_locals.values()]
        return frame.f_code, at, tuple(held), self.value(inner, depth)

    def _attributes(self, shape: Shape, value: Any, depth: int) -> list[Hashable]:
        found: list[Hashable] = []
        if not shape.attributes:
            return found
        sure = self.sure
        if shape.foreign:
            depth = 1
        for name, one in attributes(value):
            found.append(name)
            found.append(one if type(one) in ATOMS else self.value(one, depth))
        if shape.foreign:
            self.sure = sure
        return found


Way = Callable[[Look, Shape, Any, int], Hashable]

_WAYS: Final[dict[type, Way]] = {
    CellType: Look._cell,
    FunctionType: Look._function,
    MethodType: Look._method,
    partial: Look._partial,
    GeneratorType: Look._suspended,
    CoroutineType: Look._suspended,
    **dict.fromkeys(ITERATORS, Look._iterator),
    **dict.fromkeys(VALUES, Look._moment),
}
"""How to look at what is no plain object."""

_PORTS: Final[dict[tuple[Any, type], bool]] = {}
"""Functions of methods, and the classes of their owners: whether they are ports."""


def is_port(function: Any, kind: type) -> bool:
    """Say whether a method of objects of a class is a port: nobody's state."""
    key = (function, kind)
    port = _PORTS.get(key)
    if port is None:
        stateless = shape_of(kind).stateless and type(function) is FunctionType
        port = _PORTS[key] = stateless and not is_own(function.__module__)
    return port


_LOOKS: Final[dict[type, tuple[Way | None, Shape]]] = {}
"""How to look at objects of a class of which one was seen; None for what is nobody's state."""


def way_of(kind: type) -> tuple[Way | None, Shape]:
    """Return how to look at objects of a class; None for what is nobody's state."""
    known = _LOOKS.get(kind)
    if known is not None:
        return known
    shape = shape_of(kind)
    way: Way | None
    if shape.stateless:
        way = None
    elif kind in _WAYS:
        way = _WAYS[kind]
    elif shape.gathered is not None:
        way = Look._gathered
    elif shape.read is not None:
        way = Look._contents
    elif shape.hidden or shape.foreign or shape.slots or not shape.attributes:
        way = Look._object
    else:
        way = Look._plain
    found = _LOOKS[kind] = (way, shape)
    return found


# ---- what is known of code and of classes, looked up once


class _Known:
    """What matters of a piece of code.

    Attributes:
        iterating: Where it stands inside a `for`, whose iterator no local shows.
        names: Names that it may take from its globals.
        attributes: Names of attributes that it uses.
    """

    __slots__ = ("_starts", "attributes", "iterating", "names")

    def __init__(self, code: CodeType) -> None:
        iterating: list[tuple[int, int]] = []
        nexts: list[int] = []
        calling = False
        names, attributes = [], []
        starts = [-1]
        for one in dis.get_instructions(code):
            if one.opname != "CALL" or not calling:
                starts.append(one.offset)
            calling = one.opname == "PRECALL"
            match one.opname:
                case "FOR_ITER":
                    iterating.append((one.offset, one.argval))
                case "GET_ANEXT":
                    nexts.append(one.offset)
                case "END_ASYNC_FOR" if nexts:
                    iterating.append((nexts.pop() + 16, one.offset))  # behind its own await
                case "LOAD_GLOBAL" | "LOAD_NAME" | "STORE_GLOBAL":
                    names.append(one.argval)
                case "LOAD_ATTR" | "LOAD_METHOD":
                    attributes.append(one.argval)
        self.iterating = tuple(iterating)
        self.names = tuple(dict.fromkeys(names))
        self.attributes = tuple(dict.fromkeys(attributes))
        self._starts = starts

    def place_of(self, lasti: int) -> int:
        """Return where code stands, the same however often it has run in this process.

        The interpreter specialises what runs often, and then says another place for the same
        call: its first instruction of two (Python 3.11), or what it caches behind one.
        """
        starts = self._starts
        return starts[bisect_right(starts, lasti) - 1]


_KNOWN: Final[dict[CodeType, _Known]] = {}


def known_of(code: CodeType) -> _Known:
    """Return what matters of a piece of code."""
    found = _KNOWN.get(code)
    if found is None:
        found = _KNOWN[code] = _Known(code)
    return found


_OWN: Final[dict[str, bool]] = {}


def is_own(module: str | None) -> bool:
    """Say whether a module is the user's: no part of Python, of a package, or of the harness."""
    if module in _OWN:
        return _OWN[module]
    found = _OWN.get(module or "")
    if found is None:
        name = module or ""
        file = getattr(sys.modules.get(name), "__file__", None) or ""
        found = _OWN[name] = (
            not name.startswith(OURS)
            and name.partition(".")[0] not in sys.stdlib_module_names - {"__main__"}
            and "site-packages" not in file
            and "dist-packages" not in file
        )
    return found


_METHODS: Final[dict[tuple[type, tuple[str, ...]], tuple[FunctionType, ...]]] = {}


def methods_of(kind: type, names: tuple[str, ...]) -> tuple[FunctionType, ...]:
    """Return the methods of a class among the attributes that a piece of code uses."""
    key = (kind, names)
    found = _METHODS.get(key)
    if found is None:
        shape = shape_of(kind)
        one = () if shape.stateless or shape.foreign or not is_own(kind.__module__) else names
        each = [next((vars(b)[n] for b in kind.__mro__ if n in vars(b)), None) for n in one]
        found = _METHODS[key] = tuple(f for f in each if type(f) is FunctionType)
    return found


# ---- looks


def of_coroutines(coroutines: Iterable[Any]) -> State:
    """Return the fingerprint of coroutines that wait, and of what they await."""
    look = Look()
    for coroutine in coroutines:
        look.coroutine(coroutine)
    return look.state()


def _name_of(frame: FrameType) -> str:
    return frame.f_globals.get("__name__") or ""


def _of_awaitable(one: Any) -> tuple[FrameType | None, Any]:
    for kind, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        frame = getattr(one, f"{kind}_frame", None)
        if frame is not None:
            return frame, getattr(one, inner, None)
    return None, None


def frames_of(coroutine: Any) -> Iterator[FrameType]:
    """Yield the frames of a coroutine that waits, and of what it awaits, outermost first."""
    while coroutine is not None:
        frame, coroutine = _of_awaitable(coroutine)
        if frame is not None:
            yield frame


_ENDS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS"})
_JUMPS: Final = frozenset(
    {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_ABSOLUTE", "JUMP"}
)


def leads_out(code: CodeType, lasti: int) -> bool:
    """Say whether code may come to its end from where it stands: errors of others left aside.

    Args:
        code: The code.
        lasti: Where it stands: a frame's `f_lasti`.
    """
    row = [*dis.get_instructions(code)]
    places = {one.offset: index for index, one in enumerate(row)}
    left = [index for index, one in enumerate(row) if one.offset == lasti][:1]
    met: set[int] = set()
    while left:
        index = left.pop()
        if index in met or index >= len(row):
            continue
        met.add(index)
        one = row[index]
        if one.opname in _ENDS:
            return True
        if one.opcode in dis.hasjrel or one.opcode in dis.hasjabs:
            left.append(places[one.argval])
        if one.opname not in _JUMPS and one.opname != "RERAISE":
            left.append(index + 1)
    return not met


def of_function(function: Callable[..., Any]) -> State:
    """Return the fingerprint of what a function knows between two calls."""
    look = Look()
    look.found.append(look.value(function, DEPTH_MAX))
    return look.state()


__all__ = ["Look", "frames_of", "is_own", "leads_out", "of_coroutines", "of_function"]
