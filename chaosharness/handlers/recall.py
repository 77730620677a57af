"""The fingerprint of running code, and those that were taken of code in the same state before.

A loop falls asleep again and again, in run after run, and knows each time what it knew before. A
fingerprint is a function of where code stands, of the classes of what it knows, and of the plain
values in there. So the way through the objects is learned once for each of these classes, and
what was found is kept by the plain values. Kept are classes, plain values and functions of ours;
no object of the user's.

Not modelled:
    More than one frame of the user's on the stack, containers, closures, modules of the user's,
    objects that are held twice: looked at anew each time (`fingerprint`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter, itemgetter
from types import CodeType, FrameType, FunctionType, GetSetDescriptorType, ModuleType
from typing import Any, Final

from chaosharness.handlers.fingerprint import (
    DEPTH_MAX,
    LIBRARIES,
    OURS,
    Look,
    is_own,
    is_port,
    known_of,
    methods_of,
    way_of,
)
from chaosharness.handlers.shapes import ATOMS
from chaosharness.kernel.rest import Place, State

STATES_MAX: Final = 64
"""States of one place that are kept; where there are more, it counts, and is looked at anew."""

KINDS_MAX: Final = 64
"""Combinations of classes at one place; likewise."""

TEXT_MAX: Final = 1_000
"""Characters or bytes of a plain value that is kept."""

_TEXTS: Final = frozenset({str, bytes})


class _End:
    """Stands behind what one object knows."""


class _Missing:
    """Stands for a global that there is not."""


_END: Final = _End()
_MISSING: Final = _Missing()
_parts_of: Final = attrgetter("__func__", "__self__")

Pick = Callable[[list[Any]], Iterable[Any]]


class _Step:
    """One step on the way through what code knows: what lies equally deep.

    Attributes:
        before: The step before this one.
        depth: How far it is from the beginning.
        unfit: Whether what is here has to be looked at anew each time.
        plain: Picks plain values, and what is compared by identity.
        kinds: Classes of the objects that are looked into, up to here.
        met: Picks objects that are looked into, where two of them are of one class: they must not
            be the same one. `met_of` picks them in any case.
        objects: Places of objects, and what reads their dicts.
        methods: Places of ports.
        globals: Names that methods of the objects take from their modules.
        own: Names that the code itself takes from its module.
        next: The next step, by the classes of what lies there.
        states: What was found, by the plain values; where this step is the last one.
    """

    __slots__ = (
        *("before", "depth", "globals", "kinds", "met", "met_of", "methods", "next", "objects"),
        *("own", "plain", "states", "unfit"),
    )

    def __init__(self) -> None:
        self.before: _Step | None = None
        self.depth = 0
        self.unfit = False
        self.plain: Pick | None = None
        self.kinds: tuple[type, ...] = ()
        self.met: Pick | None = None
        self.met_of: Pick | None = None
        self.objects: list[tuple[int, Callable[[Any], Any]]] = []
        self.methods: list[int] = []
        self.globals: list[tuple[dict[str, Any], tuple[str, ...], tuple[_Missing, ...]]] = []
        self.own: tuple[tuple[str, ...], tuple[_Missing, ...]] | None = None
        self.next: dict[tuple[type, ...], _Step] = {}
        self.states: dict[tuple[Any, ...], State] | None = None

    def inner(self, values: list[Any], names: dict[str, Any]) -> list[Any]:
        """Return what lies one step deeper."""
        found: list[Any] = []
        for place, read in self.objects:
            held = read(values[place])
            found += dict.keys(held)
            found += dict.values(held)
            found.append(_END)
        for place in self.methods:
            found += _parts_of(values[place])
        if self.own is not None:
            wanted, missing = self.own
            found += map(names.get, wanted, missing)
            for home, wanted, missing in self.globals:
                found += map(home.get, wanted, missing)
        return found


def _picker(places: list[int]) -> Pick | None:
    if not places:
        return None
    first = places[0]
    return itemgetter(*places) if places[1:] else itemgetter(slice(first, first + 1))


_BEGINNINGS: Final[dict[tuple[CodeType, int], _Step]] = {}


def of_stack(frame: FrameType | None, beside: Iterable[Any] = ()) -> State:
    """Return the fingerprint of running code: from the port it called, out to the kernel.

    Args:
        frame: Of the port, or of the code that called it.
        beside: Coroutines that wait in the same event loop: what the code does may wake them,
            and then it matters what they know.
    """
    own: list[FrameType] = []
    inside = False
    while frame is not None:
        home = _HOMES.get(frame.f_code)
        if home is None:
            home = _home_of(frame)
        if home != OURS:
            inside = True
            if not home:
                own.append(frame)
        elif inside:
            break
        frame = frame.f_back
    if len(own) == 1 and not beside:
        return _recalled(own[0])
    return _looked(own, beside)


def nth_time(at: tuple[FrameType | None, int]) -> State:
    """Return the fingerprint of code inside a wait of ours that tries again: the nth time, too."""
    frame, number = at
    found, sure = of_stack(frame)
    return (*found, number), sure  # type: ignore[misc]


def spot_of(frame: FrameType | None) -> Place:
    """Return what the fingerprint of running code begins with: the innermost frame that counts."""
    inside = False
    while frame is not None:
        home = _HOMES.get(frame.f_code)
        if home is None:
            home = _home_of(frame)
        if home != OURS:
            inside = True
            if not home:
                return frame.f_code, known_of(frame.f_code).place_of(frame.f_lasti)
        elif inside:
            break
        frame = frame.f_back
    return ()


def _looked(frames: list[FrameType], beside: Iterable[Any] = ()) -> State:
    look = Look()
    for frame in frames:
        look.frame(frame)
    for coroutine in beside:
        look.coroutine(coroutine)
    return look.state()


_HOMES: Final[dict[CodeType, str]] = {}


def _home_of(frame: FrameType) -> str:
    """Return whose code it is: ours, that of a library whose frames are left out, or ''."""
    name = frame.f_globals.get("__name__") or ""
    home = name.partition(".")[0]
    found = OURS if name.startswith(OURS) else home if home in LIBRARIES else ""
    _HOMES[frame.f_code] = found
    return found


def _recalled(frame: FrameType) -> State:
    """Return the fingerprint of a frame, looking only where it was never seen like this."""
    step = _BEGINNINGS.get((frame.f_code, frame.f_lasti))
    values = [*frame.f_locals.values()]
    names = frame.f_globals
    plain: list[Any] = []
    met: list[int] = []
    while step is not None:
        step = step.next.get(tuple(map(type, values)))
        if step is None:
            break
        if step.unfit:
            return _looked([frame])
        if step.plain is not None:
            plain += step.plain(values)
        if step.met is not None:
            met += map(id, step.met(values))
        if step.states is not None:
            state = step.states.get(tuple(plain))
            if state is None or (met and len(set(met)) < len(met)):
                break
            return state
        values = step.inner(values, names)
    return _learned(frame)


# ---- learning the way


def _learned(frame: FrameType) -> State:
    """Look at a frame, and keep what was found, if all that matters lies on the way."""
    state = _looked([frame])
    key = frame.f_code, frame.f_lasti
    step = _BEGINNINGS.get(key)
    if step is None:
        step = _BEGINNINGS[key] = _Step()
    values: list[Any] = [*frame.f_locals.values()]
    plain: list[Any] = []
    met: list[int] = []
    before: _Step | None = None
    while True:
        kinds = tuple(map(type, values))
        after = step.next.get(kinds)
        if after is None:
            if len(step.next) >= KINDS_MAX:
                return state
            after = step.next[kinds] = _step(frame.f_code, values, before)
        before, step = step, after
        plain += step.plain(values) if step.plain is not None else ()
        met += map(id, step.met_of(values) if step.met_of is not None else ())
        if step.unfit or not _is_fit(values):
            return state
        if step.states is not None:
            break
        values = step.inner(values, frame.f_globals)
    if len(step.states) >= STATES_MAX:
        step.unfit = True
        step.states.clear()
    elif len(set(met)) == len(met):
        step.states[tuple(plain)] = state
    return state


def _step(code: CodeType, values: list[Any], before: _Step | None) -> _Step:
    """Return what is to be done with values of such classes, here."""
    made = _Step()
    plain: list[int] = []
    met: list[int] = []
    parts = _parts_at(values, before)
    for place, value in enumerate(values):
        kind = type(value)
        if place in parts:
            if (place - parts.start) % 2 == 0:  # the function; its owner is known by its class
                plain.append(place)
                made.unfit |= not is_port(value, type(values[place + 1]))
        elif kind in ATOMS or kind is ModuleType or kind is FunctionType:
            plain.append(place)
        elif kind is not _End and kind is not _Missing:
            way, shape = way_of(kind)
            if way is None:
                continue
            met.append(place)
            if way is Look._plain and _is_plain_dict(shape.held):
                made.objects.append((place, shape.held))
            elif way is Look._method:
                made.methods.append(place)
            else:
                made.unfit = True
    made.plain, made.met_of = _picker(plain), _picker(met)
    made.before = before
    made.kinds = (*(before.kinds if before is not None else ()), *(type(values[at]) for at in met))
    if len(set(made.kinds)) < len(made.kinds):
        one: _Step | None = made
        while one is not None:
            one.met = one.met_of
            one = one.before
    if before is None:
        _name_globals(made, code, values)
    made.depth = 0 if before is None else before.depth + 1
    made.unfit |= made.depth > DEPTH_MAX
    if not (made.objects or made.methods or made.own is not None):
        made.states = {}
    return made


def _parts_at(values: list[Any], before: _Step | None) -> range:
    """Return the places of functions and owners of ports: behind what objects know."""
    if before is None or not before.methods:
        return range(0)
    ends = [place for place, value in enumerate(values) if value is _END]
    start = ends[len(before.objects) - 1] + 1 if before.objects else 0
    return range(start, start + 2 * len(before.methods))


def _is_plain_dict(read: Any) -> bool:
    return isinstance(getattr(read, "__self__", None), GetSetDescriptorType)


def _name_globals(step: _Step, code: CodeType, values: list[Any]) -> None:
    """Take note of the globals that code uses, and methods which it calls on what it knows."""
    known = known_of(code)
    step.own = known.names, (_MISSING,) * len(known.names)
    read = {code}
    for value in values:
        kind = type(value)
        for method in () if kind in ATOMS else methods_of(kind, known.attributes):
            if method.__code__ not in read:
                read.add(method.__code__)
                names = known_of(method.__code__).names
                step.globals.append((method.__globals__, names, (_MISSING,) * len(names)))


def _is_fit(values: list[Any]) -> bool:
    """Say whether nothing is there that knows something, modules and functions of the user's, and
    nothing that is too large to be kept."""
    for value in values:
        if type(value) in _TEXTS and len(value) > TEXT_MAX:
            return False
        if type(value) is ModuleType and is_own(value.__name__):
            return False
        if type(value) is FunctionType and is_own(value.__module__):
            return False
    return True


__all__ = ["nth_time", "of_stack", "spot_of"]
